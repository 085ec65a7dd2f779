"""The activation layers."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.layers import ACTIVATIONS

ELEMENTWISE = [fn.ReLU, fn.Sigmoid, fn.Tanh, fn.LeakyReLU, fn.ELU, fn.GELU, fn.SiLU, fn.Identity]
EVERY = [*ELEMENTWISE, fn.Softmax]

X = [-2.0, -0.5, 0.0, 0.5, 2.0]
# From the definitions with Python's decimal at 30 digits, e.g. float(1 / (1 + (-Decimal(x)).exp())).
VALUES = {
    fn.ReLU: [0, 0, 0, 0.5, 2],
    fn.Sigmoid: [0.11920292202211756, 0.37754066879814546, 0.5, 0.6224593312018546, 0.8807970779778824],
    fn.Tanh: [-0.9640275800758169, -0.46211715726000974, 0, 0.46211715726000974, 0.9640275800758169],
    fn.Softmax: [
        0.012554708844463726,
        0.056266301409509716,
        0.09276744795748328,
        0.15294766467606982,
        0.6854638771124735,
    ],
    fn.LeakyReLU: [-0.02, -0.005, 0, 0.5, 2],
    fn.ELU: [-0.8646647167633873, -0.3934693402873666, 0, 0.5, 2],
    # By mpmath at 30 digits: x ncdf(x), x / (1 + exp(-x)).
    fn.GELU: [-0.04550026389635842, -0.15426876936299347, 0, 0.3457312306370065, 1.9544997361036416],
    fn.SiLU: [-0.23840584404423513, -0.18877033439907271, 0, 0.31122966560092729, 1.7615941559557649],
    fn.Identity: X,
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
@pytest.mark.parametrize("kind", EVERY)
def test_values(kind, dtype, tolerance):
    y, _ = kind().forward(np.array([X], dtype))
    np.testing.assert_allclose(y, [VALUES[kind]], rtol=tolerance)
    assert y.dtype == dtype


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)], ids=str)
@pytest.mark.parametrize("kind", EVERY)
def test_gradient_equals_finite_differences(check_gradients, normal, kind, shape):
    check_gradients(kind(), normal(*shape))


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_gradient_for_images_equals_finite_differences(check_gradients, normal, kind):
    check_gradients(kind(), normal(2, 3, 4))


@pytest.mark.parametrize("kind", EVERY)
def test_gradcheck_passes_with_a_layer_below(kind, normal):
    model = fn.Sequential(fn.Linear(4, 5), kind(), fn.Linear(5, 3))
    assert fn.gradcheck(model, (normal(6, 4), normal(6, 3)), loss="squared_error") < 1e-7


def test_gradient_of_relu_at_zero_is_zero():
    _, backward = fn.ReLU().forward(np.zeros((1, 3)))
    assert not backward(np.ones((1, 3))).any()


@pytest.mark.parametrize("size", [100.0, 1e4])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [(fn.Sigmoid, [0, 1, 0.5]), (fn.Tanh, [-1, 1, 0]), (fn.Softmax, [0, 1, 0])],
)
def test_large_inputs_saturate_without_overflow(kind, expected, size):
    layer = kind()
    y, backward = layer.forward(np.array([[-size, size, 0]]))
    np.testing.assert_allclose(y, [expected], atol=1e-40)
    assert np.isfinite(backward(np.ones((1, 3)))).all()


def test_softmax_rows_sum_to_one_and_are_shift_invariant(normal):
    x = normal(7, 5)
    y, _ = fn.Softmax().forward(x)
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(fn.Softmax().forward(x + 1000)[0], y, rtol=1e-10)


@pytest.mark.parametrize("kind", EVERY)
def test_nan_propagates(kind):
    y, _ = kind().forward(np.array([[np.nan], [1.0]]))
    assert np.isnan(y).tolist() == [[True], [False]]


@pytest.mark.parametrize("kind", EVERY)
def test_without_need_dx_no_kernel_runs(kind, normal, kernel_calls):
    x = normal(3, 4)
    _, backward = kind().forward(x)
    kernel_calls.clear()
    assert backward(x, need_dx=False) is None
    assert kernel_calls == []


@pytest.mark.parametrize("kind", EVERY)
def test_arguments_are_not_modified(kind, normal):
    x, dy = normal(3, 4), normal(3, 4)
    copies = x.copy(), dy.copy()
    kind().forward(x)[1](dy)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(dy, copies[1])


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_elementwise_layers_accept_any_shape(kind):
    assert kind().output_shape((3, 4, 5)) == (3, 4, 5)


def test_softmax_rejects_samples_that_are_no_rows_of_classes():
    assert fn.Softmax().output_shape((4,)) == (4,)
    with pytest.raises(ValueError, match=r"Softmax\(\) expects samples of shape \(classes,\), got \(4, 5\)"):
        fn.Softmax().output_shape((4, 5))


@pytest.mark.parametrize("kind", EVERY)
def test_activation_names(kind):
    assert ACTIVATIONS[{fn.LeakyReLU: "leaky_relu"}.get(kind, kind.__name__.lower())] is kind
    assert repr(kind()).startswith(f"{kind.__name__}(")
    assert kind().parameters() == []


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (fn.LeakyReLU(), "leaky_relu"),
        (fn.LeakyReLU(0.3), "leaky_relu"),
        (fn.ELU(), "elu"),
        (fn.ELU(0.4), "elu"),
        (fn.GELU(), "gelu"),
        (fn.GELU("tanh"), "gelu"),
        (fn.SiLU(), "silu"),
    ],
    ids=repr,
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-6), (np.float64, 1e-14)])
def test_values_and_gradients_equal_pytorch(layer, name, dtype, tolerance):
    torch = pytest.importorskip("torch")
    options = {
        "leaky_relu": lambda: {"negative_slope": layer.slope},
        "elu": lambda: {"alpha": layer.alpha},
        "gelu": lambda: {"approximate": layer.approximate},
        "silu": dict,
    }[name]()
    x = np.linspace(-12, 12, 4001, dtype=dtype)[:, None]
    theirs = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, name)(theirs, **options)
    expected.sum().backward()
    y, backward = layer.forward(x)
    np.testing.assert_allclose(y, expected.detach(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(backward(np.ones_like(x)), theirs.grad, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["aot", "jit", "ref"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_is_accurate_for_large_negative_inputs(dtype, backend):
    """Where 1 + erf(x) rounds to 0. The true values x Phi(x) are from mpmath with 40 digits.

    ref and jit compute in float64, and round x / sqrt(2) before erfc, which loses x^2 ulps.
    """
    x = np.array([[-1, -3, -5, -8, -4.3, -6.7, -12.3]], dtype)
    ulps = 6 if backend == "aot" else 1 if dtype == np.float32 else 6 + x**2
    true = [-0.15865525393145705, -0.0040496940948902836, -1.4332578593959696e-6, -4.9767684594174273e-15]
    true += {  # inputs whose squares are rounded; they differ between float32 and float64
        np.float32: [-3.6721563549110446e-5, -6.9820634964702761e-11, -5.5702964890340193e-34],
        np.float64: [-3.6721593525264786e-5, -6.9820545819366715e-11, -5.5703095560753054e-34],
    }[dtype]
    with fn.backend(backend):
        y, _ = fn.GELU().forward(x)
    assert (np.abs(y - [true]) <= ulps * np.finfo(dtype).eps * np.abs([true])).all()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fn.LeakyReLU(-0.1), "slope must be a finite number, at least 0"),
        (lambda: fn.ELU(float("nan")), "alpha must be a finite number, at least 0"),
        (lambda: fn.GELU("erf"), "unknown approximation 'erf': choose one of none, tanh"),
    ],
)
def test_invalid_parameters_are_rejected(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_repr_shows_the_parameters():
    assert [
        repr(layer) for layer in (fn.LeakyReLU(0.2), fn.ELU(), fn.GELU(), fn.GELU("tanh"), fn.SiLU())
    ] == [
        "LeakyReLU(0.2)",
        "ELU(1)",
        "GELU('none')",
        "GELU('tanh')",
        "SiLU()",
    ]
