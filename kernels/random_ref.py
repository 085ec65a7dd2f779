"""Reference counter-based random bits and dropout, in NumPy: the specification.

A random bit is a function of (key, count, element) alone: neither the number of threads, nor the order of
calls, nor a hidden generator affects it. The mixing function is the output function of SplitMix64 (Steele,
Lea & Flood 2014, "Fast splittable pseudorandom number generators"). "->" separates inputs from outputs.
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, SplitMix64's increment


def _mix(z):
    """A bijection of 64-bit words whose output bits all depend on all input bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_next(state, bits):
    """bits = mix(key + GOLDEN mix(count)),  count += 1.

    state (2,) uint64 = (key, count), updated in place -> bits (1,) uint64: the key of one draw.
    All arithmetic is modulo 2^64.
    """
    with np.errstate(over="ignore"):
        bits[0] = _mix(state[0] + GOLDEN * _mix(state[1]))
        state[1] += np.uint64(1)


def dropout(x, bits, rate, y):
    """y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0),  u_e uniform in [0, 1).

    x of any shape, with elements e in C order; bits (1,) uint64 of `random_next`; rate (a Python float)
    -> y of x's shape.
    u_e is half of the word mix(bits + GOLDEN (e // 2 + 1)), divided by 2^32: the low 32 bits for an even e,
    the high 32 bits for an odd e. The same call with dy in place of x gives the gradient.
    """
    pairs = np.arange(1, (x.size + 1) // 2 + 1, dtype=np.uint64)
    words = _mix(bits[0] + GOLDEN * pairs)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1)
    keep = halves.ravel()[: x.size] >= np.uint64(rate * 2.0**32)
    scale = x.dtype.type(1 / (1 - rate) if rate < 1 else 0)
    np.multiply(x, np.where(keep, scale, x.dtype.type(0)).reshape(x.shape), out=y)
