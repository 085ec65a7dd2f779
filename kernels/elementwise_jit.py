"""Kernels of a user-defined activation, compiled by Numba, specified by `elementwise_ref.py`."""

import ctypes

import numpy as np


def elementwise_forward(function, x, y):
    """y_e = function(x_e)."""
    _run(function, x, y)


def elementwise_dx(function, x, dy, dx):
    """dx_e = function(x_e, dy_e)."""
    _run(function, x, dy, dx)


def _run(function, *arrays):
    first = arrays[0]
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            raise TypeError("all arrays must have dtype float32 or float64")
        if not array.flags.c_contiguous or array.dtype != first.dtype:
            raise TypeError("all arrays must be C-contiguous and have the same dtype")
        if array.shape != first.shape:
            raise ValueError("all arrays must have the same shape")
    if not arrays[-1].flags.writeable:
        raise TypeError("the output array must be writeable")
    types = [ctypes.c_void_p] * len(arrays)
    loop = ctypes.CFUNCTYPE(None, *types, ctypes.c_int64)(function.address(first.dtype))
    loop(*(array.ctypes.data for array in arrays), first.size)
