"""Vectorizable exp, expm1, log, log1p, sigmoid and tanh for Numba kernels, accurate to about two ulp.

Numba turns each `math.exp` into a libm call for a single value. The functions here use only arithmetic and
integer operations on the bits of floats, so LLVM vectorizes loops over them. `vmath.hpp` holds the same
functions for C++; its comments describe the methods and why they are accurate. In this module each product
and each sum is rounded, since Numba does not fuse them.
"""

import math

import numpy as np
from numba import jit, types
from numba.extending import intrinsic, overload

from fastnn.kernels.jit.numba_cache import OPTIONS

# LLVM does not vectorize a loop that contains a call, and by itself does not inline a large function that is
# called twice.
INLINED = {**OPTIONS, "forceinline": True}
inlined = jit(**INLINED)

INTEGERS = {types.float32: types.int32, types.float64: types.int64}
FLOATS = {integer: floating for floating, integer in INTEGERS.items()}


def _bitcast(others):
    """A function that reinterprets the bits of a value as a value of another type (`others`: from -> to)."""

    @intrinsic
    def reinterpret(typing_context, number):
        def generate(context, builder, signature, arguments):
            return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

        return others[number](number), generate

    return reinterpret


bits_of, float_of = _bitcast(INTEGERS), _bitcast(FLOATS)


def _functions(T, Word, *, exponent_bits, exp_terms, log_terms, log2_e, ln2, low, high):
    """Build the functions for the floating dtype T; Word is the integer dtype of the same width.

    ln2 = (high part, short enough that its small multiples are exact; the remainder). exp is 0 below `low`
    and inf above `high`.
    """
    bits = 8 * np.dtype(T).itemsize
    mantissa_bits = bits - 1 - exponent_bits
    bias = 2 ** (exponent_bits - 1) - 1
    zero, one, two = T(0), T(1), T(2)
    log2_e, ln2_high, ln2_low, low, high = T(log2_e), T(ln2[0]), T(ln2[1]), T(low), T(high)
    magic = T(1.5 * 2.0**mantissa_bits)  # adding it rounds to an integer and leaves that in the lowest bits
    magic_bits = int(magic.view(Word))
    factorials = tuple(T(1 / math.factorial(i)) for i in range(exp_terms, 1, -1))
    odd = tuple(T(1 / (2 * i + 1)) for i in range(log_terms, 0, -1))
    expm1_is_minus_one = T(-(mantissa_bits + 3))
    tiny, subnormal_shift = np.finfo(T).smallest_normal, mantissa_bits + 2
    subnormal_scale = T(2.0**subnormal_shift)
    root_half_bits = int(T(math.sqrt(0.5)).view(Word))
    sign = int(np.iinfo(Word).min)

    @inlined
    def power_of_two(k):
        return float_of(Word((k + bias) << mantissa_bits))

    @inlined
    def reduced(x):
        """Return k and exp(r) - 1, where x = k ln(2) + r and |r| <= ln(2)/2."""
        shifted = x * log2_e + magic
        n = shifted - magic
        r = (x - n * ln2_high) - n * ln2_low
        series = factorials[0]
        for factor in factorials[1:]:
            series = series * r + factor
        return bits_of(shifted) - magic_bits, r + series * (r * r)

    @inlined
    def exp(x):
        within = low if x < low else high if x > high else x  # a NaN stays NaN
        k, series = reduced(within)
        first = k >> 1  # scale by two factors, since the result may be subnormal
        return (series + one) * power_of_two(first) * power_of_two(k - first)

    @inlined
    def expm1_of_negative(x):
        within = expm1_is_minus_one if x < expm1_is_minus_one else x
        k, series = reduced(within)
        scale = power_of_two(k)
        return series * scale + (scale - one)

    @inlined
    def log(x):
        is_subnormal = x < tiny
        scaled = x * subnormal_scale if is_subnormal else x
        exponent = (bits_of(scaled) - root_half_bits) >> mantissa_bits
        m = float_of(Word(bits_of(scaled) - (exponent << mantissa_bits)))
        e = T(exponent - subnormal_shift if is_subnormal else exponent)
        f = m - one
        s = f / (f + two)
        square = s * s
        series = odd[0]
        for factor in odd[1:]:
            series = series * square + factor
        rest = s * (f - two * square * series)
        result = e * ln2_high + (f + (e * ln2_low - rest))
        special = -np.inf if x == zero else np.inf if x == np.inf else np.nan
        return result if (x > zero and x < np.inf) else T(special)

    @inlined
    def log1p_of_small(x):
        u = x + one
        return log(u) + (x - (u - one)) / u

    @inlined
    def sigmoid(x):
        e = exp(-abs(x))
        return (e if x < zero else one) / (e + one)

    @inlined
    def tanh(x):
        m = expm1_of_negative(abs(x) * -two)
        size = m / (m + two)
        return float_of(Word((bits_of(size) & ~sign) | (bits_of(x) & sign)))

    return {
        "exp": exp,
        "expm1_of_negative": expm1_of_negative,
        "log": log,
        "log1p_of_small": log1p_of_small,
        "sigmoid": sigmoid,
        "tanh": tanh,
    }


_TYPES = {
    types.float32: _functions(
        np.float32,
        np.int32,
        exponent_bits=8,
        exp_terms=7,
        log_terms=4,
        log2_e=float.fromhex("0x1.715476p+0"),
        ln2=(float.fromhex("0x1.62e4p-1"), float.fromhex("0x1.7f7d1cp-20")),
        low=-104.0,
        high=88.8,
    ),
    types.float64: _functions(
        np.float64,
        np.int64,
        exponent_bits=11,
        exp_terms=13,
        log_terms=10,
        log2_e=float.fromhex("0x1.71547652b82fep+0"),
        ln2=(float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")),
        low=-745.2,
        high=709.8,
    ),
}


def exp(x):
    """exp(x): inf on overflow, gradual underflow to subnormals and 0, NaN for NaN."""
    return np.exp(x)


def expm1_of_negative(x):
    """exp(x) - 1 for x <= 0, accurate near 0 too."""
    return np.expm1(x)


def log(x):
    """log(x): -inf for 0, NaN for negative x, inf for inf."""
    return np.log(x)


def log1p_of_small(x):
    """log(1 + x) for 0 <= x <= 1, accurate near 0 too."""
    return np.log1p(x)


def sigmoid(x):
    """1 / (1 + exp(-x)), computed from exp(-|x|), which cannot overflow."""
    e = np.exp(-abs(x))
    return (e if x < 0 else 1) / (1 + e)


def tanh(x):
    """tanh(x)."""
    return np.tanh(x)


def _compile(function):
    """Make Numba replace `function` by its implementation for the dtype of the argument."""

    @overload(function, jit_options=INLINED)
    def chosen(x):
        compiled = _TYPES[x][function.__name__] if x in _TYPES else None
        return None if compiled is None else lambda x: compiled(x)


for _function in (exp, expm1_of_negative, log, log1p_of_small, sigmoid, tanh):
    _compile(_function)
