"""The compute kernels: which exist, which backend runs them, and where their buffers come from.

`ops.dense_forward(x, w, b, y)` runs the kernel of the backend chosen by `backend(...)`, by the
environment variable FASTNN_BACKEND, or else the first of `BACKENDS`. See README.md for the contract.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

# Best first, the reference last.
BACKENDS = ("aot", "jit", "ref")

FAMILIES = {
    "dense": ("dense_forward", "dense_dx", "dense_dw", "dense_db"),
    "act": (
        "relu_forward",
        "relu_dx",
        "sigmoid_forward",
        "sigmoid_dx",
        "tanh_forward",
        "tanh_dx",
        "softmax_forward",
        "softmax_dx",
    ),
    "loss": ("cross_entropy_labels", "cross_entropy_soft", "squared_error"),
    "optim": ("sgd", "adam"),
    "random": ("random_next", "dropout"),
    "data": ("gather", "gather_labels", "count_nonfinite"),
}

# The codes of a loss kernel's `reduction` argument.
REDUCTIONS = {"none": 0, "sum": 1, "mean": 2}

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


class _Ops:
    """The kernels as attributes, looked up in the active backend at every call."""

    def __getattr__(self, kernel: str) -> Kernel:
        try:
            return load(active_backend())[kernel]
        except KeyError:
            raise AttributeError(f"there is no kernel {kernel!r}") from None


ops = _Ops()


def empty(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.typing.NDArray[np.generic]:
    """An uninitialised buffer for a kernel to write to: the one place where layers get memory."""
    return np.empty(shape, dtype)
