"""Recording the kernel calls of one training step while it runs for the first time.

What declares itself `recordable` calls nothing but kernels, on arrays from `kernels.empty`: its calls are
written down. Anything else, a layer, loss or optimizer in plain Python, becomes a call-back in the plan.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape
from fastnn.kernels import Kernel, active_recorder, aligned_empty, ops, record_with
from fastnn.kernels.plan import Plan


class Backward(Protocol):
    """The way back: takes the gradient of the output, sets the gradients of the layer's parameters, and
    returns the gradient of the input (None when it is not needed)."""

    def __call__(self, dy: Array, *, need_dx: bool = True) -> Array | None: ...


class HasForward(Protocol):
    """What can be run as a layer."""

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]: ...


class HasValueAndGradient(Protocol):
    """What can be run as a loss."""

    def value_and_gradient(self, y: Array, target: Array) -> tuple[Array, Array]: ...


class Arena:
    """The memory of all plans of a trainer: they never run at the same time, so they share it."""

    CHUNK = 1 << 20  # bytes
    LINE = 64

    def __init__(self) -> None:
        self._chunks: list[Array] = []
        self.restart()

    def restart(self) -> None:
        """Begin again at the front, for another plan."""
        self._chunk = self._used = 0

    def empty(self, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """An uninitialised array that begins at a cache line."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        while self._chunk < len(self._chunks) and self._used + nbytes > len(self._chunks[self._chunk]):
            self._chunk, self._used = self._chunk + 1, 0
        if self._chunk == len(self._chunks):
            self._chunks.append(aligned_empty((max(nbytes, self.CHUNK),), np.uint8))
        memory = self._chunks[self._chunk][self._used : self._used + nbytes]
        self._used += -(-nbytes // self.LINE) * self.LINE
        return memory.view(dtype).reshape(shape)


def slot_for(array: Array) -> Array:
    """A copy of the array, in whose place later steps put theirs."""
    slot: Array = aligned_empty(array.shape, array.dtype)
    slot[...] = array
    return slot


class Recorder:
    """Writes down the calls made inside `with record_with(recorder)`."""

    def __init__(self, arena: Arena) -> None:
        arena.restart()
        self.empty = arena.empty
        self.plan = Plan()
        self.has_call_backs = False
        # The plan holds bare pointers; these are the arrays behind them.
        self.keep: list[Any] = [arena]

    def recording(self, kernel: Kernel) -> Kernel:
        """A function that runs the kernel and records its calls."""

        def run(*arguments: Any) -> None:
            self.keep.append(arguments)
            try:  # around `start`, too: Ctrl-C may come right behind it
                self.plan.start()
                kernel(*arguments)
            finally:
                self.plan.stop()

        return run

    def check_finite_numbers(self, array: Array) -> None:
        """Here a step fails if there is a nan or an infinity in the array."""
        count: Array = self.empty((1,), np.int64)
        ops.count_nonfinite(array, count)
        self.plan.check_zero(count)

    def call_back(self, function: Callable[[], None]) -> None:
        """Run the function now, unrecorded, and at this place of every step to come."""
        with record_with(None):
            function()
        self.plan.callback(function)
        self.has_call_backs = True

    def call_layer(self, layer: HasForward, x: Array, train: bool) -> tuple[Array, Backward]:
        """`layer.forward` as a call-back, and its way back as another one."""
        output = _Copied(self, f"forward of {layer!r}")
        way_back: Backward | None = None

        def forward() -> None:
            nonlocal way_back
            # A copy, since the layer may keep what it is given, and the next step writes here again.
            y, way_back = layer.forward(x.copy(), train=train)
            output.take(y)

        self.call_back(forward)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            gradient = _Copied(self, f"backward of {layer!r}")

            def run() -> None:
                assert way_back is not None, "forward comes first"
                dx = way_back(dy.copy(), need_dx=need_dx)
                if need_dx:
                    if dx is None:
                        raise TypeError(f"{layer!r} was asked for the gradient of its input and gave None")
                    gradient.take(dx)

            self.call_back(run)
            return gradient.array

        assert output.array is not None
        return output.array, backward

    def call_loss(self, loss: HasValueAndGradient, outputs: Array, target: Array) -> tuple[Array, Array]:
        """`loss.value_and_gradient` as a call-back."""
        value = _Copied(self, f"the value of {loss!r}")
        gradient = _Copied(self, f"the gradient of {loss!r}")

        def run() -> None:
            number, dy = loss.value_and_gradient(outputs.copy(), target.copy())
            value.take(number)
            gradient.take(dy)

        self.call_back(run)
        assert value.array is not None
        assert gradient.array is not None
        return value.array, gradient.array


class _Copied:
    """What a call-back returns, copied to where the calls after it read it."""

    def __init__(self, recorder: Recorder, what: str) -> None:
        self.recorder = recorder
        self.what = what
        self.array: Array | None = None

    def take(self, result: Array) -> None:
        if self.array is None:
            self.array = self.recorder.empty(result.shape, result.dtype)
        if result.shape != self.array.shape or result.dtype != self.array.dtype:
            raise ValueError(
                f"{self.what} gave {result.dtype} {result.shape}, for a batch of the same shape that gave "
                f"{self.array.dtype} {self.array.shape} before: pass plan=False if that is intended"
            )
        self.array[...] = result


def declares_recordable(thing: object) -> bool:
    """Whether the very class of `thing` says that it only calls kernels; a subclass does not inherit that.

    Nor does an object of which a method was replaced.
    """
    kind = type(thing)
    if not vars(kind).get("recordable", False):
        return False
    return not any(inspect.isfunction(getattr(kind, name, None)) for name in vars(thing))


def calls_python(layer: object) -> bool:
    """Whether a layer, or one that it holds, is not recordable."""
    if not declares_recordable(layer):
        return True
    values = vars(layer).values()
    held = (item for value in values for item in (value if isinstance(value, (tuple, list)) else (value,)))
    return any(calls_python(item) for item in held if hasattr(item, "recordable"))


def run_layer(layer: HasForward, x: Array, train: bool) -> tuple[Array, Backward]:
    """`layer.forward(x, train=train)`, recorded if this step is."""
    recorder = active_recorder()
    if recorder is None or declares_recordable(layer):
        return layer.forward(x, train=train)
    assert isinstance(recorder, Recorder)
    return recorder.call_layer(layer, x, train)


def run_loss(loss: HasValueAndGradient, outputs: Array, target: Array) -> tuple[Array, Array]:
    """`loss.value_and_gradient(outputs, target)`, recorded if this step is."""
    recorder = active_recorder()
    if recorder is None or declares_recordable(loss):
        return loss.value_and_gradient(outputs, target)
    assert isinstance(recorder, Recorder)
    return recorder.call_loss(loss, outputs, target)


def run_function(owner: object, function: Callable[[], None]) -> None:
    """`function()`, a method of `owner` that only writes to given arrays, recorded if this step is."""
    recorder = active_recorder()
    if recorder is None or declares_recordable(owner):
        function()
    else:
        assert isinstance(recorder, Recorder)
        recorder.call_back(function)
