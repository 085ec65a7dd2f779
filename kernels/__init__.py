"""The compute kernels: their names, the choice of the backend and the precision, the allocation of buffers.

`ops.dense_forward(x, w, b, y)` runs the kernel of the backend chosen by `backend(...)`, by the
environment variable FASTNN_BACKEND, or else the first of `BACKENDS`. See README.md for the contract.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import FunctionType
from typing import Any, Protocol

import numpy as np

from fastnn.kernels.guards import Setting

# Best first, the reference last.
BACKENDS = ("aot", "jit", "ref")

# The values of a loss kernel's `reduction` argument.
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2, "batch_mean": 3}

CACHE_LINE = 64  # bytes

Array = np.typing.NDArray[Any]
Kernel = Callable[..., None]


def _kernels_of(family: str) -> tuple[str, ...]:
    """The public functions of a family's reference module, which specifies the kernels that exist."""
    module = importlib.import_module(f"{__name__}.{family}_ref")
    return tuple(
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    )


# The names of the kernels of each family.
FAMILIES = {
    family: _kernels_of(family)
    for family in (
        *("dense", "dense_bf16", "conv", "pool", "norm", "group_norm", "embedding", "act", "elementwise"),
        *("loss", "pointwise", "optim", "random", "data", "augment"),
    )
}

_tables: dict[str, dict[str, Kernel]] = {}


def load(name: str) -> dict[str, Kernel]:
    """Return the kernels of a backend by name; the backend is imported on first use.

    Raises ValueError for an unknown backend and ImportError if it cannot be loaded.
    """
    if name not in _tables:
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
        table: dict[str, Kernel] = {
            kernel: getattr(importlib.import_module(f"{__name__}.{family}_{name}"), kernel)
            for family, kernels in FAMILIES.items()
            for kernel in kernels
        }
        if name == "ref":  # NumPy warns about overflow and NaN; the other backends do not
            table = {kernel: np.errstate(all="ignore")(function) for kernel, function in table.items()}
        _tables[name] = table
    return _tables[name]


# The environment variable is read once: a lookup in os.environ takes 3 us, a kernel call 0.5 us.
_active: ContextVar[str] = ContextVar(
    "fastnn_backend", default=os.environ.get("FASTNN_BACKEND") or BACKENDS[0]
)


# The name of the backend that runs the kernels in the current context. No Python function, since every step
# asks for it.
active_backend: Callable[[], str] = _active.get


def backend(name: str) -> AbstractContextManager[None]:
    """Run the kernels called inside the `with` block on backend `name`: "aot", "jit" or "ref".

    The choice applies to the current context only, so threads do not affect each other.
    Raises ValueError for an unknown name.
    """
    load(name)
    return Setting(_active, name)


class Recorder(Protocol):
    """Records the kernel calls of a training step and provides their buffers."""

    def recording(self, kernel: Kernel) -> Kernel:
        """Return a function that runs the kernel and records the call."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array: ...


# Set while a training step is recorded in the current context (fastnn/training/plans.py).
_recorder: ContextVar[Recorder | None] = ContextVar("fastnn_recorder", default=None)


def active_recorder() -> Recorder | None:
    """The recorder of the current context, or None."""
    return _recorder.get()


def record_with(recorder: Recorder | None) -> AbstractContextManager[None]:
    """Record the kernels called inside the `with` block with `recorder`; None suspends recording."""
    return Setting(_recorder, recorder)


class _Ops:
    """The kernels as attributes, looked up in the active backend at every access."""

    def __getattr__(self, kernel: str) -> Kernel:
        try:
            function = load(active_backend())[kernel]
        except KeyError:
            raise AttributeError(f"there is no kernel named {kernel!r}") from None
        recorder = _recorder.get()
        return function if recorder is None else recorder.recording(function)


ops = _Ops()


# "bf16" while the products of dense layers round their operands to bf16 in the current context.
_precision: ContextVar[str | None] = ContextVar("fastnn_precision", default=None)


def products_in(precision: str | None) -> AbstractContextManager[None]:
    """Compute the products of dense layers in this precision inside the `with` block: "bf16", or None."""
    return Setting(_precision, precision)


def in_same_precision(function: Callable[[], None]) -> Callable[[], None]:
    """The function, to be called later with the current precision of products."""
    precision = _precision.get()
    if precision is None:
        return function

    def run() -> None:
        with products_in(precision):
            function()

    return run


def check_bf16() -> None:
    """Raise RuntimeError if the active backend cannot compute in bf16: "aot" on some machines."""
    if active_backend() == "aot":
        from fastnn.kernels import core

        core.check_bf16()


class _Products:
    """The kernels `dense_forward`, `dense_dx` and `dense_dw` of `ops` in the current precision."""

    def __getattr__(self, kernel: str) -> Kernel:
        return ops.__getattr__(f"{kernel}_bf16" if _precision.get() else kernel)


products = _Products()


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array:
    """Return an uninitialized array for a kernel to write to. Layers allocate all their memory here."""
    recorder = _recorder.get()
    return np.empty(shape, dtype) if recorder is None else recorder.empty(shape, dtype)


def aligned_empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array:
    """Return an uninitialized array that begins at a cache line, for data that every training step uses."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    return memory[begin : begin + nbytes].view(dtype).reshape(shape)
