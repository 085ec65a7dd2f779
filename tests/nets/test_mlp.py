"""`fn.nets.mlp`: which layers it builds, in which order, and which arguments it rejects."""

import numpy as np
import pytest

import fastnn as fn


def test_hidden_layers_are_followed_by_the_activation_and_the_output_layer_is_not():
    model = fn.nets.mlp([12, 8, 6, 3], activation="tanh")
    assert repr(list(model)) == repr(
        [fn.Flatten(), fn.Linear(12, 8), fn.Tanh(), fn.Linear(8, 6), fn.Tanh(), fn.Linear(6, 3)]
    )
    assert model.output_shape((4, 3)) == (3,)


def test_dropout_stands_before_the_output_layer():
    kinds = [type(layer) for layer in fn.nets.mlp([12, 8, 6, 3], dropout=0.25)]
    assert kinds == [fn.Flatten, fn.Linear, fn.ReLU, fn.Linear, fn.ReLU, fn.Dropout, fn.Linear]
    assert list(fn.nets.mlp([12, 8, 3], dropout=0.25))[3].rate == 0.25


def test_a_network_without_hidden_layers_has_neither_activation_nor_dropout():
    assert [type(layer) for layer in fn.nets.mlp((12, 3), dropout=0.5)] == [fn.Flatten, fn.Linear]


def test_initial_weights_equal_those_of_layers_made_one_by_one():
    fn.manual_seed(5)
    model = fn.nets.mlp([12, 8, 3], weight_init="he_uniform", dropout=0.5)
    fn.manual_seed(5)
    layers = [fn.Linear(12, 8, weight_init="he_uniform"), fn.Linear(8, 3, weight_init="he_uniform")]
    expected = [param.value for layer in layers for param in layer.parameters()]
    for param, value in zip(model.parameters(), expected, strict=True):
        np.testing.assert_array_equal(param.value, value)


def test_weight_init_may_be_an_object():
    model = fn.nets.mlp([4, 3, 2], weight_init=fn.init.Constant(0.5))
    assert all((layer.weight.value == 0.5).all() for layer in model if isinstance(layer, fn.Linear))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": [784]}, r"sizes must name at least the inputs and the outputs, not \[784\]"),
        ({"sizes": []}, "at least the inputs and the outputs"),
        ({"sizes": [784, 0, 10]}, "out_features must be an integer of at least 1, not 0"),
        ({"activation": "rellu"}, "unknown activation 'rellu': choose one of elu"),
        ({"weight_init": "zeros?"}, "zeros"),
        ({"dropout": 1.5}, r"dropout must be a finite number, in \[0, 1\], not 1.5"),
        ({"sizes": [4, 2], "dropout": -1}, "dropout must be a finite number"),
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        fn.nets.mlp(**{"sizes": [784, 128, 10], **arguments})
