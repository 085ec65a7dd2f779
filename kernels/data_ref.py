"""Gathering a mini-batch from a data set in NumPy: the specification."""

import numpy as np


def gather(source, index, scale, out):
    """out_m = source[index_m] * scale, the product taken in float64 and rounded once.

    source (N, D) uint8, float32 or float64; index (M,) int64 -> out (M, D) float32 or float64.
    With scale = 1/255 and float32 this is the correctly rounded x / 255 for each of the 256 bytes.
    Raises IndexError for an index outside [0, N), before anything is written.
    """
    _check(source, index)
    rows = source[index]
    out[...] = rows if scale == 1 else np.multiply(rows, scale, dtype=np.float64)


def gather_labels(source, index, out):
    """out_m = source[index_m].  source (N,), index (M,), out (M,), all int64. Errors as `gather`."""
    _check(source, index)
    np.take(source, index, out=out)


def _check(source, index):
    if index.size and (index.min() < 0 or index.max() >= len(source)):
        raise IndexError("index out of range")


def count_nonfinite(x, count):
    """count_0 = number of nan and infinite elements of x.  x of any shape, count (1,) int64."""
    count[0] = x.size - np.count_nonzero(np.isfinite(x))
