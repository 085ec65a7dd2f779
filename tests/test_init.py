"""Initialisers: mean, standard deviation, bounds and names."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.init import INITIALIZERS, Initializer, initializer

FAN_IN, FAN_OUT = 300, 200

# Standard deviations, from the papers cited in the docstrings.
NORMAL = {
    "normal": 0.01,
    "xavier_normal": np.sqrt(2 / (FAN_IN + FAN_OUT)),
    "he_normal": np.sqrt(2 / FAN_IN),
}
# Bounds a of U(-a, a).
UNIFORM = {
    "uniform": 0.05,
    "xavier_uniform": np.sqrt(6 / (FAN_IN + FAN_OUT)),
    "he_uniform": np.sqrt(6 / FAN_IN),
    "fan_in_uniform": 1 / np.sqrt(FAN_IN),
}
CONSTANT = {"zeros": 0.0, "ones": 1.0}


@pytest.fixture
def draw():
    """A function that draws a (300, 200) array with an initialiser, given by name or as an object."""

    def fill(init, seed=0):
        return initializer(init)((FAN_IN, FAN_OUT), FAN_IN, FAN_OUT, np.random.default_rng(seed))

    return fill


def test_every_name_is_tested():
    assert {*NORMAL, *UNIFORM, *CONSTANT, "constant"} == set(INITIALIZERS)


@pytest.mark.parametrize(("name", "std"), NORMAL.items())
def test_normal_initialisers_have_the_published_standard_deviation(draw, name, std):
    values = draw(name)
    assert abs(values.mean()) < 5 * std / np.sqrt(values.size)
    np.testing.assert_allclose(values.std(), std, rtol=5 / np.sqrt(2 * values.size))
    # 68.27 % within one standard deviation, and tails beyond any uniform distribution of this variance.
    np.testing.assert_allclose(np.mean(np.abs(values) < std), 0.6827, atol=0.01)
    assert np.abs(values).max() > 3 * std


@pytest.mark.parametrize(("name", "bound"), UNIFORM.items())
def test_uniform_initialisers_fill_the_published_interval(draw, name, bound):
    values = draw(name)
    assert np.abs(values).max() <= bound
    assert values.max() > 0.999 * bound
    assert values.min() < -0.999 * bound
    quarters, _ = np.histogram(values, bins=4, range=(-bound, bound))
    np.testing.assert_allclose(quarters / values.size, 0.25, atol=0.01)


@pytest.mark.parametrize(("name", "value"), CONSTANT.items())
def test_constant_initialisers_set_every_element(draw, name, value):
    assert (draw(name) == value).all()


def test_initialisers_use_their_arguments(draw):
    assert (draw(fn.init.Constant(-2.5)) == -2.5).all()
    shifted = draw(fn.init.Normal(std=2, mean=10))
    np.testing.assert_allclose([shifted.mean(), shifted.std()], [10, 2], rtol=0.01)
    between = draw(fn.init.Uniform(low=2, high=3))
    np.testing.assert_allclose([between.min(), between.max()], [2, 3], atol=0.001)
    np.testing.assert_allclose(draw(fn.init.HeNormal(gain=3)), 3 * draw("he_normal"), rtol=1e-14)


@pytest.mark.parametrize("name", sorted({*INITIALIZERS} - {"constant"}))
def test_draws_depend_only_on_the_generator(draw, name):
    np.testing.assert_array_equal(draw(name), draw(name))
    if name not in CONSTANT:
        assert (draw(name) != draw(name, seed=1)).mean() > 0.99


@pytest.mark.parametrize("name", sorted({*INITIALIZERS} - {"constant"}))
def test_shape_and_type(name):
    values = initializer(name)((3, 3, 2, 4), 18, 36, np.random.default_rng(0))
    assert (values.shape, values.dtype) == ((3, 3, 2, 4), np.float64)


def test_initializer_returns_an_object_unchanged():
    init = fn.init.HeNormal(gain=2)
    assert initializer(init) is init


@pytest.mark.parametrize("wrong", ["kaiming", "", None, 3, ["zeros"]], ids=repr)
def test_unknown_name_error_lists_the_valid_names(wrong):
    with pytest.raises(ValueError, match=r"unknown initializer .*: choose one of ") as caught:
        initializer(wrong)
    assert str(caught.value).split("choose one of ")[1].split(", ") == sorted(INITIALIZERS)


def test_constant_by_name_is_rejected_because_it_needs_a_value():
    with pytest.raises(ValueError, match=r"'constant' needs a value: pass fn.init.Constant\(value=...\)"):
        fn.Linear(2, 2, weight_init="constant")


def test_user_defined_initialiser():
    class Eye(Initializer):
        def __call__(self, shape, fan_in, fan_out, rng):
            return np.eye(*shape)

    np.testing.assert_array_equal(fn.Linear(3, 4, weight_init=Eye()).weight.value, np.eye(3, 4))
