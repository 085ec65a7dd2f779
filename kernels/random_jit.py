"""Numba counter-based random bits and dropout: the same bits as their specification, `random_ref.py`.

Numba promotes uint64 with int64 to float64, so every integer here is first converted to uint64.
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, SplitMix64's increment


@kernel(state=np.uint64, bits=np.uint64)
def random_next(state, bits):
    """bits = mix(key + GOLDEN mix(count)),  count += 1.

    state (2,) uint64 = (key, count), updated in place -> bits (1,) uint64: the key of one draw.
    """
    if state.shape != (2,) or bits.shape != (1,):
        raise ValueError("state must have shape (2,) and bits (1,)")
    bits[0] = _mix(state[0] + GOLDEN * _mix(state[1]))
    state[1] += np.uint64(1)


@kernel(bits=np.uint64)
def dropout(x, bits, rate, y):
    """y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0),  u_e uniform in [0, 1).

    x of any shape, with elements e in C order; bits (1,) uint64 of `random_next` -> y of x's shape.
    """
    if x.shape != y.shape or bits.shape != (1,):
        raise ValueError("x and y must have the same shape, and bits shape (1,)")
    T = x.dtype.type
    scale, zero = T(1 / (1 - rate) if rate < 1 else 0), T(0)
    threshold = np.uint64(rate * 2.0**32)
    low = np.uint64(0xFFFFFFFF)
    x, y = x.reshape(-1), y.reshape(-1)
    for e in range(0, x.size, 2):  # one word for two elements
        word = _mix(bits[0] + GOLDEN * np.uint64(e // 2 + 1))
        y[e] = x[e] * (scale if word & low >= threshold else zero)
        if e + 1 < x.size:
            y[e + 1] = x[e + 1] * (scale if word >> np.uint64(32) >= threshold else zero)


@jit
def _mix(z):
    """The output function of SplitMix64: a bijection of 64-bit words."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
