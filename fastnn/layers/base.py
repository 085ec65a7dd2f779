"""What a layer is: a function that returns its output together with its own way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, features, float_type, positive_int
from fastnn.kernels import empty, ops
from fastnn.param import Buffer, Param
from fastnn.recording import prediction
from fastnn.recording.changes import Noted
from fastnn.recording.recorder import Backward


class Layer(Noted):
    """Base class of all layers.

    A subclass defines `forward`, and `output_shape` if it changes the shape. Attributes that are `Param`s
    are its parameters, those that are `Buffer`s its buffers; attributes that are layers are its children.
    """

    # Whether forward and backward do nothing but call kernels on arrays from `kernels.empty`, so that a plan
    # may record the calls. A class says so for itself alone; of others a plan calls the Python code.
    recordable = False

    # The shape of one sample that the layer takes, where the layer alone knows it.
    input_shape: Shape | None = None

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        """The output for the batch `x` (N, ...), and the function that goes the way back."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x, *, train=False)")

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of one output sample for an input sample of `shape`; ValueError if it does not fit."""
        return shape

    def flop(self, shape: Shape) -> int:
        """FLOP of the forward pass, outside of training, for one sample of `shape`; ValueError as above.

        A multiplication and an addition count as 2, a function of a number as 1; this counts none.
        """
        self.output_shape(shape)
        return 0

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Param]]:
        """All parameters with their names, e.g. "0.weight"."""
        for name, value in self._named_values():
            if isinstance(value, Param):
                yield prefix + name, value
            elif isinstance(value, Layer):
                yield from value.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Param]:
        """All parameters, in the order of the layers."""
        return [param for _, param in self.named_parameters()]

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """All arrays that belong to the layers, but are not trained, with their names: "1.running_mean"."""
        for name, value in self._named_values():
            if isinstance(value, Buffer):
                yield prefix + name, value
            elif isinstance(value, Layer):
                yield from value.named_buffers(f"{prefix}{name}.")

    def buffers(self) -> list[Buffer]:
        """All buffers, in the order of the layers."""
        return [buffer for _, buffer in self.named_buffers()]

    def random_states(self) -> Iterator[Array]:
        """The (key, count) pairs, uint64 (2,), of all layers that draw random numbers."""
        for _, value in self._named_values():
            if isinstance(value, Layer):
                yield from value.random_states()

    def states(self) -> list[Array]:
        """All that a forward pass of training changes, itself and not a copy: random counters and buffers."""
        return [*self.random_states(), *(buffer.master for buffer in self.buffers())]

    def _named_values(self) -> Iterable[tuple[str, object]]:
        """What may hold parameters, buffers and states."""
        return vars(self).items()

    @property
    def trainable(self) -> bool:
        """Whether any parameter is not frozen."""
        return any(not param.frozen for param in self.parameters())

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: the type of parameters and buffers (float32 if there are none).

        Raises ValueError for a mixture.
        """
        types = {held.dtype for held in (*self.parameters(), *self.buffers())}
        if len(types) > 1:
            raise ValueError("the parameters mix float32 and float64: choose one by model.to(...)")
        return next(iter(types), np.dtype(np.float32))

    def to(self, dtype: npt.DTypeLike) -> Self:
        """Convert all parameters and buffers to float32 or float64, in place; returns the layer."""
        dtype = float_type(dtype)
        for held in (*self.parameters(), *self.buffers()):
            held.to(dtype)
        return self

    def set_lr_scale(self, scale: float) -> Self:
        """Multiply the learning rate of all parameters by `scale`; 0 freezes them. Returns the layer."""
        for param in self.parameters():
            param.lr_scale = scale
        return self

    def predict(self, x: npt.ArrayLike, *, scale: float | None = None, batch_size: int = 1024) -> Array:
        """The outputs of the last layer for the samples `x` (N, ...), N of any size.

        uint8 input is multiplied by 1/255, other input is left alone; `scale` overrides both. A row has
        the same bits whatever the rows around it, except with the backend "ref". Raises ValueError where
        the shape does not fit.
        """
        positive_int(batch_size, "batch_size")
        replayed = prediction.replay(self, x, scale)
        if replayed is not None:
            return replayed
        dtype = self.dtype
        rows = features(x, dtype)
        shape = self.output_shape(rows.shape[1:])

        def to_batch(part: Array) -> Array:
            return take(part, np.arange(len(part)), scale, dtype)

        out = np.empty((len(rows), *shape), dtype)
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            out[start : start + batch_size] = self.forward(to_batch(part))[0]
        prediction.offer(self, rows, scale, to_batch)
        return out

    def summary(self, input_shape: Shape | None = None) -> str:
        """A table of the layers: what a sample becomes, the FLOP that takes, and the parameters.

        The first "bytes" are those of the output of one sample, the second ones those of the parameters;
        FLOP are as `flop` counts them. What depends on a shape that nobody knows is "?": pass that of a
        sample, `input_shape`. Raises ValueError where it does not fit.
        """
        from fastnn.layers._summary import summary

        return summary(self, input_shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def expect_layers(owner: str, layers: Iterable[object]) -> None:
    """TypeError unless all of them are layers."""
    for layer in layers:
        if not isinstance(layer, Layer):
            hint = " (an instance is wanted: add parentheses)" if isinstance(layer, type) else ""
            raise TypeError(f"{owner} takes layers, not {layer!r}{hint}")


def name_parameters(model: Layer) -> None:
    """Give each parameter and buffer its name in the model.

    Raises ValueError when one occurs twice: gradients overwrite, so it would lose all but one of its
    contributions.
    """
    seen: dict[int, str] = {}
    for name, param in model.named_parameters():
        if id(param) in seen:
            raise ValueError(
                f"parameter {name!r} is the same object as {seen[id(param)]!r}: "
                "a parameter may occur only once in a model"
            )
        seen[id(param)] = name
        param.name = name
    for name, buffer in model.named_buffers():
        buffer.name = name


def take(rows: Array, index: Array, scale: float | None, dtype: np.dtype[Any]) -> Array:
    """The mini-batch `rows[index]` as floats: uint8 times 1/255 unless `scale` says otherwise."""
    if scale is None:
        scale = 1 / 255 if rows.dtype == np.uint8 else 1.0
    batch: Array = empty((len(index), *rows.shape[1:]), dtype)
    ops.gather(
        rows.reshape(len(rows), -1), index.astype(np.int64, copy=False), scale, batch.reshape(len(index), -1)
    )
    return batch
