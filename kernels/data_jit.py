"""Numba kernels that gather a mini-batch and count non-finite values, specified by `data_ref.py`."""

import math

import numpy as np

from fastnn.kernels.jit.indices import index_at
from fastnn.kernels.jit.numba_cache import FLOATS, jit, kernel


@kernel(source=(np.uint8, *FLOATS), index=np.int64)
def gather(source, index, scale, out):
    """out_m = source[index_m] * scale, computed in float64 and rounded once.

    source (N, D) uint8, float32 or float64; index (M,) int64 -> out (M, D) float32 or float64.
    """
    rows, features = source.shape
    if out.shape != (len(index), features):
        raise ValueError("out must have shape (M, D): M of index (M,), D of source (N, D)")
    _check_index(index, rows)
    for m in range(len(index)):
        place = index_at(index, m, rows)
        if place < 0:  # changed by another thread since the check
            out[m] = np.nan
            continue
        row = source[place]
        for d in range(features):
            out[m, d] = row[d] * float(scale)


@kernel(source=np.int64, index=np.int64, out=np.int64)
def gather_labels(source, index, out):
    """out_m = source[index_m].  source (N,) or (N, D), index (M,), out (M,) or (M, D), all int64."""
    if out.shape != index.shape + source.shape[1:]:
        raise ValueError("out must have one row of the source for each index")
    rows = len(source)
    _check_index(index, rows)
    width = source.size // max(rows, 1)
    flat, flat_out = source.reshape(-1), out.reshape(-1)
    for m in range(len(index)):
        place = index_at(index, m, rows)
        for d in range(width):  # -1: changed by another thread since the check
            flat_out[m * width + d] = -1 if place < 0 else flat[place * width + d]


@jit
def _check_index(index, rows):
    for i in index:
        if i < 0 or i >= rows:
            raise IndexError("index out of range")


@kernel(count=np.int64)
def count_nonfinite(x, count):
    """count_0 = number of NaN and infinite elements of x.  x of any shape, count (1,) int64."""
    if count.shape != (1,):
        raise ValueError("count must have one element")
    nonfinite = 0
    for value in x.reshape(-1):
        nonfinite += not math.isfinite(value)
    count[0] = nonfinite
