"""A replayed step takes batches of any form, as an eager step does, and has the same bits."""

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, FEATURES, batch

FORMS = {
    "strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "fortran": np.asfortranarray,
    "unaligned": lambda a: np.frombuffer(b"x" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": np.ndarray.tolist,
    "subclass": lambda a: a.view(np.recarray),
    "wide": lambda a: a.astype(np.int64 if a.dtype.kind == "i" else np.float64),
    "masked": np.ma.masked_array,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scale", [None, 0.5])
def test_batches_of_any_form_after_the_recording(form, scale, twins):
    pair = twins(scale=scale)
    pair.run(2)
    x, y = batch(seed=7)
    pair.step(FORMS[form](x), y)
    pair.step(x, FORMS[form](y))
    pair.step()


@pytest.mark.parametrize("scale", [None, 0.25])
def test_uint8_inputs(scale, twins):
    pair = twins(scale=scale)
    for seed in range(4):
        x, y = batch(seed)
        pair.step((50 * x + 128).clip(0, 255).astype(np.uint8), y.astype(np.uint8))
        pair.step((50 * x + 128).clip(0, 255).astype(np.uint8), y)


def test_images_through_flatten(twins):
    pair = twins(lambda: fn.Sequential(fn.Flatten(), fn.Linear(24, 9), fn.ReLU(), fn.Linear(9, CLASSES)))
    for seed in range(4):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(10, 2, 3, 4)).astype(np.float32)
        pair.step(x, generator.integers(0, CLASSES, 10))


def test_regression_to_one_number(twins):
    pair = twins(lambda: fn.Linear(FEATURES, 1), fn.SquaredError, lambda: fn.SGD(lr=0.01))
    for seed in range(4):
        x, _ = batch(seed)
        pair.step(x, x.sum(axis=1))
        pair.step(x, x[:, :1])
