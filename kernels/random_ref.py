"""Counter-based random bits, and dropout, in NumPy: the specification.

A random bit is a function of (key, count, element) alone, so it does not depend on threads, on the
order of calls or on a hidden generator. The mixer is the output function of SplitMix64
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, SplitMix64's increment


def _mix(z):
    """A bijection of 64-bit words whose output bits all depend on all input bits."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_next(state, bits):
    """bits = mix(key + GOLDEN mix(count));  count += 1.

    state (2,) uint64 = (key, count), changed; bits (1,) uint64: the key of one draw.
    """
    with np.errstate(over="ignore"):
        bits[0] = _mix(state[0] + GOLDEN * _mix(state[1]))
        state[1] += np.uint64(1)


def dropout(x, bits, rate, y):
    """y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0), u_e uniform in [0, 1).

    x, y of one shape (elements e in C order), bits (1,) uint64 from `random_next`.
    u_e is half a word of SplitMix64: word = mix(bits + GOLDEN (e // 2 + 1)), its low 32 bits for
    an even e, the high ones for an odd e, over 2^32. The same call with dy gives the gradient.
    """
    pairs = np.arange(1, (x.size + 1) // 2 + 1, dtype=np.uint64)
    words = _mix(bits[0] + GOLDEN * pairs)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1)
    keep = halves.ravel()[: x.size] >= np.uint64(rate * 2.0**32)
    scale = x.dtype.type(1 / (1 - rate) if rate < 1 else 0)
    np.multiply(x, np.where(keep, scale, x.dtype.type(0)).reshape(x.shape), out=y)
