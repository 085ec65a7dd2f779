"""Reference kernels that gather a mini-batch and count non-finite values, in NumPy: the specification.

Letters: N rows in the data set, M rows in the mini-batch, D features per row (kernels/README.md); "->"
separates inputs from outputs.
"""

import numpy as np


def gather(source, index, scale, out):
    """out_m = source[index_m] * scale.

    source (N, D) uint8, float32 or float64; index (M,) int64; scale (a Python float)
    -> out (M, D) float32 or float64.
    The product is computed in float64 and rounded once: with scale = 1/255 and a float32 output, each of the
    256 byte values becomes the correctly rounded x / 255.
    Raises IndexError for an index outside [0, N), before anything is written.
    """
    index = _valid_index(source, index)
    rows = source[index]
    out[...] = rows if scale == 1 else np.multiply(rows, scale, dtype=np.float64)


def gather_labels(source, index, out):
    """out_m = source[index_m].

    source (N,) or (N, D), index (M,) -> out (M,) or (M, D), all int64.
    Raises IndexError for an index outside [0, N), before anything is written.
    """
    index = _valid_index(source, index)
    np.take(source, index, axis=0, out=out)


def _valid_index(source, index):
    """Return a copy of the indices, which no other thread can change after this check."""
    index = index.copy()
    if index.size and (index.min() < 0 or index.max() >= len(source)):
        raise IndexError("index out of range")
    return index


def count_nonfinite(x, count):
    """count_0 = number of NaN and infinite elements of x.

    x of any shape -> count (1,) int64.
    """
    count[0] = x.size - np.count_nonzero(np.isfinite(x))
