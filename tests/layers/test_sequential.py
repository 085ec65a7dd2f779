"""The container `Sequential`, with built-in and user-defined layers."""

import numpy as np
import pytest

import fastnn as fn


class Square(fn.Layer):
    """A user-defined layer: y = s x^2 with a trainable scalar s."""

    def __init__(self):
        self.scale = fn.Param(np.array([3.0], np.float32))

    def forward(self, x, *, train=False):
        def backward(dy, *, need_dx=True):
            if not self.scale.frozen:
                self.scale.grad_buffer()[...] = (dy * x**2).sum()
            return 2 * self.scale.value * x * dy if need_dx else None

        return self.scale.value * x**2, backward


@pytest.fixture
def model():
    """Three linear layers (indices 0, 2 and 4) with activations between them, in float64."""
    return fn.Sequential(
        fn.Linear(4, 5), fn.Tanh(), fn.Linear(5, 6), fn.Sigmoid(), fn.Linear(6, 3, bias=False)
    ).to(np.float64)


def test_gradients_equal_finite_differences(check_gradients, model, normal):
    check_gradients(model, normal(5, 4))


def test_gradcheck_passes(model, normal):
    assert fn.gradcheck(model, (normal(5, 4), np.arange(5) % 3)) < 1e-7


def test_gradcheck_finds_a_wrong_gradient(normal):
    class Wrong(Square):
        def forward(self, x, *, train=False):
            y, backward = super().forward(x, train=train)
            return y, lambda dy, *, need_dx=True: backward(1.01 * dy, need_dx=need_dx)

    x, targets = normal(5, 4), normal(5, 3)
    for layer, low, high in [(Square(), 0, 1e-7), (Wrong(), 1e-3, 1)]:
        model = fn.Sequential(fn.Linear(4, 3), layer)
        assert low <= fn.gradcheck(model, (x, targets), loss="squared_error") < high


def test_linear_layers_with_identity_are_one_affine_map(normal):
    first, second, third = fn.Linear(4, 6), fn.Linear(6, 2), fn.Linear(2, 3)
    model = fn.Sequential(first, fn.Identity(), second, fn.Identity(), third).to(np.float64)
    weight = first.weight.value @ second.weight.value @ third.weight.value
    bias = (
        first.bias.value @ second.weight.value + second.bias.value
    ) @ third.weight.value + third.bias.value
    single = fn.Linear(4, 3, dtype=np.float64)
    single.weight.value, single.bias.value = weight, bias
    x = normal(9, 4)
    np.testing.assert_allclose(model.predict(x), single.predict(x), rtol=1e-12, atol=1e-14)


def test_user_defined_layer_trains(normal):
    model = fn.Sequential(fn.Linear(4, 3), Square())
    x, y = normal(20, 4), normal(20, 3)
    history = fn.fit(model, (x, y), loss="squared_error", optimizer=fn.SGD(lr=0.05), epochs=20, seed=0)
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert model[1].scale.value[0] != 3


def test_layer_without_forward_raises():
    with pytest.raises(NotImplementedError, match="Layer must define forward"):
        fn.Sequential(fn.Layer()).predict(np.ones((1, 2)))


# The kernels of the backward pass, by the frozen layers.
ALL_GRADIENTS = ["dense_dw"] * 3 + ["dense_db"] * 2
BACKWARD_CALLS = {
    (): [*ALL_GRADIENTS, "dense_dx", "dense_dx", "tanh_dx", "sigmoid_dx"],
    (0,): ["dense_dw", "dense_dw", "dense_db", "dense_dx", "sigmoid_dx"],
    (0, 2): ["dense_dw"],
    (2,): ["dense_dw", "dense_dw", "dense_db", "dense_dx", "dense_dx", "tanh_dx", "sigmoid_dx"],
    (0, 2, 4): [],
}


@pytest.mark.parametrize("frozen", BACKWARD_CALLS, ids=str)
def test_backward_stops_at_the_first_trainable_layer(model, normal, kernel_calls, frozen):
    for index in frozen:
        model[index].set_lr_scale(0)
    y, backward = model.forward(normal(5, 4), train=True)
    kernel_calls.clear()
    assert backward(y, need_dx=False) is None
    assert sorted(kernel_calls) == sorted(BACKWARD_CALLS[frozen])
    without = {name for name, param in model.named_parameters() if param.grad is None}
    assert without == {name for name, _ in model.named_parameters() if int(name[0]) in frozen}


