"""The base class of all layers: `forward` returns the output together with its backward function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from fastnn._foreign_names import LAYER_ATTRIBUTES
from fastnn._sources import Features, Streamed
from fastnn._validation import Array, Shape, check_index_limit, float_type
from fastnn.classes import classes_from, classes_of, set_classes
from fastnn.feeding import sample_shape
from fastnn.layers._arguments import arguments_from_attributes, arguments_of, call_text
from fastnn.layers._summary import summary, summary_rows
from fastnn.param import Buffer, Param
from fastnn.prediction import classes, predict, probabilities
from fastnn.recording.changes import Noted
from fastnn.recording.recorder import Backward
from fastnn.tables import html_table, html_text


class Layer(Noted):
    """Base class of all layers.

    A subclass defines `forward`, and `output_shape` if it changes the shape. Attributes that are `Param`s are
    its parameters, attributes that are `Buffer`s its buffers, attributes that are layers its children. An
    array that is assigned to a parameter or buffer sets its value: `model[1].weight = array`. fastnn's own
    layers accept only the attributes that their class declares, a subclass of yours accepts any.
    """

    # Whether forward and backward only call kernels, on arrays from `kernels.empty`, so that the calls may be
    # recorded. A subclass does not inherit the declaration: without its own, its Python code is called in
    # every step.
    recordable = False

    # The shape of one input sample, if the layer knows it.
    input_shape: Shape | None = None

    # If the inputs are indices, as for an `Embedding`: they must be below this number, and are never scaled.
    # None: the inputs are ordinary numbers.
    index_limit: int | None = None

    # Whether the outputs are probabilities.
    gives_probabilities = False

    _hints = LAYER_ATTRIBUTES

    def __init__(self) -> None:
        """Take no arguments: a subclass with arguments need not call this constructor."""
        super().__init__()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "forward" in vars(cls) and not _takes_train(cls.forward):
            raise TypeError(
                f"{cls.__name__}.forward must be forward(self, x, *, train=False) and return the outputs and "
                "their backward function, as fastnn does not differentiate Python code; a chain of layers is "
                "fn.Sequential(...)"
            )

    if not TYPE_CHECKING:  # a type checker would accept any attribute

        def __setattr__(self, name: str, value: Any) -> None:
            held = vars(self).get(name, value)
            if value is None or isinstance(value, (Param, Buffer, Layer)):
                super().__setattr__(name, value)
            elif isinstance(held, (Param, Buffer)):
                held.value = value
            elif held is None and self._is_strict and name not in self._fixed:
                raise TypeError(f"{self} has no {name}: assign an fn.Param, not {type(value).__name__}")
            else:
                super().__setattr__(name, value)

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """Return the output for the batch `x` (N, ...), and the backward function."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, *, train=False)")

    def output_shape(self, shape: Shape) -> Shape:
        """Return the output shape of one sample for its input shape. Raises ValueError if it does not fit."""
        return shape

    def smallest_batch(self, shape: Shape | None) -> int:
        """Return the fewest samples of `shape` (None: unknown) that a batch may have in training."""
        values = (value for _, value in self._named_values())
        held = (
            item for value in values for item in (value if isinstance(value, (tuple, list)) else (value,))
        )
        return max((item.smallest_batch(None) for item in held if isinstance(item, Layer)), default=1)

    def flop(self, shape: Shape) -> int:
        """Return the FLOP of the forward pass at inference for one sample of `shape`.

        A multiply-add counts as 2, a function of one element as 1. The base class counts 0. Raises ValueError
        if the shape does not fit.
        """
        self.output_shape(shape)
        return 0

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Param]]:
        """Yield all parameters with their names, e.g. "0.weight"."""
        for name, value in self._named_values():
            if isinstance(value, Param):
                yield prefix + name, value
            elif isinstance(value, Layer):
                yield from value.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Param]:
        """Return all parameters, in the order of the layers."""
        return [param for _, param in self.named_parameters()]

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Yield all buffers, arrays that are not trained, with their names, e.g. "1.running_mean"."""
        for name, value in self._named_values():
            if isinstance(value, Buffer):
                yield prefix + name, value
            elif isinstance(value, Layer):
                yield from value.named_buffers(f"{prefix}{name}.")

    def buffers(self) -> list[Buffer]:
        """Return all buffers, in the order of the layers."""
        return [buffer for _, buffer in self.named_buffers()]

    def random_states(self) -> Iterator[Array]:
        """Yield the (key, count) pair, uint64 (2,), of each layer that draws random numbers."""
        for _, value in self._named_values():
            if isinstance(value, Layer):
                yield from value.random_states()

    def states(self) -> list[Array]:
        """Return the arrays, not copies, that a forward pass with train=True changes."""
        return [*self.random_states(), *(buffer.writable_master() for buffer in self.buffers())]

    def _named_values(self) -> Iterable[tuple[str, object]]:
        """The attributes that may hold parameters, buffers and children."""
        return vars(self).items()

    @property
    def trainable(self) -> bool:
        """Whether any parameter is not frozen. Assignment sets `trainable` of all parameters."""
        return any(not param.frozen for param in self.parameters())

    @trainable.setter
    def trainable(self, trainable: bool) -> None:
        for param in self.parameters():
            param.trainable = trainable

    @property
    def classes(self) -> Array | None:
        """The labels of the outputs, (C,) text, int64 or bools: what `predict_classes` returns.

        A model learns them in its first training on labels; until then they are None. A single output decides
        between two classes. Assignment names the classes, in the order of the outputs; None forgets them.
        Raises TypeError or ValueError unless all labels are text, integers or bools, and differ.
        """
        classes = classes_of(self)
        return None if classes is None else classes.labels.copy()

    @classes.setter
    def classes(self, labels: npt.ArrayLike | None) -> None:
        if labels is not None and not self.parameters():
            raise ValueError(f"{self} has no parameters, with which its classes would be kept")
        set_classes(self, None if labels is None else classes_from(labels))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of parameters and buffers, float32 or float64 (float32 if there are none).

        Raises ValueError if they differ.
        """
        types = {held.dtype for held in (*self.parameters(), *self.buffers())}
        if len(types) > 1:
            raise ValueError("the parameters mix float32 and float64: convert them with model.to(...)")
        return next(iter(types), np.dtype(np.float32))

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Convert all parameters and buffers to float32 or float64 in place; returns the layer.

        Raises ValueError if the layer takes indices that the dtype cannot hold: above 2^24 in float32.
        """
        dtype = float_type(dtype)
        check_index_limit(self.index_limit, dtype)
        for held in (*self.parameters(), *self.buffers()):
            held.to(dtype)
        return self

    def set_lr_scale(self, scale: float) -> Self:
        """Set the factor on the learning rate of all parameters; 0 freezes them. Returns the layer."""
        for param in self.parameters():
            param.lr_scale = scale
        return self

    def predict(self, x: Features | Streamed, *, scale: float | None = None, batch_size: int = 1024) -> Array:
        """Return the outputs of the last layer, usually logits, for the samples `x` (N, ...), for any N.

        `model(x)` is the same; `predict_proba` returns probabilities, `predict_classes` labels.
        The input is scaled as in the training of the model, as `fit` describes; `scale` overrides the factor.
        `x` may also give batches of features, or pairs (x, y), one after the other, as `fit` takes them.
        A row has the same bits whatever the other rows are, except with the backend "ref". Raises ValueError
        if the shape does not fit.
        """
        return predict(self, x, scale, batch_size)

    def __call__(self, x: Features | Streamed) -> Array:
        """Return `predict(x)`."""
        return self.predict(x)

    def predict_proba(
        self,
        x: Features | Streamed,
        *,
        multi_label: bool = False,
        scale: float | None = None,
        batch_size: int = 1024,
    ) -> Array:
        """Return the probabilities of the classes for the samples `x` (N, ...), in the shape of the outputs.

        This is the softmax of the outputs over their last axis, in the order of `model.classes`. For a single
        output, and with `multi_label=True`, it is the sigmoid of each output, the probability of "yes" (class
        1). If the model ends with `Softmax` or `Sigmoid`, it is the outputs themselves. The model must have
        been trained with a classification loss. Other arguments and errors are those of `predict`.
        """
        outputs = self.predict(x, scale=scale, batch_size=batch_size)
        return outputs if last_layer(self).gives_probabilities else probabilities(outputs, multi_label)

    def predict_classes(
        self,
        x: Features | Streamed,
        *,
        multi_label: bool = False,
        scale: float | None = None,
        batch_size: int = 1024,
    ) -> Array:
        """Return the class of each sample of `x` (N, ...), (N,): that of the largest output.

        Classes are labels as in the training, `model.classes`, or int64 numbers of outputs if that is None.
        For a single output the class is 1 ("yes"), or the second label, if its probability is above 1/2. With
        `multi_label=True` each output has its own 1 or 0, int64 (N, C). Other arguments and errors are those
        of `predict`.
        """
        outputs = self.predict(x, scale=scale, batch_size=batch_size)
        found = classes(outputs, multi_label, 0.5 if last_layer(self).gives_probabilities else 0.0)
        labels = None if multi_label else classes_of(self)
        return found if labels is None else labels.decode(found, outputs.shape[-1])

    def summary(self, input_shape: Shape | None = None) -> str:
        """Return a table of the layers: output shape, memory, FLOP and parameters.

        The first "bytes" column is the memory of one output sample, the second that of the parameters; FLOP
        are counted as in `flop`. Entries that depend on an unknown shape are "?": pass the shape of a sample
        as `input_shape`. Raises ValueError if it does not fit.
        """
        return summary(self, self._stages(), input_shape)

    def _repr_html_(self) -> str:
        """The table of `summary` for notebooks, for samples as in the training."""
        try:
            rows = summary_rows(self, self._stages(), sample_shape(self))
        except ValueError:  # layers that do not fit each other, mixed dtypes
            return html_text(repr(self))
        return html_table(rows, left=3, caption=type(self).__name__)

    def _stages(self) -> Sequence[Layer]:
        """The layers that a summary lists: each takes the output of the one before."""
        return (self,)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor that make an equal layer, with initial weights.

        `repr` shows them and `fn.save` stores them, so values should be numbers, text, layers, or lists of
        those. The base class returns the attributes that have the names of the arguments; `weight_init` and
        `bias_init` are left out. A layer that keeps its arguments otherwise overrides this method. Raises
        TypeError if an argument has no attribute.
        """
        return arguments_from_attributes(self)

    def __repr__(self) -> str:
        """The code that makes an equal layer with initial weights: `eval(repr(model), vars(fn))`."""
        try:
            return call_text(type(self), arguments_of(self))
        except (
            TypeError,
            ValueError,
            AttributeError,
        ):  # some argument is unknown, or the constructor has not finished
            return f"{type(self).__name__}(...)"


