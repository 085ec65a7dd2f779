"""Benchmark rotating and scaling a mini-batch of digits, next to Pillow and SciPy image by image.

`python bench/augmented_epoch.py` times a whole epoch against PyTorch's DataLoader.
"""

import numpy as np
import pytest

from bench.racing import assert_close, kernel_race, race_kernel, time_contestant
from fastnn.kernels import load

RANGES = np.array([np.radians(15), 0, 0.9, 1.1, 1.5, 1.5, 0, 0, 0, 0])


def batch(shape):
    """Return (images, index, matrices, out) for M random images (H, W, C) out of 10,000."""
    M, H, W, C = shape
    rng = np.random.default_rng(0)
    source = rng.integers(256, size=(10_000, H, W, C), dtype=np.uint8)
    matrix = np.empty((M, 6))
    load("aot")["random_affine"](np.array([1], np.uint64), RANGES, H, W, matrix)
    return source, rng.integers(len(source), size=M), matrix, np.empty(shape, np.float32)


@kernel_race((128, 28, 28, 1), (128, 32, 32, 3))
def test_warp(benchmark, shape, contestant):
    source, index, matrix, out = batch(shape)
    arguments = source, index, matrix, None, 1 / 255, 0.0, out
    nbytes = out.size + out.nbytes
    race_kernel(benchmark, "warp", shape, contestant, arguments, flop=20 * out.size, nbytes=nbytes)


@kernel_race((128, 2, 28, 28))
def test_displacement(benchmark, shape, contestant):
    field = np.empty(shape, np.float32)
    arguments = np.array([1], np.uint64), 34.0, 4.0, field
    race_kernel(benchmark, "displacement", shape, contestant, arguments, flop=100 * field.size)


def by_scipy(image, matrix):
    from scipy.ndimage import affine_transform

    a, b, c, d, e, f = matrix
    return affine_transform(image, ((a, b), (d, e)), (c, f), order=1, mode="grid-constant", output=np.float32)


def by_pillow(image, matrix):
    """Pillow's coordinates are (column, row), with pixel centres at one half."""
    from PIL import Image

    a, b, c, d, e, f = matrix
    half = e, d, f + (1 - d - e) / 2, b, a, c + (1 - a - b) / 2
    turned = Image.fromarray(image).transform(
        image.shape[::-1], Image.Transform.AFFINE, half, Image.Resampling.BILINEAR
    )
    return np.asarray(turned, np.float32)


@pytest.mark.parametrize("by", [by_scipy, by_pillow])
def test_image_by_image(benchmark, by):
    """Two more contestants in the race "warp 128x28x28x1"."""
    shape = 128, 28, 28, 1
    source, index, matrix, out = batch(shape)

    def run():
        for m, place in enumerate(index):
            out[m, ..., 0] = by(source[place, ..., 0], matrix[m])

    def check():
        expected = np.empty_like(out)
        load("ref")["warp"](source, index, matrix, None, 1.0, 0.0, expected)
        if by is by_pillow:  # Pillow rounds to bytes and treats the outermost pixels differently
            assert np.median(np.abs(out - expected)) < 1
        else:
            assert_close(out, expected, 1e-4)

    time_contestant(
        benchmark,
        run,
        check,
        race="warp",
        shape="128x28x28x1",
        contestant=by.__name__.removeprefix("by_"),
        dtype=out.dtype,
        flop=20 * out.size,
        nbytes=out.size + out.nbytes,
    )