def test_dx_passes_through_frozen_layers(model, normal, finite_differences):
    model.set_lr_scale(0)
    x, dy = normal(5, 4), normal(5, 3)
    dx = model.forward(x)[1](dy)
    expected = finite_differences(lambda: float((model.forward(x)[0] * dy).sum()), x)
    np.testing.assert_allclose(dx, expected, rtol=1e-6, atol=1e-9)


def test_lr_scale_freezes_and_slows_parameters(make_model, blobs):
    model, whole = make_model(), make_model()
    model[0].weight.trainable = False
    model[3].bias.lr_scale = 0.5
    start = [param.value for param in model.parameters()]
    for net in (model, whole):
        fn.Trainer(net, optimizer=fn.SGD(lr=0.5)).step(*blobs)
    moves = [param.value - old for param, old in zip(model.parameters(), start, strict=True)]
    wanted = [param.value - old for param, old in zip(whole.parameters(), start, strict=True)]
    for move, want, factor in zip(moves, wanted, [0, 1, 1, 0.5], strict=True):
        np.testing.assert_allclose(move, factor * want, atol=1e-6)


def test_names_of_parameters(model):
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight"]
    assert [name for name, _ in model.named_parameters()] == names
    assert [param.name for param in model.parameters()] == names
    outer = fn.Sequential(fn.Flatten(), model)
    assert [param.name for param in outer.parameters()] == [f"1.{name}" for name in names]


def test_shared_parameter_is_rejected():
    layer = fn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"parameter '2.weight' is the same object as '0.weight'"):
        fn.Sequential(layer, fn.ReLU(), layer)


def test_parameter_shared_by_two_layers_is_rejected():
    first, second = fn.Linear(4, 4), fn.Linear(4, 4)
    second.bias = first.bias
    with pytest.raises(ValueError, match=r"parameter '1.0.bias' is the same object as '0.bias'"):
        fn.Sequential(first, fn.Sequential(second))


def test_a_layer_without_parameters_may_occur_twice(check_gradients, normal):
    act = fn.Tanh()
    check_gradients(fn.Sequential(act, fn.Linear(4, 4, dtype=np.float64), act), normal(3, 4))


def test_class_instead_of_instance_is_rejected():
    with pytest.raises(TypeError, match=r"takes layers, not .*ReLU.*\(add parenth"):
        fn.Sequential(fn.Linear(4, 4), fn.ReLU)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("relu", r"\(write a layer, such as fn.ReLU\(\)\)"),
        (None, ""),
        (np.tanh, r"\(fn.elementwise makes a layer from a function and its gradient\)"),
        ([fn.ReLU()], r"\(write fn.Sequential\(\*layers\)\)"),
    ],
    ids=repr,
)
def test_non_layers_are_rejected(wrong, hint):
    with pytest.raises(TypeError, match=f"Sequential takes layers, not .*{hint}"):
        fn.Sequential(fn.Tanh(), wrong)


@pytest.mark.parametrize("kind", [list, tuple])
def test_one_list_of_layers_is_a_chain(kind):
    layers = fn.Linear(4, 4), fn.ReLU()
    assert fn.Sequential(kind(layers)).layers == layers
    assert fn.Sequential(kind([])).layers == ()
    with pytest.raises(TypeError, match="Sequential takes layers, not 'relu'"):
        fn.Sequential(kind(["relu"]))


def test_shapes(model):
    assert model.input_shape == (4,)
    assert model.output_shape((4,)) == (3,)
    assert fn.Sequential().input_shape is None
    with pytest.raises(
        ValueError, match=r"^layer 2: Linear\(5, 2\) expects samples of shape \(5,\), got \(3,\)$"
    ):
        fn.Sequential(fn.Linear(4, 3), fn.ReLU(), fn.Linear(5, 2)).output_shape((4,))


def test_layers_by_index():
    layers = fn.Linear(4, 4), fn.ReLU()
    model = fn.Sequential(*layers)
    assert len(model) == 2
    assert tuple(model) == layers
    assert model[1] is layers[1] is model[-1]
    assert repr(model) == "Sequential(Linear(4, 4), ReLU())"


def test_empty_sequential_is_the_identity(normal):
    x = normal(3, 4)
    np.testing.assert_array_equal(fn.Sequential().predict(x.astype(np.float32)), x.astype(np.float32))


def test_to_converts_all_parameters_in_place(model):
    assert model.to(np.float32) is model
    assert {param.dtype for param in model.parameters()} == {np.dtype(np.float32)} == {model.dtype}
