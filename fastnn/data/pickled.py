"""Read the NumPy arrays of a pickle, without running anything that the file names.

A pickle is a program, which may call any function. This reader knows the few names that pickled arrays
have, such as `ndarray` and `dtype`, and puts objects in their place that only record their arguments.
Everything else is refused. The arrays are then made from the recorded bytes, shapes and dtypes.
"""

from __future__ import annotations

import io
import math
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Names of the dtypes in pickles: real numbers of 1 to 8 bytes.
DTYPES = {np.dtype(code).str[1:] for code in "bBhHiIlLqQfd"}
MOST_DEPTH, MOST_ITEMS = 4, 16  # of nested tuples


# What a pickle of arrays names: functions that make them, dtypes and, in protocol 2, an encoding of bytes.
FUNCTIONS = {
    **dict.fromkeys(("_reconstruct", "_frombuffer"), ("numpy._core.multiarray", "numpy._core.numeric")),
    **dict.fromkeys(("ndarray", "dtype"), ("numpy",)),
    "encode": ("_codecs",),
}


class _Recorded:
    """Stands for a pickled array, dtype or bytes: records which function makes it, and from what."""

    __slots__ = ("arguments", "function", "state")

    def __init__(self, function: str, arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Recorder:
    """Stands for a function or class that a pickle calls. Its calls only make a `_Recorded`."""

    __slots__ = ("_function",)

    def __init__(self, function: str) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> _Recorded:
        return _Recorded(self._function, arguments)


# The unpickler that is written in Python: the one in C allocates as much as a number in the file says.
class _Unpickler(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> _Recorder:
        if module.replace("numpy.core.", "numpy._core.") not in FUNCTIONS.get(name, ()):
            raise ValueError(f"it calls {module}.{name}: only pickles of arrays are read")
        return _Recorder(name)


def read_arrays(content: bytes | bytearray) -> Any:
    """Return what a pickle of tuples and lists of arrays holds, as nested lists.

    Raises ValueError for a damaged pickle, and for one that holds or calls anything else.
    """
    try:
        # Pickles of Python 2 hold the bytes of an array as text.
        return _converted(_Unpickler(io.BytesIO(content), encoding="latin1").load(), depth=0)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # damaged pickles raise many types
        raise ValueError(f"it is no pickle of arrays: {error or type(error).__name__}") from error


def _converted(value: Any, depth: int) -> Any:
    if isinstance(value, (tuple, list)) and depth < MOST_DEPTH and len(value) <= MOST_ITEMS:
        return [_converted(item, depth + 1) for item in value]
    if isinstance(value, _Recorded):
        return _array(value)
    raise ValueError(f"it must hold tuples of arrays, not {type(value).__name__}")


def _array(recorded: _Recorded) -> NDArray[Any]:
    if recorded.function == "_frombuffer":  # protocol 5
        data, dtype, shape, order = recorded.arguments
    else:
        _, shape, dtype, is_fortran, data = recorded.state
        order = "F" if is_fortran else "C"
    code, byte_order = dtype.arguments[0], dtype.state[1]
    if code not in DTYPES or byte_order not in ("<", ">", "|", "="):
        raise ValueError(f"its arrays must hold real numbers, not {code!r:.20}")
    content, kind = _bytes(data), np.dtype(code).newbyteorder(byte_order)
    sizes = [int(size) for size in shape]
    if min(sizes, default=0) < 0 or math.prod(sizes) * kind.itemsize != len(content):
        raise ValueError(f"its array of shape {tuple(sizes)} cannot have {len(content)} bytes")
    return np.frombuffer(content, kind).reshape(sizes, order="F" if order == "F" else "C")


def _bytes(data: Any) -> bytes:
    """The bytes of an array: as they are, or as text with one character per byte."""
    if isinstance(data, _Recorded):
        data = data.arguments[0]
    return data.encode("latin1") if isinstance(data, str) else bytes(memoryview(data))
