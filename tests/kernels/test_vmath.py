"""How far exp, log, sigmoid and tanh are from the truth, in ulp, over all floating numbers.

Those of vmath.hpp for each instruction set, and those of jit/vmath.py, here called the one of Numba.

An ulp is the distance of floating numbers around the true value: never less than the smallest subnormal one,
and where the true value rounds to infinity, infinity counts as the number that would come next.
The truth of float32 is computed in float64, that of float64 in extended precision.

Monotonic? Between neighbours, exp, log and tanh never step the wrong way (float32: all numbers were tried
once, with and without fma; here some windows). sigmoid does, by one ulp, at 198,216 of the 0.35 10^9 steps
between -104 and -2^-35 with fma: its quotient of e = exp(-|x|) and 1 + e rounds both.
"""

import sys
from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import core, load

from .columns import LEVELS, both_types

LIMITS = {"exp": 1.1, "log": 1.1, "sigmoid": 2.5, "tanh": 2.7}

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
UNSIGNED = {np.float32: np.uint32, np.float64: np.uint64}

every_isa = pytest.mark.parametrize("isa", [*LEVELS, "numba"])
every_function = pytest.mark.parametrize("function", LIMITS)


@pytest.fixture(autouse=True)
def quiet():
    """NumPy does not report infinities and nans, which are what some of these tests are about."""
    with np.errstate(all="ignore"):
        yield


@lru_cache
def compiled(name):
    """A loop over a function of jit/vmath.py."""
    from fastnn.kernels.jit import vmath
    from fastnn.kernels.jit.numba_cache import jit

    function = getattr(vmath, name)

    @jit
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


def apply(function, x, isa):
    """The function of each number; exp and log of vmath.hpp are in act_aot for this test alone."""
    if isa == "numba":
        y = np.empty_like(x)
        compiled(function)(x, y)
        return y
    core.select_isa(isa)
    act = sys.modules[load("aot")["sigmoid_forward"].__module__]
    y = np.empty_like(x)
    {"exp": act._exp, "log": act._log}.get(function, load("aot").get(f"{function}_forward"))(x, y)
    return y


def truth(function, x):
    """The function in the arithmetic of x."""
    if function == "sigmoid":  # in this form nothing overflows or cancels
        e = np.exp(-np.abs(x))
        return np.where(x < 0, e, 1) / (1 + e)
    return getattr(np, function)(x)


def ulps(y, true):
    """|y - true| in ulp of y's type; `true` is of a wider one. Neither holds nan."""
    limits, wide = np.finfo(y.dtype), true.dtype.type
    beyond = np.ldexp(wide(1), limits.maxexp)  # the number that would come after the largest
    y, true = np.clip(y.astype(wide), -beyond, beyond), np.clip(true, -beyond, beyond)
    exponent = np.clip(np.frexp(true)[1] - 1, limits.minexp, limits.maxexp - 1)
    return np.abs(y - true) / np.ldexp(wide(1), exponent - limits.nmant)


def needs_wider(dtype):
    if dtype is np.float64 and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("np.longdouble is not wider than float64 here")


def special_points(dtype):
    """Where something happens, and 200 neighbours on both sides.

    exp over- and underflows, and reduces to another n at odd multiples of ln(2) / 2; log is 0 at 1, and its
    exponent changes at sqrt(1/2); sigmoid and tanh saturate.
    """
    limits = np.finfo(dtype)
    smallest = limits.smallest_subnormal
    ends = [limits.max, limits.tiny, smallest, *np.log([limits.max, limits.tiny, smallest])]
    turns = [1, np.sqrt(0.5), np.sqrt(2), *(np.log(2) / 2 * n for n in (1, 3, 5, 7, 99))]
    flat = [limits.nmant + 3, (limits.nmant + 3) / 2, np.log(2) * (limits.nmant + 1) / 2]
    middle = [*ends, *turns, *flat, 88.8, 104, 709.8, 745.2, *(2.0**n for n in range(-40, 10))]
    bits = np.array(middle, dtype).view(UNSIGNED[dtype]).astype(np.int64)
    neighbours = (bits[:, None] + np.arange(-200, 201)).ravel()
    return np.abs(neighbours).astype(UNSIGNED[dtype]).view(dtype)


@lru_cache(maxsize=1)
def points(dtype):
    rng = np.random.default_rng(0)
    if dtype is np.float32:  # every 2909th of the 2^32 patterns
        patterns = np.arange(0, 2**32, 2909, dtype=np.int64).astype(np.uint32).view(dtype)
    else:
        patterns = rng.integers(2**64, size=200_000, dtype=np.uint64).view(dtype)
    limits = np.finfo(dtype)
    subnormal = rng.integers(1, 1 << limits.nmant, 20_000).astype(UNSIGNED[dtype]).view(dtype)
    positive = (
        special_points(dtype),
        subnormal,
        np.exp(rng.uniform(-45, 7, 100_000)),  # where the functions bend
        rng.uniform(0, 20, 50_000),
        rng.uniform(0, -np.log(float(limits.smallest_subnormal)), 50_000),
    )
    return np.concatenate([patterns, *(sign * p.astype(dtype) for p in positive for sign in (1, -1))])


@lru_cache(maxsize=1)  # the instruction sets take turns at the same numbers
def truths(function, dtype):
    with np.errstate(all="ignore"):
        return truth(function, points(dtype).astype(WIDER[dtype]))


