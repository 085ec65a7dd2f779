"""The augmentation kernels: against SciPy, exact cases, and no read outside of an image."""

import numpy as np
import pytest
from scipy import ndimage

from fastnn.kernels import core, load

from .columns import both_types, every_backend, every_isa

RANGES = np.array([3.0, 0.4, 0.7, 1.4, 3.0, 2.5, 2.0, 1.0, 0.5, 0.5])
UNCHANGED = np.array([0, 0, 1, 1, 0, 0, 0, 0, 0, 0], np.float64)


def images(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def matrices(ranges, height, width, count, backend="ref", seed=1):
    matrix = np.full((count, 6), np.nan)
    load(backend)["random_affine"](np.array([seed], np.uint64), np.asarray(ranges), height, width, matrix)
    return matrix


def warped(x, matrix, dtype=np.float32, *, index=None, field=None, scale=1.0, fill=0.0, backend="aot"):
    index = np.arange(len(x)) if index is None else index
    out = np.full((len(index), *x.shape[1:]), np.nan, dtype)
    load(backend)["warp"](x, index, matrix, field, scale, fill, out)
    return out


@every_isa
@both_types
@pytest.mark.parametrize("shape", [(40, 28, 28, 1), (30, 11, 7, 3), (20, 5, 40, 2)], ids=str)
def test_scipy_agrees(shape, dtype, isa):
    core.select_isa(isa)
    x = images(shape)
    matrix = matrices(RANGES, *shape[1:3], shape[0])
    got = warped(x, matrix, dtype, scale=0.5, fill=3.0)
    for m, c in np.ndindex(shape[0], shape[3]):
        (a, b, first), (d, e, second) = matrix[m].reshape(2, 3)
        wanted = ndimage.affine_transform(
            x[m, ..., c].astype(float),
            ((a, b), (d, e)),
            (first, second),
            order=1,
            mode="grid-constant",
            cval=3,
        )
        np.testing.assert_allclose(got[m, ..., c], 0.5 * wanted, atol=6e-4 if dtype == np.float32 else 1e-11)


@every_backend
def test_scipy_agrees_on_displacements(backend):
    """Downwards by field[0], to the right by field[1], on top of a matrix."""
    x, rng = images((6, 12, 17, 1)), np.random.default_rng(0)
    matrix, field = matrices(RANGES, 12, 17, 6), rng.uniform(-3, 3, (6, 2, 12, 17))
    got = warped(x, matrix, np.float64, field=field, backend=backend)
    pixels = np.stack(np.meshgrid(range(12), range(17), indexing="ij"))
    for m in range(6):
        lines = matrix[m].reshape(2, 3)
        places = np.tensordot(lines[:, :2], pixels, 1) + lines[:, 2, None, None] + field[m]
        wanted = ndimage.map_coordinates(x[m, ..., 0].astype(float), places, order=1, mode="grid-constant")
        np.testing.assert_allclose(got[m, ..., 0], wanted, atol=1e-11)


@every_backend
@both_types
@pytest.mark.parametrize("source_type", [np.uint8, np.float32, np.float64])
def test_the_identity_is_gather(backend, dtype, source_type):
    x, index = images((50, 9, 8, 3), source_type), np.random.default_rng(0).integers(0, 50, 33)
    got = warped(x, matrices(UNCHANGED, 9, 8, 33), dtype, index=index, scale=1 / 255, backend=backend)
    wanted = np.empty((33, 9 * 8 * 3), dtype)
    load(backend)["gather"](x.reshape(50, -1), index, 1 / 255, wanted)
    assert got.tobytes() == wanted.tobytes()


@every_backend
def test_whole_pixels_move_exactly(backend):
    x = images((2, 6, 6, 2), np.float32)
    there = {
        "down by 2, left by 1": ((1, 0, -2, 0, 1, 1), lambda x: np.pad(x, ((2, 0), (0, 1), (0, 0)))[:-2, 1:]),
        "counter-clockwise": ((0, 1, 0, -1, 0, 5), np.rot90),
        "upside down": ((-1, 0, 5, 0, 1, 0), lambda x: x[::-1]),
        "mirrored": ((1, 0, 0, 0, -1, 5), lambda x: x[:, ::-1]),
        "all beyond": ((1, 0, 7, 0, 1, 0), np.zeros_like),
    }
    for name, (matrix, move) in there.items():
        got = warped(x, np.array([matrix] * 2, np.float64), backend=backend)
        np.testing.assert_array_equal(got, [move(image) for image in x], name)


@every_backend
def test_a_positive_angle_turns_counter_clockwise(backend):
    """A quarter turn: all numbers drawn lie in the middle of a range from 90 to 90 degrees."""
    ranges = UNCHANGED.copy()
    ranges[0] = np.pi / 2
    angles = matrices(ranges, 5, 5, 400, backend)
    turn = np.arctan2(angles[:, 1], angles[:, 0])  # h = cos h' + sin w'
    assert turn.min() < -1.5
    assert turn.max() > 1.5
    matrix = angles[np.argmax(turn)][None]
    x = images((1, 5, 5, 1), np.float64)
    turned = warped(x, matrix, np.float64)[0]
    assert np.abs(turned - np.rot90(x[0])).mean() < 3 < 30 < np.abs(turned - np.rot90(x[0], -1)).mean()


@every_backend
def test_parameters_fill_their_ranges(backend):
    alone = {
        "scale": (2, (0.5, 2.0), lambda m: 1 / m[:, 0]),
        "shift": (4, 3.0, lambda m: -m[:, 2]),
        "crop": (6, 2, lambda m: -m[:, 2]),
        "flip": (9, 0.25, lambda m: m[:, 4]),
    }
    for name, (place, value, read) in alone.items():
        ranges = UNCHANGED.copy()
        ranges[place : place + np.size(value)] = value
        drawn = read(matrices(ranges, 9, 7, 4000, backend))
        if name == "scale":
            assert 0.5 <= drawn.min() < 0.51
            assert 1.99 < drawn.max() <= 2
        elif name == "shift":
            assert -3 <= drawn.min() < -2.98
            assert abs(drawn.mean()) < 0.1
        elif name == "crop":
            assert dict(zip(*np.unique(drawn, return_counts=True), strict=True)).keys() == {-2, -1, 0, 1, 2}
        else:
            assert set(drawn) == {-1, 1}
            assert 0.22 < (drawn < 0).mean() < 0.28


@every_backend
def test_displacements_are_smoothed_noise(backend):
    field = np.empty((3, 2, 30, 20))
    load(backend)["displacement"](np.array([9], np.uint64), 1.0, 0.3, field)  # a Gaussian of a single pixel
    noise = field.copy()
    assert -1 <= noise.min() < -0.99
    assert abs(noise.mean()) < 0.05
    load(backend)["displacement"](np.array([9], np.uint64), 5.0, 2.0, field)
    for m, k in np.ndindex(3, 2):
        wanted = 5 * ndimage.gaussian_filter(noise[m, k], 2, mode="constant", truncate=3)
        np.testing.assert_allclose(field[m, k], wanted, atol=1e-12)


@every_isa
@both_types
@pytest.mark.parametrize("channels", [1, 3])
def test_results_do_not_depend_on_the_number_of_threads(channels, dtype, isa):
    core.select_isa(isa)
    x, field = images((31, 28, 28, channels)), np.full((31, 2, 28, 28), np.nan, dtype)
    found = set()
    for threads in (1, 2, 3, 8):
        core.set_num_threads(threads)
        matrix = matrices(RANGES, 28, 28, 31, "aot")
        load("aot")["displacement"](np.array([9], np.uint64), 8.0, 2.0, field)
        out = warped(x, matrix, dtype, field=field, scale=1 / 255)
        found.add(matrix.tobytes() + field.tobytes() + out.tobytes())
    assert len(found) == 1


@every_isa
@both_types
def test_no_coordinate_leads_out_of_an_image(dtype, isa):
    """Around the images lie numbers that must not be seen, and coordinates go anywhere."""
    core.select_isa(isa)
    memory = np.full((3, 8, 9, 1), 1e30, np.float32)
    memory[1] = 1
    wild = np.array([0, 1, -1, 0.5, 1e9, -1e9, 1e30, -1e308, np.nan, np.inf, -np.inf, 2**31, -(2**31) - 1.5])
    rng = np.random.default_rng(0)
    matrix = rng.choice(wild, (3000, 6))
    field = rng.choice(wild, (3000, 2, 8, 9))
    field = np.clip(field, *(np.finfo(dtype).min, np.finfo(dtype).max)).astype(dtype)
    for displaced in (None, field):
        out = warped(memory, matrix, dtype, index=np.ones(3000, np.int64), field=displaced)
        assert out.min() >= 0
        assert out.max() <= 1


@every_backend
@pytest.mark.parametrize("index", [[-1], [3], [0, 2**62]])
def test_indices_are_checked_first(backend, index):
    out = np.full((len(index), 4, 4, 1), 7, np.float32)
    with pytest.raises(IndexError):
        load(backend)["warp"](
            images((3, 4, 4, 1)), np.array(index), np.zeros((len(index), 6)), None, 1.0, 0.0, out
        )
    assert (out == 7).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", np.zeros((3, 4, 5, 1))),
        ("index", np.zeros(3, np.int64)),
        ("matrix", np.zeros((2, 5))),
        ("matrix", np.zeros((3, 6))),
        ("field", np.zeros((2, 2, 4, 3), np.float32)),
        ("out", np.zeros((2, 4, 4), np.float32)),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value.shape),
)
@pytest.mark.parametrize("backend", ["aot", "jit"])
def test_shapes_must_fit(backend, name, value):
    arguments = {
        "source": np.zeros((3, 4, 4, 1)),
        "index": np.zeros(2, np.int64),
        "matrix": np.zeros((2, 6)),
        "field": np.zeros((2, 2, 4, 4), np.float32),
        "scale": 1.0,
        "fill": 0.0,
        "out": np.zeros((2, 4, 4, 1), np.float32),
    }
    with pytest.raises((ValueError, TypeError)):
        load(backend)["warp"](**{**arguments, name: value})


def test_images_may_not_be_too_large():
    with pytest.raises(ValueError, match="pixels a side"):
        warped(np.zeros((1, 2**21, 1, 1), np.uint8), np.zeros((1, 6)))
    with pytest.raises(ValueError, match=r"2\^31 elements"):  # none of them, so that they fit into memory
        warped(np.zeros((0, 50_000, 50_000, 1), np.uint8), np.zeros((0, 6)))
    with pytest.raises(ValueError, match="sigma"):
        load("aot")["displacement"](np.zeros(1, np.uint64), 1.0, np.nan, np.zeros((1, 2, 3, 3)))
