"""The compute kernels: which exist, which backend runs them, and where their buffers come from.

`ops.dense_forward(x, w, b, y)` runs the kernel of the backend chosen by `backend(...)`, by the
environment variable FASTNN_BACKEND, or else the first of `BACKENDS`. See README.md for the contract.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

# Best first, the reference last.
BACKENDS = ("aot", "jit", "ref")

FAMILIES = {
    "dense": ("dense_forward", "dense_dx", "dense_dw", "dense_db"),
    "conv": ("conv_forward", "conv_dx", "conv_dw", "im2col", "col2im"),
    "pool": ("max_pool_forward", "max_pool_dx", "avg_pool_forward", "avg_pool_dx"),
    "norm": (
        "batch_moments",
        "running_moments",
        "batch_norm_forward",
        "batch_norm_sums",
        "batch_norm_dx",
        "layer_norm_forward",
        "layer_norm_dx",
        "layer_norm_dw",
    ),
    "act": (
        "relu_forward",
        "relu_dx",
        "sigmoid_forward",
        "sigmoid_dx",
        "tanh_forward",
        "tanh_dx",
        "leaky_relu_forward",
        "leaky_relu_dx",
        "elu_forward",
        "elu_dx",
        "gelu_forward",
        "gelu_dx",
        "silu_forward",
        "silu_dx",
        "add",
        "softmax_forward",
        "softmax_dx",
    ),
    "elementwise": ("elementwise_forward", "elementwise_dx"),
    "loss": (
        "cross_entropy_labels",
        "cross_entropy_soft",
        "squared_error",
        "binary_cross_entropy",
        "focal_labels",
        "focal_soft",
        "dice",
        "count_correct_labels",
        "count_correct_soft",
        "count_correct_binary",
    ),
    "optim": (
        "sgd",
        "adam",
        "rmsprop",
        "advance",
        "adam_corrections",
        "sum_squares",
        "clip_factor",
        "multiply",
        "clamp",
        "ema",
    ),
    "random": ("random_next", "dropout"),
    "data": ("gather", "gather_labels", "count_nonfinite"),
    "augment": ("random_affine", "displacement", "warp"),
}

# The codes of a loss kernel's `reduction` argument.
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}

CACHE_LINE = 64  # bytes

Array = np.typing.NDArray[Any]
Kernel = Callable[..., None]

_tables: dict[str, dict[str, Kernel]] = {}


def load(name: str) -> dict[str, Kernel]:
    """The table kernel name -> function of one backend, imported on first use.

    Raises ValueError for an unknown backend, ImportError when it cannot be loaded.
    """
    if name not in _tables:
        if name not in BACKENDS:
            raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
        table: dict[str, Kernel] = {
            kernel: getattr(importlib.import_module(f"{__name__}.{family}_{name}"), kernel)
            for family, kernels in FAMILIES.items()
            for kernel in kernels
        }
        if name == "ref":  # NumPy warns of overflow and nan, where the other backends just compute
            table = {kernel: np.errstate(all="ignore")(function) for kernel, function in table.items()}
        _tables[name] = table
    return _tables[name]


# The environment is read once: a look-up in os.environ takes 3 us, a kernel call 0.5 us.
_active: ContextVar[str] = ContextVar(
    "fastnn_backend", default=os.environ.get("FASTNN_BACKEND") or BACKENDS[0]
)


def active_backend() -> str:
    """The name of the backend that kernels called here and now run on."""
    return _active.get()


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run the kernels called inside the `with` block on backend `name`: "aot", "jit" or "ref".

    The choice belongs to the current context, so threads do not disturb each other.
    Raises ValueError for an unknown name.
    """
    load(name)
    token = _active.set(name)
    try:
        yield
    finally:
        _active.reset(token)


class Recorder(Protocol):
    """Who records the kernel calls of a training step, and where the buffers of these calls lie."""

    def recording(self, kernel: Kernel) -> Kernel:
        """A function that runs the kernel and records the call."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array: ...


# Set while a training step is recorded in this context (fastnn/training/plans.py).
_recorder: ContextVar[Recorder | None] = ContextVar("fastnn_recorder", default=None)


def active_recorder() -> Recorder | None:
    """Who records the kernels called here and now, if they are recorded."""
    return _recorder.get()


@contextmanager
def record_with(recorder: Recorder | None) -> Iterator[None]:
    """Record the kernels called inside the `with` block (None: do not)."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


class _Ops:
    """The kernels as attributes, looked up in the active backend at every call."""

    def __getattr__(self, kernel: str) -> Kernel:
        try:
            function = load(active_backend())[kernel]
        except KeyError:
            raise AttributeError(f"there is no kernel {kernel!r}") from None
        recorder = _recorder.get()
        return function if recorder is None else recorder.recording(function)


ops = _Ops()


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array:
    """An uninitialised buffer for a kernel to write to: the one place where layers get memory."""
    recorder = _recorder.get()
    return np.empty(shape, dtype) if recorder is None else recorder.empty(shape, dtype)


def aligned_empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> Array:
    """An uninitialised array that begins at a cache line: for what lives long and is used in every step."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + CACHE_LINE, np.uint8)
    begin = -memory.ctypes.data % CACHE_LINE
    return memory[begin : begin + nbytes].view(dtype).reshape(shape)