def expect_layers(owner: str, layers: Iterable[object]) -> None:
    """Raise TypeError unless all of them are layers."""
    for layer in layers:
        if not isinstance(layer, Layer):
            hint = ""
            if isinstance(layer, type):
                hint = " (add parentheses to make an instance)"
            elif isinstance(layer, str):
                hint = " (write a layer, such as fn.ReLU())"
            elif isinstance(layer, (list, tuple, Generator)):
                hint = " (write fn.Sequential(*layers))"
            elif callable(layer):
                hint = " (fn.elementwise makes a layer from a function and its gradient)"
            raise TypeError(f"{owner} takes layers, not {layer!r}{hint}")


def last_layer(model: Layer) -> Layer:
    """Return the layer that computes the outputs of `model`, however deep it lies in containers."""
    stages = model._stages()
    return model if not stages or stages[-1] is model else last_layer(stages[-1])


def check_unshared(model: Layer) -> None:
    """Raise ValueError if a parameter occurs twice.

    A backward pass overwrites gradients, so a shared parameter would lose all contributions but one.
    """
    seen: dict[int, str] = {}
    for name, param in model.named_parameters():
        if id(param) in seen:
            raise ValueError(
                f"parameter {name!r} is the same object as {seen[id(param)]!r}: "
                "a parameter may occur only once in a model"
            )
        seen[id(param)] = name


def name_parameters(model: Layer) -> None:
    """Give each parameter and buffer its name in the model. Raises ValueError if a parameter occurs twice."""
    check_unshared(model)
    for name, held in (*model.named_parameters(), *model.named_buffers()):
        held.name = name


def _takes_train(forward: Callable[..., object]) -> bool:
    parameters = inspect.signature(forward).parameters
    return "train" in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
