"""The training options that `fn.fit` and `fn.Trainer` share: defined, checked and described in one place.

To add an option, add a field to `TrainingOptions` and its type to `TrainingKeywords` below it, then write the
code that acts on the option. Everything else is derived from the fields:

- `fit` and `Trainer` take the options as keyword arguments. Type checkers and editors read them from
  `TrainingKeywords` (PEP 692), `help()` from the signature that `takes_options` completes, which also names
  the nearest keyword when an unknown one is passed.
- A `Trainer` is a `TrainingOptions`: `trainer.clip_norm = 1.0` between two steps passes the same check as
  `Trainer(..., clip_norm=1.0)`.
- A recorded step depends on `recorded_values` (`fastnn.training.plans`).
- A checkpoint describes its run by `described_values` (`fastnn.training.fit`).
- The command line passes on every setting that has the name of an option (`fastnn.cli.train_run`).

Why two lists of names? A type checker cannot derive a TypedDict from a dataclass. The alternatives are worse:
explicit signatures list every option three times, and a ParamSpec taken from the constructor would need one
list, but PEP 612 allows no other keyword parameters beside it, so the parameters of `fit` itself would vanish
from its signature. `tests/training/test_options.py` compares the two lists.

Why not a frozen dataclass? Options may change between two steps, and type checkers would reject the
assignment. `Trainer` keeps an immutable tuple of what a plan depends on instead and replaces it when one
of the values changes, so that a step compares one object by identity.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Any, TypedDict, TypeVar, cast

import numpy as np

from fastnn._attributes import Check, Declared
from fastnn._validation import clipping_bound, flag, one_of, optional, positive_int, within
from fastnn.augment import Augmentation, Together
from fastnn.kernels import check_bf16
from fastnn.layers import Layer
from fastnn.optim.ema import EMA, ema_of
from fastnn.optim.schedules import Schedule, schedule_of
from fastnn.training.spellings import check_names, check_positions

F = TypeVar("F", bound=Callable[..., Any])

# What to do about NaN or inf in the data or in the loss.
NONFINITE = {
    "raise": "raise NonFiniteError; the model stays as it was before the step",
    "stop": "end the training there, with the reason in history.stopped",
    "ignore": "continue, as PyTorch does",
}


def _augmentation(value: Any, name: str) -> Together:
    return value if type(value) is Together else Together(value)


def _schedule(value: Any, name: str) -> Schedule:
    return schedule_of(value)


def _ema(value: Any, name: str) -> EMA:
    return ema_of(value)


def _precision(value: Any, name: str) -> str:
    if value != "bf16":
        raise ValueError(f'{name} must be "bf16", or left out for that of the model, not {value!r:.80}')
    check_bf16()
    return str(value)


def _itself(value: Any) -> Any:
    return value


def _is_set(value: Any) -> bool:
    return value is not None


def _parts(augment: Together | None) -> Any:
    """The augmentations as the user passed them: a single one, or several."""
    parts = () if augment is None else augment.parts
    return parts if len(parts) > 1 else next(iter(parts), None)


def option(
    check: Check,
    *,
    recorded: Callable[[Any], object] | None = _itself,
    described: Callable[[Any], Any] | None = _itself,
) -> dict[str, Any]:
    """The metadata of an option.

    `check(value, name)` returns the value to store, or raises ValueError or TypeError. `recorded` returns
    what a recorded step depends on; None if it does not depend on the option. `described` returns what
    must be equal for a checkpoint to be resumed; None if results have the same bits whatever the value.
    """
    return {"check": check, "recorded": recorded, "described": described}


@dataclass(kw_only=True, eq=False, repr=False)
class TrainingOptions(Declared):
    """How updates are made. Every assignment is checked; a rejected value changes nothing.

    Raises ValueError or TypeError for an invalid value, TypeError for an unknown option.
    """

    scale: float | None = field(default=None, metadata=option(optional(within(0))))
    """Factor on the features; None: as in the first training of the model, then 1/255 for uint8, else 1."""

    on_nonfinite: str = field(default="raise", metadata=option(one_of(*NONFINITE)))
    """What to do about NaN or inf in data or loss: a key of `NONFINITE`."""

    plan: bool = field(default=True, metadata=option(flag, recorded=None, described=None))
    """Record the first step on each batch shape and replay it."""

    fuse: bool = field(default=True, metadata=option(flag, described=None))
    """Fuse the recorded kernel calls."""

    keep_gradients: bool = field(default=False, metadata=option(flag, described=None))
    """Store the gradients, so that `p.grad` can be read after a step."""

    augment: Augmentation | None = field(
        default=None, metadata=option(optional(_augmentation), described=_parts)
    )
    """Random changes to the images of each batch."""

    schedule: Schedule | None = field(default=None, metadata=option(optional(_schedule), recorded=None))
    """The learning rate of each update, as a factor on `optimizer.lr`."""

    clip_norm: float | None = field(default=None, metadata=option(optional(clipping_bound), recorded=_is_set))
    """Largest norm of all gradients together."""

    clip_value: float | None = field(
        default=None, metadata=option(optional(clipping_bound), recorded=_is_set)
    )
    """Largest absolute value of a gradient element."""

    ema: float | EMA | None = field(default=None, metadata=option(optional(_ema)))
    """Exponential moving average of the weights: an `EMA` or a decay."""

    micro_batch: int | None = field(default=None, metadata=option(optional(positive_int)))
    """Samples to compute at once: the gradients of a larger batch are summed piece by piece."""

    precision: str | None = field(default=None, metadata=option(optional(_precision)))
    """Precision of the operands of dense layers: "bf16", or None for that of the model."""

    sync_batch_norm: bool = field(default=False, metadata=option(flag))
    """Normalise by the samples of all processes in batch norm, not by those of each one."""

    def _checked_attribute(self, name: str, value: Any) -> Any:
        value = super()._checked_attribute(name, value)
        if name in OPTION_NAMES:
            self._check_pieces(**{name: value})
            self._apply_option(name, value)
        return value

    def _check_pieces(self, **changed: Any) -> None:
        """Raise ValueError if batch norm must normalise whole mini-batches, but they are cut in pieces."""
        new = {"micro_batch": self.micro_batch, "sync_batch_norm": self.sync_batch_norm, **changed}
        if new["sync_batch_norm"] and new["micro_batch"] is not None:
            raise ValueError(
                "sync_batch_norm=True normalises by the statistics of the whole mini-batch, but "
                f"micro_batch={new['micro_batch']} by those of each piece: leave one of them out"
            )

    def _apply_option(self, name: str, value: Any) -> None:
        """Act on the checked value of an option just before it is stored; an error rejects it."""


class TrainingKeywords(TypedDict, total=False):
    """The fields of `TrainingOptions` as keyword arguments, for type checkers and editors."""

    scale: float | None
    on_nonfinite: str
    plan: bool
    fuse: bool
    keep_gradients: bool
    augment: Augmentation | None
    schedule: Schedule | None
    clip_norm: float | None
    clip_value: float | None
    ema: float | EMA | None
    micro_batch: int | None
    precision: str | None
    sync_batch_norm: bool


OPTION_NAMES = tuple(each.name for each in fields(TrainingOptions))


def _metadata(key: str) -> list[tuple[str, Callable[..., Any]]]:
    """The functions that the options have under this key of their metadata, without the Nones."""
    return [(each.name, each.metadata[key]) for each in fields(TrainingOptions) if each.metadata[key]]


TrainingOptions._checks = dict(_metadata("check"))
_RECORDED, _DESCRIBED = _metadata("recorded"), _metadata("described")

# The options that kernels read from memory: a recorded step depends only on whether they are set.
IN_MEMORY = tuple(name for name, recorded in _RECORDED if recorded is _is_set)


def option_values(options: TrainingOptions) -> dict[str, Any]:
    """All options by name."""
    return {name: getattr(options, name) for name in OPTION_NAMES}


def piece_size(options: TrainingOptions, count: int) -> int | None:
    """The size of the pieces of an update from `count` samples; None if it is not cut."""
    return None if options.micro_batch is None or count <= options.micro_batch else options.micro_batch


def recorded_values(options: TrainingOptions) -> list[object]:
    """The part of the options that a recorded step depends on."""
    return [recorded(getattr(options, name)) for name, recorded in _RECORDED]


def described_values(options: TrainingOptions) -> dict[str, Any]:
    """The options that change the result of a training, by name."""
    values = {name: described(getattr(options, name)) for name, described in _DESCRIBED}
    for name in ("micro_batch", "precision", "sync_batch_norm"):  # older checkpoints do not have them
        if not values[name]:
            del values[name]
    return values


def check_precision(precision: str | None, model: Layer) -> None:
    """Raise ValueError if the model cannot be trained in this precision."""
    if precision is not None and model.dtype != np.float32:
        raise ValueError(
            f"precision={precision!r} needs a float32 model, whose products it rounds, got {model.dtype}: "
            'call model.to("float32") before the training'
        )


def takes_options(function: F) -> F:
    """Give a function with `**options: Unpack[TrainingKeywords]` its full signature.

    The options appear in `inspect.signature` and `help()`. Raises TypeError for an unknown keyword, with what
    it is called here or the nearest known one, and for too many positional arguments.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.type
        )
        for each in fields(TrainingOptions)
    ]
    names = [each.name for each in (*own, *options) if each.name != "self"]
    positional = [each.name for each in own if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    bound = int(positional[0] == "self")
    what = function.__qualname__.removesuffix(".__init__")

    @wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        check_names(what, keywords, names)
        check_positions(what, args[bound:], positional[bound:])
        return function(*args, **keywords)

    checked.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    return cast(F, checked)
