"""`fn.loss_surface`: the loss at each pair of values of two weights."""

import threading

import numpy as np
import pytest

import fastnn as fn

GRID = (np.linspace(-1, 1, 3), np.linspace(-2, 2, 5))
A, B = ("0.weight", (2, 7)), ("3.bias", 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["cross_entropy", fn.CrossEntropy(reduction="sum")])
def test_each_value_is_the_loss_with_these_two_weights(blobs, make_model, unchanged, dtype, loss):
    model = make_model(rate=0.3, dtype=dtype)
    with unchanged(model):
        surface = fn.loss_surface(model, blobs, A, B, GRID, loss=loss)
    assert (surface.shape, surface.dtype) == ((3, 5), np.float64)
    for row, a in enumerate(GRID[0]):
        for column, b in enumerate(GRID[1]):
            twin = make_model(rate=0.3, dtype=dtype)
            for (name, index), value in ((A, a), (B, b)):
                param = dict(twin.named_parameters())[name]
                weights = param.value.copy()
                weights[index] = value
                param.value = weights
            assert surface[row, column] == fn.evaluate(twin, blobs, loss=loss)["loss"]


def test_the_loss_and_the_scale_are_those_of_the_training(blobs, make_model):
    x, y = blobs
    pixels = np.uint8(40 * (x - x.min()))
    model = make_model()
    fn.fit(model, (pixels, np.eye(3)[y]), loss="squared_error", epochs=1, progress=False)
    (found,) = fn.loss_surface(
        *(model, (pixels, np.eye(3)[y]), A, B),
        [[model[0].weight.value[2, 7]], [model[3].bias.value[1]]],
    )
    assert found == fn.evaluate(model, (pixels, np.eye(3)[y]))["loss"]


def test_two_weights_of_one_parameter_and_negative_indices(blobs, make_model):
    model = make_model()
    one = fn.loss_surface(model, blobs, ("0.weight", (-1, 0)), ("0.weight", (0, -1)), GRID)
    two = fn.loss_surface(model, blobs, ("0.weight", (5, 0)), ("0.weight", (0, 15)), GRID)
    np.testing.assert_array_equal(one, two)


def test_a_model_stays_as_it_is_after_an_error(blobs, make_model, unchanged):
    class FailingOnceError(Exception):
        pass

    class Failing(fn.Tanh):
        calls: int = 0

        def forward(self, x, *, train=False):
            type(self).calls += 1
            if self.calls > 3:
                raise FailingOnceError
            return super().forward(x, train=train)

    model = fn.Sequential(fn.Linear(6, 4), Failing(), fn.Linear(4, 3))
    with unchanged(model), pytest.raises(FailingOnceError):
        fn.loss_surface(model, blobs, ("0.bias", 0), ("0.bias", 1), GRID)


def test_frozen_weights_and_a_training_at_the_same_time(blobs, make_model):
    """The copy is evaluated, so another thread may use the model meanwhile."""
    model = make_model()
    model.trainable = False
    expected = fn.loss_surface(model, blobs, A, B, GRID)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fn.loss_surface(model, blobs, A, B, GRID)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    for surface in found:
        np.testing.assert_array_equal(surface, expected)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (("1.weight", (0, 0)), "there is no parameter '1.weight': choose one of 0.weight, 0.bias, 3.weight"),
        (("0.weight", (6, 0)), r"'0.weight' has shape \(6, 16\), so there is no element \(6, 0\)"),
        (("0.weight", 3), r"so there is no element \(3,\)"),
        (("0.weight", ()), r"so there is no element \(\)"),
        ("0.weight", "must be the name of a parameter and an index"),
        (("0.weight",), "must be the name of a parameter and an index"),
        ((0, (0, 0)), "must be the name of a parameter and an index"),
        (B, "must be two weights, but both are"),
        (("3.bias", -2), "must be two weights, but both are"),
    ],
)
def test_weights_that_do_not_exist(blobs, make_model, weight, message):
    with pytest.raises(ValueError, match=message):
        fn.loss_surface(make_model(), blobs, weight, B, GRID)


@pytest.mark.parametrize("index", [(0.0, 1), (True, 0), "ab", None])
def test_an_index_must_be_integers(blobs, make_model, index):
    with pytest.raises(TypeError, match="weight_a, its index, must be an integer"):
        fn.loss_surface(make_model(), blobs, ("0.weight", index), B, GRID)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (np.zeros((3, 2)), "grid must be a pair"),
        (3.0, "grid must be a pair"),
        (([1.0],), "grid must be a pair"),
        (([], [1.0]), r"the grid of weight_a must be at least one finite float32 value"),
        (([1.0], [[1.0]]), r"the grid of weight_b .*shape \(1, 1\)"),
        (([1.0], [np.nan]), "the grid of weight_b must be at least one finite"),
        (([1e300], [1.0]), "the grid of weight_a must be at least one finite"),
    ],
)
def test_invalid_grids(blobs, make_model, grid, message):
    with pytest.raises(ValueError, match=message):
        fn.loss_surface(make_model(), blobs, A, B, grid)


def test_the_data_must_fit(blobs, make_model):
    with pytest.raises(ValueError, match="expects samples of shape"):
        fn.loss_surface(make_model(), (blobs[0][:, :5], blobs[1]), A, B, GRID)
    with pytest.raises(TypeError, match="model must be a layer"):
        fn.loss_surface("model", blobs, A, B, GRID)
