"""The cases of the losses and of the counts of correct outputs."""

import numpy as np

from .case import Case

SUM, MEAN, BATCH_MEAN = 1, 2, 3


def cross_entropy(a, target, classes, weight, smoothing, reduction, gradient):
    rows = len(target)
    dz = a.poison(rows, classes) if gradient else None
    return a(rows, classes), target, weight, smoothing, reduction, a.poison(rows), np.full(1, np.nan), dz


def cross_entropy_labels(a, shape, weighted, *options):
    rows, classes = shape
    weight = np.abs(a(classes)) if weighted else None
    return cross_entropy(a, a.rng.integers(0, classes, rows), classes, weight, *options)


def with_ignored_rows(a, shape, *options):
    """Labels in [0, C], where C is the label of rows to ignore."""
    rows, classes = shape
    weight = np.abs(a(classes + 1))
    weight[-1] = 0
    return cross_entropy(a, a.rng.integers(0, classes + 1, rows), classes, weight, *options)


def cross_entropy_soft(a, shape, weighted, *options):
    weight = np.abs(a(shape[1])) if weighted else None
    return cross_entropy(a, np.abs(a(*shape)), shape[1], weight, *options)


def weigh_loss(a, shape, labelled, reduction, gradient):
    sample_weight = np.abs(a(shape[0]))
    weight, label = (np.abs(a(3)), a.rng.integers(0, 3, shape[0])) if labelled else (None, None)
    losses = a(shape[0]) if labelled else a(*shape)
    dz = a(*shape) if gradient else None
    return sample_weight, weight, label, reduction, losses, np.full(1, np.nan), dz


def squared_error(a, shape, reduction, gradient):
    dy = a.poison(*shape) if gradient else None
    return a(*shape), a(*shape), reduction, a.poison(*shape), np.full(1, np.nan), dy


def huber(a, shape, delta, reduction, gradient):
    y, target, *outputs = squared_error(a, shape, reduction, gradient)
    return y, target, delta, *outputs


def with_targets_from_0_to_1(a, shape, parameter, reduction, gradient):
    """Half of the targets are 0 or 1."""
    y, target, *outputs = squared_error(a, shape, reduction, gradient)
    return y, np.abs(target).clip(0, 1), parameter, *outputs


POINTWISE = {
    "squared_error": (squared_error, ()),
    "absolute_error": (squared_error, ()),
    "huber": (huber, (0.5,)),
    "poisson": (with_targets_from_0_to_1, (False,)),
    "binary_hinge": (with_targets_from_0_to_1, (1.0,)),
}


def pointwise(shape, reduction, gradient):
    """All losses of each output alone that have no weights."""
    for name, (build, parameters) in POINTWISE.items():
        yield Case(name, build, (shape, *parameters, reduction, gradient))
    yield Case("poisson", with_targets_from_0_to_1, (shape, True, reduction, gradient))


def binary_cross_entropy(a, shape, weighted, gamma, reduction, gradient):
    weight = np.abs(a(2, shape[-1])) if weighted else None
    dz = a.poison(*shape) if gradient else None
    target = a.rng.random(shape).astype(a(1).dtype)
    return 3 * a(*shape), target, weight, gamma, reduction, a.poison(*shape), np.full(1, np.nan), dz


def dice(a, shape, weighted, smooth, reduction, gradient):
    M, _, C = shape
    weight = np.abs(a(C)) if weighted else None
    dz = a.poison(*shape) if gradient else None
    target = a.rng.random(shape).astype(a(1).dtype)
    return a(*shape), target, weight, smooth, reduction, a.poison(M, C), np.full(1, np.nan), dz


def dice_with_ignored_pixels(a, *options):
    z, target, *others = dice(a, *options)
    target[a.rng.random(target.shape) < 0.4] = -1
    return z, target, *others


def count_correct_binary(a, shape):
    return a(*shape), a.rng.integers(-1, 2, shape).astype(a(1).dtype), np.array([3])


def with_ties(a, rows, classes):
    """Outputs of which several may be the largest, or nan."""
    y = a(rows, classes).round()
    y[a.rng.random((rows, classes)) < 0.05] = np.nan
    return y


def count_correct_labels(a, shape):
    rows, classes = shape
    return with_ties(a, *shape), a.rng.integers(0, classes, rows), np.full(1, 5)


def count_correct_soft(a, shape):
    return with_ties(a, *shape), with_ties(a, *shape), np.full(1, 5)


def cases(shapes, rows):
    for shape in shapes:
        yield from pointwise(shape, MEAN, True)
        yield from pointwise(shape, SUM, False)
        yield from pointwise(shape, BATCH_MEAN, True)
        for options in (
            (False, MEAN, True),
            (False, BATCH_MEAN, True),
            (True, MEAN, True),
            (True, SUM, False),
        ):
            yield Case("weigh_loss", weigh_loss, (shape, *options))
        for options in (
            (False, 0.0, MEAN, True),
            (True, 0.5, SUM, True),
            (True, 2.0, MEAN, False),
            (False, 0.0, BATCH_MEAN, True),
        ):
            yield Case("binary_cross_entropy", binary_cross_entropy, (shape, *options))
        yield Case("count_correct_binary", count_correct_binary, (shape,))
    for shape in rows:
        for build in (cross_entropy_labels, cross_entropy_soft):
            for options in (
                (False, 0.0, MEAN, True),
                (True, 0.0, SUM, True),
                (True, 0.1, MEAN, True),
                (True, 0.1, SUM, False),
                (True, 0.1, BATCH_MEAN, True),
            ):
                yield Case(build.__name__, build, (shape, *options))
        for name, build in (("focal_labels", cross_entropy_labels), ("focal_soft", cross_entropy_soft)):
            for options in ((False, 2.0, MEAN, True), (True, 0.5, MEAN, True), (True, 0.0, SUM, False)):
                yield Case(name, build, (shape, *options))
        for options in ((False, 1.0, MEAN, True), (True, 0.5, BATCH_MEAN, True), (True, 0.0, SUM, False)):
            yield Case("hinge_labels", cross_entropy_labels, (shape, *options))
        for name in ("cross_entropy_labels", "focal_labels", "hinge_labels"):
            yield Case(name, with_ignored_rows, (shape, 0.5, SUM, True))
        yield Case("cross_entropy_labels", with_ignored_rows, (shape, 0.0, MEAN, True))
        yield Case("count_correct_labels", count_correct_labels, (shape,))
        yield Case("count_correct_soft", count_correct_soft, (shape,))
    for shape in (
        (1, 1, 1),
        (3, 5, 1),
        (2, 1, 7),
        (2, 301, 1),
        (2, 19, 35),
        (1, 5000, 1),
        (1, 0, 3),
        (0, 4, 2),
    ):
        for options in (
            (False, 1.0, MEAN, True),
            (True, 0.0, SUM, True),
            (True, 1.0, MEAN, False),
            (True, 1.0, BATCH_MEAN, True),
        ):
            yield Case("dice", dice, (shape, *options))
            yield Case("dice", dice_with_ignored_pixels, (shape, *options))
