"""The space of `fn.tune`: ranges and choices. Needs no Optuna."""

import math

import numpy as np
import pytest

import fastnn as fn
from fastnn.studies.space import dimensions_of


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((1, 1), ValueError, "low must be below high, got 1 and 1"),
        ((3, 2), ValueError, "low must be below high"),
        ((0, 1, True), ValueError, "above 0 in a range with log=True, got 0"),
        ((math.nan, 1), ValueError, "low must be a finite number"),
        ((1, math.inf), ValueError, "high must be a finite number"),
        (("a", 1), ValueError, "low must be a finite number"),
        ((True, 2), ValueError, "low must be a finite number"),
        ((1, 2, "yes"), TypeError, "log must be True or False"),
    ],
)
def test_a_wrong_range_is_rejected(arguments, error, match):
    with pytest.raises(error, match=match):
        fn.Range(*arguments)


def test_a_range_is_of_integers_if_both_ends_are():
    assert fn.Range(1, np.int64(9)).is_integer
    assert not fn.Range(1, 9.0).is_integer


@pytest.mark.parametrize(
    ("space", "error", "match"),
    [
        ({}, ValueError, "the space has no parameter"),
        ([("lr", [1])], TypeError, "must be a dict"),
        ({3: [1]}, TypeError, "must be a dict"),
        ({"lr": 0.1}, TypeError, r"fn.Range or a list of choices for 'lr', not 0.1"),
        ({"act": "relu"}, TypeError, "list of choices for 'act', not 'relu'"),
        ({"lr": []}, ValueError, "at least one"),
        ({"lr": [1, 2, 1]}, ValueError, "must be different"),
        ({"layer": [lambda: 1, lambda: 2]}, ValueError, "must be different"),
    ],
)
def test_a_wrong_space_is_rejected(space, error, match):
    with pytest.raises(error, match=match):
        dimensions_of(space)


def test_choices_may_be_any_objects():
    found = dimensions_of({"layer": [fn.ReLU, fn.Tanh], "hidden": [(64, 32), (32,)], "rate": [None, 0.5]})
    assert found["layer"] == {"ReLU": fn.ReLU, "Tanh": fn.Tanh}
    assert found["hidden"] == {"[64, 32]": (64, 32), "[32]": (32,)}
    assert found["rate"] == {None: None, 0.5: 0.5}
