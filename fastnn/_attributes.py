"""Unknown attributes and wrong arguments: errors that name the right one.

Objects of fastnn's own classes accept only the public attributes that their class declares: by an annotation,
a property or a class attribute. Otherwise `optimizer.learning_rate = 5` would be accepted without any effect.
Subclasses that users write accept any attribute.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast, dataclass_transform

from fastnn._foreign_names import ARGUMENTS, NAMES, RENAMED

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Declared:
    """Base class of objects that reject unknown attributes and explain wrong constructor arguments."""

    # What to write instead of attributes that other libraries have.
    _hints: ClassVar[Mapping[str, str]] = {}

    # The attributes that the class and its bases declare, and the methods among them; whether others are
    # rejected.
    _declared: ClassVar[frozenset[str]] = frozenset()
    _methods: ClassVar[frozenset[str]] = frozenset()
    _is_strict: ClassVar[bool] = True

    @classmethod
    def _hint_for_arguments(cls, arguments: tuple[object, ...]) -> str:
        """What to write instead of these arguments; empty if nothing is known about them."""
        return ""

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __init_subclass__(cls, **keywords: Any) -> None:
            super().__init_subclass__(**keywords)
            bases = [base for base in cls.__bases__ if issubclass(base, Declared)]
            cls._declared = frozenset(vars(cls)).union(
                inspect.get_annotations(cls), *(base._declared for base in bases)
            )
            own_methods = {name for name, value in vars(cls).items() if inspect.isroutine(value)}
            cls._methods = frozenset(own_methods.union(*(base._methods for base in bases)))
            # The experiments are written as users write.
            package = cls.__module__.split(".")
            cls._is_strict = package[0] == "fastnn" and package[1:2] != ["experiments"]
            if not cls._is_strict:
                return
            for name in cls._hints.keys() - cls._declared:
                setattr(cls, name, _ForeignName(name))
            if "__init__" in vars(cls):
                cls.__init__ = explained(cls.__init__)

        def __setattr__(self, name: str, value: Any) -> None:
            cls = type(self)
            if cls._is_strict and name[0] != "_":
                is_method = name in cls._methods and not callable(value)
                if is_method or name not in cls._declared:
                    raise AttributeError(_unknown_attribute(self, name))
            try:
                super().__setattr__(name, value)
            except AttributeError:
                if name not in cls._hints:
                    raise
                raise AttributeError(_unknown_attribute(self, name)) from None

    def __dir__(self) -> list[str]:
        foreign = type(self)._hints.keys() - type(self)._declared - vars(self).keys()
        return [name for name in super().__dir__() if name not in foreign]


class _ForeignName:
    """An attribute that another library has. Reading it raises an AttributeError that says what to write.

    A `__getattr__` would do it for all names at once, but would slow down every access to an attribute.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, owner: object, cls: type[Declared]) -> NoReturn:
        message = f"{cls.__name__} has no attribute {self.name!r}: {cls._hints[self.name]}"
        raise _attribute_error(message, self.name)


def explained(method: F) -> F:
    """Name the right argument when a method is called with wrong ones."""

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            return method(self, *arguments, **keywords)
        except TypeError as error:
            if error.__traceback__ and error.__traceback__.tb_next:  # raised inside the method
                raise
            message = _wrong_arguments(type(self), method, arguments, keywords, str(error))
        raise TypeError(message)

    return cast(F, call)


@dataclass_transform(frozen_default=True)
def declared_dataclass(cls: type[T]) -> type[T]:
    """`dataclass(frozen=True)` for a subclass of `Declared`, whose `__init__` does not exist before."""
    made: Any = dataclass(frozen=True)(cls)
    made.__init__ = explained(made.__init__)
    return made  # type: ignore[no-any-return]


def names_of_module(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which Python calls for names that do not exist."""

    def missing(name: str) -> Any:
        message = f"module {module!r} has no attribute {name!r}"
        if name[0] == "_":
            raise AttributeError(message)
        known = [each for each in vars(sys.modules[module]) if each[0] != "_"]
        hint = NAMES.get(name) or _did_you_mean(_nearest(name, known))
        if hint and _is_from_import(sys._getframe(1)):
            raise ImportError(f"cannot import name {name!r} from {module!r}: {hint}", name=module)
        raise _attribute_error(f"{message}: {hint}" if hint else message, name)

    return missing


def _is_from_import(frame: FrameType) -> bool:
    """Whether `frame` runs `from module import name`, which replaces an AttributeError by its own message."""
    import opcode

    return frame.f_code.co_code[frame.f_lasti] == opcode.opmap["IMPORT_FROM"]


def _attribute_error(message: str, name: str) -> AttributeError:
    """An error whose traceback Python ends without a suggestion of its own, which would contradict ours."""
    return AttributeError(message, name=name, obj=None)


def _unknown_attribute(owner: Declared, name: str) -> str:
    cls = type(owner)
    message = f"{cls.__name__} has no attribute {name!r}"
    if name in cls._declared:
        kind = "method" if name in cls._methods else "attribute"
        message = f"the {kind} {name!r} of {cls.__name__} cannot be set"
    if name in cls._hints:
        return f"{message}: {cls._hints[name]}"
    known = sorted(each for each in cls._declared - {name} if each[0] != "_")
    properties = {each for each in known if getattr(getattr(cls, each, None), "fset", None)}
    settings = [each for each in known if each in properties or each in vars(owner)]
    return f"{message}: {_did_you_mean(_counterpart(name, known)) or 'it has ' + ', '.join(settings)}"


def _wrong_arguments(
    cls: type[Declared],
    method: Callable[..., Any],
    arguments: tuple[object, ...],
    keywords: Mapping[str, object],
    error: str,
) -> str:
    """The message for a call that Python rejected with the message `error`."""
    what = cls.__name__ if method.__name__ == "__init__" else f"{cls.__name__}.{method.__name__}"
    signature = inspect.signature(method)
    _, *parameters = (each.replace(annotation=each.empty) for each in signature.parameters.values())
    known = [each.name for each in parameters]
    usage = f"write {what}{signature.replace(parameters=parameters, return_annotation=signature.empty)}"
    hint = cls._hint_for_arguments((*arguments, *keywords.values())) or cls._hints.get(method.__name__)
    unknown = next((name for name in keywords if name not in known), None)
    if unknown is not None:
        right = "" if unknown in ARGUMENTS else _counterpart(unknown, known)
        hint = hint or (f"write {right}=..." if right else ARGUMENTS.get(unknown, usage))
        return f"{what}() got an unexpected keyword argument {unknown!r}: {hint}"
    if error.endswith("given"):  # Python counts self, too
        return f"{what}() got {len(arguments)} arguments by position: {hint or usage}"
    return f"{what}() {error.partition('() ')[2]}: {hint or usage}"


def _counterpart(name: str, known: Iterable[str]) -> str:
    """The one of `known` that other libraries call `name`, or that resembles it most; empty if none does."""
    known = list(known)
    return next((new for new in RENAMED.get(name, ()) if new in known), "") or _nearest(name, known)


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib  # 4 ms of import time, needed for an error only

    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


def _did_you_mean(name: str) -> str:
    return f"did you mean {name!r}?" if name else ""
