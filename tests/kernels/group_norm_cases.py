"""The cases of group normalisation."""

from .case import Case

EPSILON = 1e-5


def group_norm_forward(a, shape, groups, affine):
    gamma, beta = (a(shape[2]), a(shape[2])) if affine else (None, None)
    return a(*shape), groups, gamma, beta, EPSILON, a.poison(*shape), a.poison(shape[0], 2, shape[2])


def moments(a, shape, groups):
    """Mean and rstd, the same for all channels of a group."""
    N, _, C = shape
    return a(N, 2, groups).repeat(C // groups, axis=2)


def group_norm_dx(a, shape, groups, affine):
    gamma = a(shape[2]) if affine else None
    return a(*shape), a(*shape), groups, gamma, moments(a, shape, groups), a.poison(*shape)


def group_norm_dw(a, shape, groups):
    return a(*shape), a(*shape), moments(a, shape, groups), a.poison(shape[2]), a.poison(shape[2])


# Samples, positions and channels, and groups: unit, odd, around chunks of 64 positions and vectors, empty.
SAMPLES = (
    *(((1, 1, 2), 1), ((2, 3, 5), 5), ((3, 63, 6), 2), ((1, 64, 16), 4), ((2, 65, 34), 17)),
    *(((2, 129, 66), 3), ((5, 2, 130), 1), ((1, 200, 64), 64), ((0, 3, 4), 2)),
)


def cases_of(shape, groups):
    yield Case("group_norm_dw", group_norm_dw, (shape, groups))
    for affine in (True, False):
        yield Case("group_norm_forward", group_norm_forward, (shape, groups, affine))
        yield Case("group_norm_dx", group_norm_dx, (shape, groups, affine))


def cases():
    for shape, groups in SAMPLES:
        yield from cases_of(shape, groups)


def large():
    """Worth several threads, of odd sizes."""
    for shape, groups in (((11, 301, 140), 7), ((9, 67, 516), 4)):
        yield from cases_of(shape, groups)


def at_walls(sizes):
    """Channels of the given sizes, and one case on several threads."""
    for shape, groups in (*(((2, 3, size), 1) for size in sizes if size), ((7, 101, 132), 4)):
        yield from cases_of(shape, groups)
