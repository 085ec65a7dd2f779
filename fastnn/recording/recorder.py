"""Record the kernel calls of one training step while it runs for the first time.

A class that declares itself `recordable` only calls kernels, on arrays from `kernels.empty`: its calls are
recorded. Any other layer, loss or optimizer, written in plain Python, becomes a callback in the plan.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape
from fastnn.kernels import Kernel, active_recorder, aligned_empty, in_same_precision, ops, record_with
from fastnn.kernels.plan import Plan


class Backward(Protocol):
    """A backward function: takes the gradient of the output and sets the gradients of the layer's parameters.

    Returns the gradient of the input, or None if it is not needed.
    """

    def __call__(self, dy: Array, *, need_dx: bool = True) -> Array | None: ...


class HasForward(Protocol):
    """Anything that can be run as a layer."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]: ...


class HasValueAndGradient(Protocol):
    """Anything that can be run as a loss."""

    def value_and_gradient(
        self,
        y: Array,
        target: Array,
        sample_weight: Array | None = None,
        reduction: str | None = None,
    ) -> tuple[Array, Array]: ...


class Arena:
    """The memory that all plans of a trainer share, since they never run at the same time."""

    CHUNK = 1 << 20  # bytes
    LINE = 64

    def __init__(self) -> None:
        self._chunks: list[Array] = []
        self.restart()

    def restart(self) -> None:
        """Start again at the beginning, for another plan."""
        self._chunk = self._used = 0

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """An uninitialised array that starts at a cache line."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        while self._chunk < len(self._chunks) and self._used + nbytes > len(self._chunks[self._chunk]):
            self._chunk, self._used = self._chunk + 1, 0
        if self._chunk == len(self._chunks):
            self._chunks.append(aligned_empty((max(nbytes, self.CHUNK),), np.uint8))
        memory = self._chunks[self._chunk][self._used : self._used + nbytes]
        self._used += -(-nbytes // self.LINE) * self.LINE
        return memory.view(dtype).reshape(shape)


def input_buffer(array: Array) -> Array:
    """A copy of the array, which later steps replace by their own."""
    buffer: Array = aligned_empty(array.shape, array.dtype)
    buffer[...] = array
    return buffer


class Recorder:
    """Records the kernel calls made inside `with record_with(recorder)`."""

    def __init__(self, arena: Arena) -> None:
        arena.restart()
        self.empty = arena.empty
        self.plan = Plan()
        self.has_callbacks = False
        # Keeps alive the arrays to which the plan holds bare pointers.
        self.keep: list[Any] = [arena]

    def recording(self, kernel: Kernel) -> Kernel:
        """A function that runs the kernel and records its calls."""

        def run(*arguments: Any) -> None:
            self.keep.append(arguments)
            self.plan.record(kernel, arguments)

        return run

    def check_all_finite(self, array: Array) -> None:
        """Make a step fail here if the array contains NaN or inf."""
        count: Array = self.empty((1,), np.int64)
        ops.count_nonfinite(array, count)
        self.plan.check_zero(count)

    def check_all_within(self, array: Array, low: float, high: float) -> None:
        """Make a step fail here if an element of the array is below `low` or above `high`; NaN is neither."""
        count: Array = self.empty((1,), np.int64)
        ops.count_outside(array, low, high, count)
        self.plan.check_zero(count)

    def callback(self, function: Callable[[], None]) -> None:
        """Call the function now, unrecorded, and at this point of every replayed step."""
        self.insert(in_same_precision(function))
        self.has_callbacks = True

    def insert(self, function: Callable[[], None]) -> None:
        """Do the same for a function of fastnn, which changes nothing that a plan depends on."""
        with record_with(None):
            function()
        self.plan.callback(function)

    def call_layer(self, layer: HasForward, x: Array, train: bool) -> tuple[Array, Backward]:
        """Run `layer.forward` as a callback, and its backward function as another one."""
        output = _Copied(self, f"the output of {layer!r}")
        layer_backward: Backward | None = None

        def forward() -> None:
            nonlocal layer_backward
            # A copy, since the layer may keep its input, and the next step overwrites the buffer.
            y, layer_backward = checked_forward(layer, x.copy(), train)
            output.take(y)

        self.callback(forward)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            gradient = _Copied(self, f"the input gradient of {layer!r}")

            def run() -> None:
                assert layer_backward is not None, "forward runs before backward"
                dx = layer_backward(dy.copy(), need_dx=need_dx)
                if need_dx:
                    if dx is None:
                        raise TypeError(f"the backward function of {layer!r} must return dx, not None")
                    gradient.take(dx)

            self.callback(run)
            return gradient.array

        assert output.array is not None
        return output.array, backward

    def call_loss(
        self,
        loss: HasValueAndGradient,
        outputs: Array,
        target: Array,
        weight: Array | None,
        reduction: str | None,
    ) -> tuple[Array, Array]:
        """Run `loss.value_and_gradient` as a callback."""
        value = _Copied(self, f"the value of {loss!r}")
        gradient = _Copied(self, f"the gradient of {loss!r}")

        def run() -> None:
            copied = None if weight is None else weight.copy()
            number, dy = loss.value_and_gradient(outputs.copy(), target.copy(), *_given(copied, reduction))
            value.take(number)
            gradient.take(dy)

        self.callback(run)
        assert value.array is not None
        assert gradient.array is not None
        return value.array, gradient.array


class _Copied:
    """The result of a callback, copied to the array that the calls after it read."""

    def __init__(self, recorder: Recorder, what: str) -> None:
        self.recorder = recorder
        self.what = what
        self.array: Array | None = None

    def take(self, result: Array) -> None:
        if self.array is None:
            self.array = self.recorder.empty(result.shape, result.dtype)
        if result.shape != self.array.shape or result.dtype != self.array.dtype:
            raise ValueError(
                f"{self.what} is {result.dtype} {result.shape}, but it was {self.array.dtype} "
                f"{self.array.shape} for an earlier batch of the same shape: pass plan=False to allow it"
            )
        self.array[...] = result


def declares_recordable(thing: object) -> bool:
    """Whether the class of `thing` itself declares that it only calls kernels.

    A subclass does not inherit the declaration, and an object with a replaced method loses it.
    """
    kind = type(thing)
    if not vars(kind).get("recordable", False):
        return False
    return not any(inspect.isfunction(getattr(kind, name, None)) for name in vars(thing))


def calls_python(layer: object) -> bool:
    """Whether a layer, or a layer inside it, is not recordable."""
    if not declares_recordable(layer):
        return True
    values = vars(layer).values()
    held = (item for value in values for item in (value if isinstance(value, (tuple, list)) else (value,)))
    return any(calls_python(item) for item in held if hasattr(item, "recordable"))


def checked_forward(layer: HasForward, x: Array, train: bool) -> tuple[Array, Backward]:
    """Run `layer.forward(x, train=train)`. Raises TypeError unless it returns a pair."""
    result = layer.forward(x, train=train)
    if not isinstance(result, tuple) or len(result) != 2:
        got = type(result).__name__
        raise TypeError(f"{type(layer).__name__}.forward must return a pair (y, backward), not {got}")
    return result


def run_layer(layer: HasForward, x: Array, train: bool) -> tuple[Array, Backward]:
    """Run `layer.forward(x, train=train)`; it is recorded if a recorder is active."""
    recorder = active_recorder()
    if recorder is None or declares_recordable(layer):
        return checked_forward(layer, x, train)
    assert isinstance(recorder, Recorder)
    return recorder.call_layer(layer, x, train)


def run_loss(
    loss: HasValueAndGradient,
    outputs: Array,
    target: Array,
    weight: Array | None,
    reduction: str | None = None,
) -> tuple[Array, Array]:
    """Run `loss.value_and_gradient`; it is recorded if a recorder is active.

    `reduction` replaces that of the loss.
    """
    recorder = active_recorder()
    if recorder is None or declares_recordable(loss):
        return loss.value_and_gradient(outputs, target, *_given(weight, reduction))
    assert isinstance(recorder, Recorder)
    return recorder.call_loss(loss, outputs, target, weight, reduction)


def _given(weight: Array | None, reduction: str | None) -> tuple[Any, ...]:
    """The last arguments of `value_and_gradient`, if given: a loss of one's own may not take them."""
    if reduction is not None:
        return weight, reduction
    return () if weight is None else (weight,)


def run_between_kernels(function: Callable[[], None]) -> None:
    """Run a function of fastnn that only writes to arrays from `kernels.empty` and to training states.

    It is recorded if a step is.
    """
    recorder = active_recorder()
    if recorder is None:
        function()
    else:
        assert isinstance(recorder, Recorder)
        recorder.insert(function)


def run_function(owner: object, function: Callable[[], None]) -> None:
    """Run `function`, a method of `owner` that only writes to given arrays; recorded if a step is."""
    recorder = active_recorder()
    if recorder is None or declares_recordable(owner):
        function()
    else:
        assert isinstance(recorder, Recorder)
        recorder.callback(function)