@every_isa
@both_types
@every_function
def test_error_is_within_its_limit(function, dtype, isa):
    needs_wider(dtype)
    x, true = points(dtype), truths(function, dtype)
    y = apply(function, x, isa)
    undefined = np.isnan(true)
    assert np.array_equal(np.isnan(y), undefined)
    error = ulps(y[~undefined], true[~undefined])
    worst = np.argmax(error)
    at = x[~undefined][worst]
    assert error[worst] <= LIMITS[function], (
        f"{function}({float(at).hex()}) = {apply(function, at.reshape(1), isa)}"
    )


@both_types
def test_an_ulp_is_an_ulp(dtype):
    """The measure: a rounded truth is half an ulp off at most, its neighbours at least.

    And at most 2.5: above a power of 2 the numbers are half as dense.
    """
    needs_wider(dtype)
    limits = np.finfo(dtype)
    ends = np.log([limits.smallest_subnormal, limits.max / 2])
    true = np.exp(np.linspace(*ends, 5000, dtype=WIDER[dtype]))
    y = true.astype(dtype)
    below, above = np.nextafter(y, dtype(0)), np.nextafter(y, dtype(np.inf))
    assert 0.49 < np.max(ulps(y, true)) <= 0.5
    for neighbour in (below, above):
        assert np.min(ulps(neighbour, true)) >= 0.5
        assert np.max(ulps(neighbour, true)) <= 2.5
    assert ulps(np.array([np.inf], dtype), np.array([WIDER[dtype](limits.max)])) == 1
    assert ulps(np.array([limits.max], dtype), np.array([WIDER[dtype](np.inf)])) == 1
    assert ulps(np.zeros(1, dtype), np.array([WIDER[dtype](limits.smallest_subnormal)])) == 1


nan, inf = np.nan, np.inf

# x and f(x), exactly, with the sign of zero. "tiny" is the smallest subnormal number, "huge" the largest one.
EXACT = {
    "exp": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0), ("tiny", 1), ("huge", inf), ("-huge", 0.0)],
    "log": [(0.0, -inf), (-0.0, -inf), (1, 0.0), (inf, inf), (-inf, nan), (-1, nan), ("-tiny", nan)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (inf, 1), (-inf, 0.0), ("tiny", 0.5), ("huge", 1), ("-huge", 0.0)],
    "tanh": [
        (0.0, 0.0),
        (-0.0, -0.0),
        (inf, 1),
        (-inf, -1),
        ("tiny", "tiny"),
        ("-tiny", "-tiny"),
        ("huge", 1),
    ],
}


@every_isa
@both_types
@every_function
def test_special_values_are_exact(function, dtype, isa):
    limits = np.finfo(dtype)
    words = {"tiny": limits.smallest_subnormal, "huge": limits.max}
    words |= {f"-{word}": -value for word, value in words.items()}
    for pair in [*EXACT[function], (nan, nan), (-nan, nan)]:
        x, wanted = (words[value] if isinstance(value, str) else value for value in pair)
        for size in (1, 40):  # alone, and in whole vectors
            y = apply(function, np.full(size, x, dtype), isa)
            np.testing.assert_array_equal(y, np.full(size, wanted, dtype), f"{function}({x})")
            assert np.isnan(wanted) or (np.signbit(y) == np.signbit(wanted)).all(), f"{function}({x}) = {y}"


@both_types
@pytest.mark.parametrize(
    ("function", "true"), [("expm1_of_negative", np.expm1), ("log1p_of_small", np.log1p)]
)
def test_numba_keeps_the_digits_near_zero(function, true, dtype):
    needs_wider(dtype)
    x = points(dtype)
    x = x[x <= 0] if function == "expm1_of_negative" else x[(x >= 0) & (x <= 1)]
    assert np.max(ulps(apply(function, x, "numba"), true(x.astype(WIDER[dtype])))) < 1.8


@every_isa
@both_types
def test_tanh_is_odd(dtype, isa):
    x = points(dtype)[~np.isnan(points(dtype))]
    assert (-apply("tanh", x, isa)).tobytes() == apply("tanh", -x, isa).tobytes()


def windows(dtype):
    """Runs of neighbours, ascending."""
    steps = np.arange(-3000, 3000)
    centres = [2.0**n * m for n in range(-20, 7) for m in (1.0, 1.3, 1.7)]
    centres += [0.5 * np.log(2), 1.5 * np.log(2), np.sqrt(0.5), np.sqrt(2), 87.3, 88.7, 103.9]
    if dtype is np.float64:
        centres += [708.3, 709.7, 745.1]
    for centre in centres:
        window = (
            (dtype(centre).view(UNSIGNED[dtype]).astype(np.int64) + steps).astype(UNSIGNED[dtype]).view(dtype)
        )
        yield window
        yield -window[::-1]


@every_isa
@both_types
@every_function
def test_no_step_goes_the_wrong_way(function, dtype, isa):
    """But those of sigmoid, by one ulp."""
    for x in windows(dtype):
        if function == "log" and x[0] < 0:
            continue
        y = apply(function, x, isa)
        above = np.nextafter(y[1:], dtype(2)) if function == "sigmoid" else y[1:]
        wrong = np.flatnonzero(above < y[:-1])
        assert not len(wrong), f"{function}: {float(x[wrong[0]]).hex()} and the number above"
