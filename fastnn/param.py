"""Parameters, which an optimizer changes, and buffers, which it does not: the arrays of a layer."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._arrays import REAL_KINDS, as_array
from fastnn._foreign_names import PARAM_ATTRIBUTES
from fastnn._validation import (
    Array,
    Shape,
    clipping_bound,
    flag,
    float_type,
    in_range,
    optional,
    writable,
)
from fastnn.classes import Classes
from fastnn.feeding import Feeding
from fastnn.kernels import aligned_empty
from fastnn.kernels.guards import Setting
from fastnn.recording.changes import Noted

# How many more elements parameters and buffers may have in this context; None: any number.
_room: ContextVar[int | None] = ContextVar("fastnn_room", default=None)


def limited(elements: int) -> AbstractContextManager[None]:
    """Let all parameters and buffers made in the `with` block have at most `elements` elements together.

    A file of a few bytes can describe a layer that does not fit into memory: the constructor then raises
    ValueError before it takes the memory.
    """
    limit: AbstractContextManager[None] = Setting(_room, elements)
    return limit


def check_room(shape: Shape) -> None:
    """Raise ValueError if an array of this shape exceeds the limit of an enclosing `limited`."""
    room = _room.get()
    if room is not None and math.prod(shape) > room:
        raise ValueError(f"an array of shape {shape} does not fit: there is room for {room:,} elements")


class _Held(Noted):
    """A named float array that is saved, loaded and converted with its layer.

    `value` is a read-only copy; assign to it to set the elements. Only layers and optimizers may use
    `master` (to read) and `writable_master()`, because the kernels determine the layout.
    """

    kind: ClassVar[str]
    master: Array
    name: str
    _hints = PARAM_ATTRIBUTES

    def __init__(self, value: npt.ArrayLike, *, name: str = "") -> None:
        array = as_array(value, "value")
        check_room(array.shape)
        if (room := _room.get()) is not None:
            _room.set(room - array.size)
        self.master = _aligned(array, float_type(array.dtype))
        self.name = name

    @property
    def value(self) -> Array:
        """A read-only copy of the elements. Assignment checks the shape and copies the new value."""
        return _snapshot(self.master)

    @value.setter
    def value(self, value: npt.ArrayLike) -> None:
        array = self._checked(value, "value")
        self.writable_master()[...] = array

    def writable_master(self) -> Array:
        """Return `master`; if it is read-only, as memory-mapped arrays are, a copy replaces it first."""
        if not self.master.flags.writeable:
            self.master = writable(self.master)
        return self.master

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The elements, for NumPy: read-only as `value`, unless a copy is asked for."""
        if copy is False:
            raise ValueError(f"an array of {self} is always a copy: leave out copy=False")
        array = self.value if dtype is None else self.value.astype(dtype)
        array.flags.writeable = copy is True
        return array

    def _checked(self, value: npt.ArrayLike, what: str) -> Array:
        """Return `value` as an array. Raises ValueError or TypeError if its shape or dtype does not fit."""
        array = as_array(value, f"the {what}")
        if array.shape != self.shape:
            raise ValueError(
                f"the {what} of {self.kind} {self.name!r} must have shape {self.shape}, got {array.shape}"
            )
        if array.dtype.kind not in REAL_KINDS:
            raise TypeError(
                f"the {what} of {self.kind} {self.name!r} must hold real numbers, got dtype {array.dtype}"
            )
        return array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.master.shape

    @property
    def size(self) -> int:
        return self.master.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.master.dtype

    def to(self, dtype: npt.DTypeLike) -> None:
        """Convert to float32 or float64."""
        if float_type(dtype) != self.dtype:
            self.master = _aligned(self.master, dtype)


class Buffer(_Held):
    """A named array of a layer that no optimizer changes, such as the running mean of a batch normalisation.

    `value` is a read-only copy; assign to it to set the elements.
    """

    kind = "buffer"

    def __repr__(self) -> str:
        return f"Buffer({self.name!r}, shape={self.shape}, {self.dtype})"


