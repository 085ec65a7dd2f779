"""The polynomials of the normal distribution in simd/vmath.hpp: prints their coefficients (needs mpmath).

    python tests/kernels/fit_normal.py

With z = |x| the tail of the distribution is Q(z) = exp(-z^2 / 2) G(z), where G falls slowly, from 1/2 to
about 1 / (z sqrt(2 pi)). As t = (z - 4) / (z + 4) runs from -1 to 1, G(z) (z + 4) is so smooth a function
of t that 12 terms of its Chebyshev series give float32 and 25 float64 (with 2 to 5 in the place of 4 tried,
none needs fewer). They fall so fast that the series may be written in powers of t: at t = -1, where these
alternate, all terms have one sign.
"""

import mpmath

TERMS = {"float": 12, "double": 25}
CENTRE = mpmath.mpf(4)
NODES = 80


def tail(z):
    """G(z) = erfc(z / sqrt(2)) exp(z^2 / 2) / 2, by the asymptotic series where erfc underflows."""
    if z < 60:
        return mpmath.erfc(z / mpmath.sqrt(2)) * mpmath.exp(z * z / 2) / 2
    terms = [mpmath.mpf(1)]
    for k in range(1, 12):
        terms.append(-terms[-1] * (2 * k - 1) / z**2)
    return sum(terms) / (z * mpmath.sqrt(2 * mpmath.pi))


def coefficients(count):
    """The first `count` of the Chebyshev series of G(z) (z + CENTRE) in t, from its values at the nodes."""
    angles = [mpmath.pi * (k + mpmath.mpf(1) / 2) / NODES for k in range(NODES)]
    values = []
    for angle in angles:
        t = mpmath.cos(angle)
        z = CENTRE * (1 + t) / (1 - t)
        values.append(tail(z) * (z + CENTRE))
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


if __name__ == "__main__":
    mpmath.mp.dps = 40
    for name, count in TERMS.items():
        digits = {"float": 9, "double": 17}[name]
        print(f"{name}:", ", ".join(mpmath.nstr(c, digits) for c in in_powers(coefficients(count))))
