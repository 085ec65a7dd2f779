"""The fitted polynomials of simd/vmath.hpp: prints their coefficients (needs mpmath).

    python tests/kernels/fit_vmath.py

Each is the beginning of the Chebyshev series of a smooth function of t, -1 <= t <= 1, written in powers.

exp: the function is (exp(r) - 1 - r) / r^2 with r = t ln(2) / 2. With one term less than the Taylor series,
the error of exp(r) is as small: 0.09 ulp in float32, with 5 terms, and less in float64, with 11.

normal: with z = |x| the tail of the distribution is Q(z) = exp(-z^2 / 2) G(z), where G falls slowly, from 1/2
to about 1 / (z sqrt(2 pi)). As t = (z - 4) / (z + 4) runs from -1 to 1, G(z) (z + 4) is so smooth a function
of t that 12 terms give float32 and 25 float64 (with 2 to 5 in the place of 4 tried, none needs fewer). They
fall so fast that the series may be written in powers of t: at t = -1, where these alternate, all terms have
one sign.
"""

import mpmath

DIGITS = {"float": 9, "double": 17}
NODES = 80


def exp_rest(r):
    """(exp(r) - 1 - r) / r^2; near 0, where that cancels, the beginning of its series."""
    if abs(r) < mpmath.mpf("1e-10"):
        return mpmath.mpf(1) / 2 + r / 6
    return (mpmath.exp(r) - 1 - r) / r**2


def tail(z):
    """G(z) = erfc(z / sqrt(2)) exp(z^2 / 2) / 2, by the asymptotic series where erfc underflows."""
    if z < 60:
        return mpmath.erfc(z / mpmath.sqrt(2)) * mpmath.exp(z * z / 2) / 2
    terms = [mpmath.mpf(1)]
    for k in range(1, 12):
        terms.append(-terms[-1] * (2 * k - 1) / z**2)
    return sum(terms) / (z * mpmath.sqrt(2 * mpmath.pi))


def normal_rest(t):
    """G(z) (z + 4) with t = (z - 4) / (z + 4)."""
    z = 4 * (1 + t) / (1 - t)
    return tail(z) * (z + 4)


def chebyshev(function, count):
    """The first `count` coefficients of the Chebyshev series of a function, from its values at the nodes."""
    angles = [mpmath.pi * (k + mpmath.mpf(1) / 2) / NODES for k in range(NODES)]
    values = [function(mpmath.cos(angle)) for angle in angles]
    return [
        (2 if j else 1) * sum(v * mpmath.cos(j * a) for v, a in zip(values, angles, strict=True)) / NODES
        for j in range(count)
    ]


def in_powers(series):
    """The same polynomial by the powers of t: T_0 = 1, T_1 = t, T_j = 2 t T_{j-1} - T_{j-2}."""
    zeros = [mpmath.mpf(0)] * len(series)
    before, current = zeros, [mpmath.mpf(1), *zeros[1:]]
    powers = [series[0] * c for c in current]
    for j, coefficient in enumerate(series[1:], start=1):
        moved = [mpmath.mpf(0), *current[:-1]]
        following = moved if j == 1 else [2 * m - b for m, b in zip(moved, before, strict=True)]
        before, current = current, following
        powers = [p + coefficient * c for p, c in zip(powers, current, strict=True)]
    return powers


def show(name, function, terms, half_width):
    """Print the coefficients of the powers of t half_width, for each type."""
    for dtype, count in terms.items():
        powers = in_powers(chebyshev(function, count))
        digits = (mpmath.nstr(c / half_width**i, DIGITS[dtype]) for i, c in enumerate(powers))
        print(f"{name}, {dtype}:", ", ".join(digits))


if __name__ == "__main__":
    mpmath.mp.dps = 40
    reach = mpmath.log(2) / 2
    show("exp", lambda t: exp_rest(t * reach), {"float": 5, "double": 11}, reach)
    show("normal", normal_rest, {"float": 12, "double": 25}, mpmath.mpf(1))
