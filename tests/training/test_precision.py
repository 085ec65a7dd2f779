"""`precision="bf16"`: dense layers round the operands of their products, everything else stays float32.

NumPy emulates it on every machine; the compiled kernels run where the processor has AVX512_BF16.
"""

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, cpu
from fastnn.kernels.dense_bf16_ref import _bf16 as rounded

needs_bf16 = pytest.mark.skipif(not core.has_bf16(), reason="no AVX512_BF16, or FASTNN_ISA excludes it")
every_backend = pytest.mark.parametrize("backend", ["ref", pytest.param("aot", marks=needs_bf16)])

X = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
Y = np.arange(12) % 3


def trainer(model, **options):
    return fn.Trainer(model, optimizer=fn.SGD(0.5), precision="bf16", **options)


def linear(*sizes):
    fn.manual_seed(0)
    return fn.nets.mlp(list(sizes))


@every_backend
def test_update_uses_rounded_operands_and_float32_weights(backend):
    """One layer and squared error: y, its gradient and that of the weights follow by hand."""
    model = fn.Linear(7, 3)
    before, bias = model.weight.value.copy(), model.bias.value.copy()
    target = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    with fn.backend(backend):
        loss = trainer(model, loss="squared_error", keep_gradients=True).step(X, target)
    difference = rounded(X) @ rounded(before) + bias - target
    dy = difference / target.size
    assert loss == pytest.approx((difference**2).mean() / 2, rel=1e-5)
    np.testing.assert_allclose(model.weight.grad, rounded(X).T @ rounded(dy), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.bias.grad, dy.sum(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.weight.value, before - 0.5 * model.weight.grad, rtol=1e-6, atol=1e-7)
    assert model.weight.dtype == np.float32
    assert np.any(rounded(model.weight.value) != model.weight.value)  # the weights themselves are not rounded


@every_backend
def test_hidden_layers_get_gradients_of_rounded_operands(backend):
    """The numbers differ from those of float32 in every layer, by about 2^-9."""
    gradients = []
    for precision in (None, "bf16"):
        model = linear(7, 9, 3)
        with fn.backend(backend):
            one = fn.Trainer(model, precision=precision, keep_gradients=True)
            one.step(X, Y)
        gradients.append([param.grad.copy() for param in model.parameters()])
    for exact, other in zip(*gradients, strict=True):
        error = np.abs(other - exact).max() / np.abs(exact).max()
        assert 2.0**-14 < error < 2.0**-5


@every_backend
def test_predictions_and_validation_stay_float32(backend):
    model = linear(7, 9, 3)
    with fn.backend(backend):
        history = fn.fit(model, (X, Y), validation=(X, Y), precision="bf16", seed=0)
        assert history["val_loss"][-1] == fn.evaluate(model, (X, Y))["loss"]
        first, last = (layer for layer in model.layers if isinstance(layer, fn.Linear))
        hidden = np.maximum(X @ first.weight.value + first.bias.value, 0)
        outputs = hidden @ last.weight.value + last.bias.value
        np.testing.assert_allclose(model.predict(X), outputs, rtol=1e-5, atol=1e-6)


@every_backend
def test_accuracy_on_digits_is_that_of_float32(backend):
    """The same recipe in both precisions; over seeds, the accuracy of float32 varies by 0.006."""
    (x, y), test = fn.data.digits()
    accuracies = []
    for precision in (None, "bf16"):
        model = linear(64, 32, 10)
        with fn.backend(backend):
            fn.fit(model, (x, y), epochs=6, optimizer=fn.SGD(0.1, momentum=0.9), seed=0, precision=precision)
        accuracies.append(fn.evaluate(model, test)["accuracy"])
    assert min(accuracies) > 0.85
    assert abs(accuracies[0] - accuracies[1]) < 0.02


def test_convolutions_stay_float32():
    gradients = []
    for precision in (None, "bf16"):
        fn.manual_seed(0)
        model = fn.Sequential(fn.Conv2d(1, 2, 3), fn.GlobalAvgPool2d())
        with fn.backend("ref"):
            fn.Trainer(model, precision=precision, keep_gradients=True).step(X[:10].reshape(1, 10, 7, 1), [1])
        gradients.append(model[0].weight.grad.copy())
    assert gradients[0].tobytes() == gradients[1].tobytes()


def test_float64_model_is_rejected(unchanged):
    model = fn.Linear(7, 3, dtype=np.float64)
    message = r"precision='bf16' needs a float32 model, .*got float64: call model.to\(\"float32\"\)"
    with fn.backend("ref"):
        with pytest.raises(ValueError, match=message):
            trainer(model)
        with unchanged(model), pytest.raises(ValueError, match=message):
            fn.fit(model, (X, Y), precision="bf16")


def test_machine_without_bf16_is_told_so(unchanged):
    isa, lowest = core.isa(), cpu.supported()[-1]
    if lowest == "v4":
        pytest.skip("only v4 is built")
    model = fn.Linear(7, 3)
    core.select_isa(lowest)
    try:
        with fn.backend("aot"):
            with pytest.raises(RuntimeError, match="bf16 needs a processor with AVX512_BF16"):
                trainer(model)
            with unchanged(model), pytest.raises(RuntimeError, match="Leave out precision"):
                fn.fit(model, (X, Y), precision="bf16")
    finally:
        core.select_isa(isa)


def test_precision_may_change_between_steps():
    """The recorded steps of the other precision are not replayed."""
    with fn.backend("aot" if core.has_bf16() else "ref"):
        given, later = trainer(linear(7, 9, 3)), fn.Trainer(linear(7, 9, 3), optimizer=fn.SGD(0.5))
        later.step(X, Y)
        later.step(X, Y)
        for mine, other in zip(later.model.parameters(), given.model.parameters(), strict=True):
            mine.value = other.value
        later.precision = "bf16"
        for _ in range(3):
            assert given.step(X, Y) == later.step(X, Y)


def test_checkpoint_of_another_precision_is_refused(tmp_path):
    with fn.backend("ref"):
        options = {"epochs": 1, "seed": 0, "checkpoint": tmp_path / "run.npz"}
        fn.fit(fn.Linear(7, 3), (X, Y), **options)
        with pytest.raises(fn.CheckpointError, match="precision was None, is 'bf16'"):
            fn.fit(fn.Linear(7, 3), (X, Y), **options, precision="bf16")