class Param(_Held):
    """A named array that training changes.

    `value` is a read-only copy; assign to it to set the weights. `grad` is the gradient of the last backward
    pass, or None; the backward function of your own layer assigns to it. `trainable=False` or `lr_scale=0`
    freezes the parameter, and its gradient is not computed. `lr_scale` multiplies the optimizer's learning
    rate and `decay_scale` its weight decay, which is usually 0 for biases and for the parameters of norms.
    `clip_value` bounds each element of the gradient; `mask` holds single elements fixed:

    >>> layer.weight.clip_value = 5  # gradients in [-5, 5]
    >>> layer.weight.mask = layer.weight.value != 0  # pruned weights stay 0

    Only layers and optimizers may use `master` (to read), `writable_master()`, `grad_buffer()` and
    `mask_master`, because the kernels determine the layout of the master weights.
    """

    kind = "parameter"
    trainable: bool
    clip_value: float | None = None
    """The bound of the gradient's elements, which an optimizer step first clips; None: there is no bound."""
    # The mask as the kernels read it: 0 or 1, with the dtype of the parameter.
    mask_master: Array | None = None
    _checks: ClassVar = {"trainable": flag, "clip_value": optional(clipping_bound)}

    # What a model remembers of its training, if this is its first parameter (see feeding.py), and, if it is
    # the last one, the labels of its outputs (see classes.py). They are in the class because older pickles do
    # not have them.
    feeding: Feeding | None = None
    loss: object = None
    classes: Classes | None = None
    _grad_sum: Array | None = None  # in the class for the same reason

    def __init__(
        self, value: npt.ArrayLike, *, name: str = "", trainable: bool = True, lr_scale: float = 1.0
    ) -> None:
        super().__init__(value, name=name)
        self.trainable = trainable
        self.lr_scale = lr_scale
        self.decay_scale = 1.0
        self._grad: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but a loss of the user's own, with which a model might not be picklable."""
        state = dict(vars(self))
        state.pop("_grad_sum", None)  # every update that needs it starts from 0
        if not type(self.loss).__module__.startswith("fastnn."):
            state.pop("loss", None)
        return state

    @property
    def grad(self) -> Array | None:
        """A read-only copy of the last gradient; None before the first one, and while frozen."""
        return None if self._grad is None or self.frozen else _snapshot(self._grad)

    @grad.setter
    def grad(self, grad: npt.ArrayLike | None) -> None:
        if grad is None:
            self.drop_grad()
        else:
            array = self._checked(grad, "gradient")
            self.grad_buffer()[...] = array

    @property
    def lr_scale(self) -> float:
        """The factor on the optimizer's learning rate, at least 0; 0 freezes the parameter."""
        return self._lr_scale

    @lr_scale.setter
    def lr_scale(self, scale: float) -> None:
        self._lr_scale = in_range(scale, "lr_scale", 0)

    @property
    def decay_scale(self) -> float:
        """The factor on the optimizer's weight decay, at least 0."""
        return self._decay_scale

    @decay_scale.setter
    def decay_scale(self, scale: float) -> None:
        self._decay_scale = in_range(scale, "decay_scale", 0)

    @property
    def mask(self) -> Array | None:
        """Which elements training changes, as a read-only copy; None means all of them.

        Assign True or 1 for the elements that training changes, and False or 0 for those that it holds fixed.
        An optimizer step leaves every bit of a held element as it is, with any weight decay and momentum:
        its gradient and its part of the optimizer's state become 0, so that it starts afresh when it is
        released. `value` and loading set held elements, too. Raises ValueError if the shape differs or if
        there are other numbers than 0 and 1.
        """
        return None if self.mask_master is None else _snapshot(self.mask_master != 0)

    @mask.setter
    def mask(self, mask: npt.ArrayLike | None) -> None:
        if mask is None:
            self.mask_master = None
            return
        array = self._checked(mask, "mask")
        wrong = (array != 0) & (array != 1)
        if wrong.any():
            place = tuple(map(int, np.argwhere(wrong)[0]))
            raise ValueError(
                f"the mask of parameter {self.name!r} must have only the values 0 (held fixed) and 1, but "
                f"mask[{', '.join(map(str, place))}] is {array[place]}"
            )
        self.mask_master = _aligned(array, self.dtype)

    @property
    def frozen(self) -> bool:
        """Whether training does not change this parameter."""
        return not self.trainable or self.lr_scale == 0

    def grad_buffer(self) -> Array:
        """Return the array that the backward pass overwrites with the gradient."""
        if self._grad is None:
            self._grad = aligned_empty(self.shape, self.dtype)
        elif not self._grad.flags.writeable:
            self._grad = writable(self._grad)
        return self._grad

    @property
    def has_grad(self) -> bool:
        """Whether a backward pass has filled `grad_buffer()`."""
        return self._grad is not None

    def use_grad_buffer(self, buffer: Array) -> None:
        """Use `buffer`, which a plan fills, as the gradient."""
        if self._grad is not buffer:
            self._grad = buffer

    def grad_sum_buffer(self) -> Array:
        """Return the array to which an update adds the gradients of the pieces of its mini-batch."""
        if self._grad_sum is None:
            self._grad_sum = aligned_empty(self.shape, self.dtype)
        return self._grad_sum

    def use_grad_sum_buffer(self, buffer: Array) -> None:
        """Use `buffer` as the array that `grad_sum_buffer` returns."""
        self._grad_sum = buffer

    def drop_grad(self) -> None:
        """Drop the gradient."""
        if self._grad is not None:
            self._grad = None

    def to(self, dtype: npt.DTypeLike) -> None:
        """Convert the weights to float32 or float64; drops the gradient."""
        super().to(dtype)
        self.drop_grad()
        self._grad_sum = None
        if self.mask_master is not None:
            self.mask_master = _aligned(self.mask_master, self.dtype)

    def __repr__(self) -> str:
        frozen = ", frozen" if self.frozen else ""
        return f"Param({self.name!r}, shape={self.shape}, {self.dtype}{frozen})"


def _aligned(array: Array, dtype: npt.DTypeLike) -> Array:
    """A copy that starts at a cache line."""
    copy: Array = aligned_empty(array.shape, dtype)
    copy[...] = array
    return copy


def _snapshot(array: Array) -> Array:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
