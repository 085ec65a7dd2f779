"""The normalisation layers: gradients, running statistics, argument checks, and comparison with PyTorch."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fn

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
train_or_not = pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
affine_or_not = pytest.mark.parametrize("affine", [True, False], ids=["affine", "not affine"])

# (function options -> layer of 4 channels, shape of a batch for it)
LAYERS = {
    "BatchNorm1d": (lambda **options: fn.BatchNorm1d(4, **options), (9, 4)),
    "BatchNorm2d": (lambda **options: fn.BatchNorm2d(4, **options), (3, 5, 2, 4)),
    "LayerNorm": (lambda **options: fn.LayerNorm(4, **options), (9, 4)),
    "LayerNorm of images": (lambda **options: fn.LayerNorm((2, 4), **options), (3, 5, 2, 4)),
}
every_layer = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
BATCH_LAYERS = list(LAYERS.items())[:2]
every_batch_norm = pytest.mark.parametrize(
    ("make", "shape"), [row for _, row in BATCH_LAYERS], ids=[name for name, _ in BATCH_LAYERS]
)


def stirred(layer, normal):
    """The layer with parameters and running statistics that are not the initial ones."""
    for param in layer.parameters():
        param.value = normal(*param.shape)
    for buffer in layer.buffers():
        buffer.value = np.abs(normal(*buffer.shape))
    return layer


@train_or_not
@affine_or_not
@every_layer
def test_gradients_equal_finite_differences(make, shape, affine, train, normal, finite_differences):
    """In training mode gradients flow through the batch statistics, in evaluation mode they do not."""
    layer = stirred(make(affine=affine, dtype=np.float64), normal)
    x, direction = normal(*shape), normal(*shape)

    def projection():
        return float((layer.forward(x, train=train)[0] * direction).sum())

    dx = layer.forward(x, train=train)[1](direction)
    found = {name: param.grad for name, param in layer.named_parameters()}
    if train:
        np.testing.assert_allclose(dx, finite_differences(projection, x), 1e-6, 1e-8)
    else:  # evaluation must not change the running statistics
        before = [buffer.value for buffer in layer.buffers()]
        np.testing.assert_allclose(dx, finite_differences(projection, x), 1e-6, 1e-8)
        for buffer, value in zip(layer.buffers(), before, strict=True):
            np.testing.assert_array_equal(buffer.value, value)
    for name, param in layer.named_parameters():
        expected = finite_differences(projection, param.master)
        np.testing.assert_allclose(found[name], expected, 1e-6, 1e-8, err_msg=name)


@every_layer
def test_all_gradients_equal_finite_differences_in_evaluation(make, shape, normal, check_gradients):
    check_gradients(stirred(make(dtype=np.float64), normal), normal(*shape), train=False)


@every_batch_norm
def test_gradcheck_passes_in_training(make, shape, normal):
    """Each forward pass updates the running statistics of a copy, which does not affect the gradients."""
    model = fn.Sequential(make(), fn.Tanh(), fn.Flatten(), fn.Linear(int(np.prod(shape[1:])), 3))
    before = [buffer.value for buffer in model.buffers()]
    assert fn.gradcheck(model, (normal(*shape), np.arange(shape[0]) % 3)) < 1e-7
    for buffer, value in zip(model.buffers(), before, strict=True):
        np.testing.assert_array_equal(buffer.value, value)


FROZEN = [(), ("gamma",), ("beta",), ("gamma", "beta")]


@train_or_not
@every_layer
@pytest.mark.parametrize("frozen", FROZEN, ids=str)
def test_frozen_parameters_have_no_gradient_but_dx_is_right(make, shape, frozen, train, normal):
    layer = stirred(make(dtype=np.float64), normal)
    x, dy = normal(*shape), normal(*shape)
    expected = layer.forward(x, train=train)[1](dy)
    wanted = {name: param.grad for name, param in layer.named_parameters()}
    twin = copy.deepcopy(layer)
    for name, param in twin.named_parameters():
        param.drop_grad()
        param.trainable = name not in frozen
    for _ in range(2):  # `layer` updated its running statistics before it normalised with them
        np.testing.assert_array_equal(twin.forward(x, train=train)[1](dy), expected)
    for name, param in twin.named_parameters():
        if name in frozen:
            assert param.grad is None
            assert not param.has_grad
        else:
            np.testing.assert_array_equal(param.grad, wanted[name])


@every_layer
def test_frozen_layer_without_need_dx_runs_no_kernel(make, shape, normal, kernel_calls):
    layer = make(dtype=np.float64).set_lr_scale(0)
    y, backward = layer.forward(normal(*shape), train=True)
    kernel_calls.clear()
    assert backward(np.ones_like(y), need_dx=False) is None
    assert kernel_calls == []


def theirs(torch, ours, images, dtype):
    """PyTorch's layer with the same settings, parameters and running statistics."""
    kind = torch.nn.BatchNorm2d if images else torch.nn.BatchNorm1d
    options = {"eps": ours.epsilon, "momentum": ours.momentum, "affine": ours.gamma is not None}
    layer = kind(ours.channels, **options, dtype=dtype)
    if ours.gamma is not None:
        layer.weight.data = torch.from_numpy(ours.gamma.value.copy())
        layer.bias.data = torch.from_numpy(ours.beta.value.copy())
    layer.running_mean.copy_(torch.from_numpy(ours.running_mean.value.copy()))
    layer.running_var.copy_(torch.from_numpy(ours.running_var.value.copy()))
    return layer


def to_torch(torch, x):
    """Channels behind the samples."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def to_numpy(tensor):
    return np.moveaxis(tensor.detach().numpy(), 1, -1)


@both_types
@affine_or_not
@every_batch_norm
def test_batch_norm_equals_pytorch(make, shape, affine, dtype, normal):
    """Outputs, gradients and running statistics for a few steps in training, then in evaluation."""
    torch = pytest.importorskip("torch")
    ours = stirred(make(affine=affine, epsilon=1e-3, momentum=0.3, dtype=dtype), normal)
    other = theirs(torch, ours, len(shape) == 4, getattr(torch, np.dtype(dtype).name))
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for step in range(6):
        train = step < 4
        other.train(train)
        x, dy = (normal(*shape).astype(dtype) for _ in range(2))
        y, backward = ours.forward(3 * x + 1, train=train)
        tx = to_torch(torch, 3 * x + 1).requires_grad_()
        ty = other(tx)
        np.testing.assert_allclose(y, to_numpy(ty), **close)
        ty.backward(to_torch(torch, dy))
        np.testing.assert_allclose(backward(dy), to_numpy(tx.grad), **close)
        if affine:
            np.testing.assert_allclose(ours.gamma.grad, other.weight.grad.numpy(), **close)
            np.testing.assert_allclose(ours.beta.grad, other.bias.grad.numpy(), **close)
            other.zero_grad()
        np.testing.assert_allclose(ours.running_mean.value, other.running_mean.numpy(), **close)
        np.testing.assert_allclose(ours.running_var.value, other.running_var.numpy(), **close)


@both_types
@pytest.mark.parametrize(("sizes", "shape"), [(6, (5, 6)), ((3, 6), (5, 2, 3, 6)), ((4, 3, 6), (5, 4, 3, 6))])
def test_layer_norm_equals_pytorch(sizes, shape, dtype, normal):
    torch = pytest.importorskip("torch")
    ours = stirred(fn.LayerNorm(sizes, dtype=dtype), normal)
    other = torch.nn.LayerNorm(sizes, dtype=getattr(torch, np.dtype(dtype).name))
    other.weight.data, other.bias.data = (torch.from_numpy(p.value.copy()) for p in ours.parameters())
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    x, dy = (normal(*shape).astype(dtype) for _ in range(2))
    y, backward = ours.forward(x, train=True)
    tx = torch.from_numpy(x).requires_grad_()
    ty = other(tx)
    np.testing.assert_allclose(y, ty.detach().numpy(), **close)
    ty.backward(torch.from_numpy(dy))
    np.testing.assert_allclose(backward(dy), tx.grad.numpy(), **close)
    for param, grad in zip(ours.parameters(), (other.weight.grad, other.bias.grad), strict=True):
        np.testing.assert_allclose(param.grad, grad.numpy(), **close)


@every_batch_norm
def test_initial_parameters_and_running_statistics(make, shape, normal):
    layer = make()
    assert [name for name, _ in layer.named_parameters()] == ["gamma", "beta"]
    assert [name for name, _ in layer.named_buffers()] == ["running_mean", "running_var"]
    values = [held.value.tolist() for held in (*layer.parameters(), *layer.buffers())]
    assert values == [[1] * 4, [0] * 4, [0] * 4, [1] * 4]
    x = normal(*shape).astype(np.float32)
    np.testing.assert_allclose(layer.forward(x)[0], x, 1e-4)


@every_batch_norm
def test_training_output_is_normalised(make, shape, normal):
    y, _ = make(dtype=np.float64, epsilon=0).forward(5 * normal(*shape) - 3, train=True)
    rows = y.reshape(-1, 4)
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(rows.std(axis=0), 1, 1e-12)


@every_batch_norm
def test_evaluation_changes_nothing(make, shape, normal):
    layer = stirred(make(dtype=np.float64), normal)
    before = [state.tobytes() for state in layer.states()]
    y, backward = layer.forward(normal(*shape))
    backward(y)
    assert [state.tobytes() for state in layer.states()] == before


@every_batch_norm
def test_evaluation_of_a_row_does_not_depend_on_the_batch(make, shape, normal):
    layer = stirred(make(), normal)
    x = normal(*shape).astype(np.float32)
    together = layer.predict(x)
    for row in range(len(x)):
        assert layer.predict(x[row : row + 1]).tobytes() == together[row].tobytes()


@pytest.mark.parametrize("momentum", [0, 1])
def test_momentum_0_and_1(momentum, normal):
    layer = fn.BatchNorm1d(3, momentum=momentum, dtype=np.float64)
    x = normal(8, 3)
    layer.forward(x, train=True)
    expected = (x.mean(axis=0), x.var(axis=0, ddof=1)) if momentum else (np.zeros(3), np.ones(3))
    for buffer, value in zip(layer.buffers(), expected, strict=True):
        np.testing.assert_allclose(buffer.value, value, 1e-12, 1e-15)


def test_training_on_one_value_per_channel_raises_and_changes_nothing(normal, unchanged):
    for layer, shape in ((fn.BatchNorm1d(3), (1, 3)), (fn.BatchNorm2d(3), (1, 1, 1, 3))):
        x = normal(*shape).astype(np.float32)
        words = "needs more than one value per channel, got 1"
        with unchanged(layer), pytest.raises(ValueError, match=words):
            layer.forward(x, train=True)
        assert np.isfinite(layer.forward(x)[0]).all()
        model = fn.Sequential(fn.Dropout(0.5), layer, fn.Flatten(), fn.Linear(3, 2))
        for plan in (True, False):
            trainer = fn.Trainer(model, seed=0, plan=plan)
            with unchanged(model), pytest.raises(ValueError, match=words):
                trainer.step(x, [0])
    fn.BatchNorm2d(3).forward(normal(1, 1, 2, 3).astype(np.float32), train=True)


REFUSED = [
    (fn.BatchNorm1d, {"channels": 0}, "features must be an integer of at least 1"),
    (fn.BatchNorm2d, {"channels": 2.0}, "channels must be an integer of at least 1"),
    (fn.BatchNorm2d, {"channels": 3, "epsilon": -1}, "epsilon"),
    (fn.BatchNorm2d, {"channels": 3, "momentum": 1.5}, "momentum"),
    (fn.BatchNorm2d, {"channels": 3, "dtype": np.float16}, "float16"),
    (fn.LayerNorm, {"shape": 0}, "shape must be an integer of at least 1"),
    (fn.LayerNorm, {"shape": ()}, "at least one axis"),
    (fn.LayerNorm, {"shape": 3, "epsilon": float("nan")}, "epsilon"),
]


@pytest.mark.parametrize(("kind", "options", "words"), REFUSED)
def test_invalid_arguments_are_rejected(kind, options, words):
    with pytest.raises(ValueError, match=words):
        kind(**options)


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (fn.BatchNorm1d(3), (4,), r"BatchNorm1d\(3\) expects samples of shape \(3 features\), got \(4,\)"),
        (fn.BatchNorm1d(3), (3, 2), r"got \(3, 2\)"),
        (fn.BatchNorm2d(3), (3,), r"expects samples of shape \(height, width, 3 channels\), got \(3,\)"),
        (fn.BatchNorm2d(3), (5, 5, 4), r"got \(5, 5, 4\)"),
        (fn.LayerNorm(3), (4,), r"LayerNorm\(3\) expects samples whose last axes are \(3,\), got \(4,\)"),
        (fn.LayerNorm((2, 3)), (3,), r"last axes are \(2, 3\), got \(3,\)"),
    ],
)
def test_samples_that_do_not_fit_are_rejected(layer, shape, words):
    with pytest.raises(ValueError, match=words):
        layer.output_shape(shape)
    for train in (False, True):
        with pytest.raises(ValueError, match=words):
            layer.forward(np.zeros((2, *shape), np.float32), train=train)


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (fn.BatchNorm1d(3), "BatchNorm1d(3)"),
        (fn.BatchNorm2d(3, 1e-3, 0.2, False), "BatchNorm2d(3, epsilon=0.001, momentum=0.2, affine=False)"),
        (fn.LayerNorm(3), "LayerNorm(3)"),
        (fn.LayerNorm((2, 3), 1e-3, affine=False), "LayerNorm((2, 3), epsilon=0.001, affine=False)"),
    ],
)
def test_repr_recreates_the_layer(layer, shown):
    assert repr(layer) == shown
    assert repr(eval(f"fn.{shown}", {"fn": fn})) == shown


# --- parameters and buffers ---


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_have_their_own_running_statistics(again, normal):
    model = stirred(fn.Sequential(fn.BatchNorm1d(3), fn.Sequential(fn.BatchNorm1d(3))), normal)
    twin = again(model)
    values = [buffer.value.tobytes() for buffer in model.buffers()]
    assert [buffer.value.tobytes() for buffer in twin.buffers()] == values
    twin.forward(normal(5, 3).astype(np.float32), train=True)
    assert [buffer.value.tobytes() for buffer in model.buffers()] == values


def test_to_converts_the_running_statistics(normal):
    model = stirred(fn.Sequential(fn.BatchNorm1d(3, affine=False)), normal)
    before = [buffer.value for buffer in model.buffers()]
    assert model.dtype == np.float32
    assert model.to(np.float64).dtype == np.float64
    for buffer, value in zip(model.buffers(), before, strict=True):
        assert buffer.dtype == np.float64
        np.testing.assert_array_equal(buffer.value, value)
    model[0].running_var.to(np.float32)
    with pytest.raises(ValueError, match="mix float32 and float64"):
        _ = model.dtype


def test_buffers_are_checked_and_read_only():
    layer = fn.BatchNorm1d(3)
    with pytest.raises(ValueError, match=r"buffer 'running_mean' must have shape \(3,\), got \(4,\)"):
        layer.running_mean.value = np.zeros(4)
    with pytest.raises(TypeError, match="real numbers"):
        layer.running_mean.value = ["a", "b", "c"]
    with pytest.raises(ValueError, match="read-only"):
        layer.running_mean.value[0] = 1
    assert repr(layer.running_mean) == "Buffer('running_mean', shape=(3,), float32)"


def test_summary_counts_running_statistics_as_fixed():
    model = fn.Sequential(fn.BatchNorm2d(7), fn.BatchNorm2d(7, affine=False))
    rows = [line.split()[-3:-1] for line in model.summary((5, 5, 7)).splitlines()]
    assert rows[2] == ["14", "14"]
    assert rows[3] == ["0", "14"]
    assert rows[-1] == ["14", "28"]


def test_parameter_and_buffer_names_in_a_model():
    model = fn.Sequential(fn.Linear(2, 3), fn.BatchNorm1d(3), fn.Sequential(fn.BatchNorm1d(3)))
    names = [name for name, _ in model.named_buffers()]
    assert names == ["1.running_mean", "1.running_var", "2.0.running_mean", "2.0.running_var"]
    assert [buffer.name for buffer in model.buffers()] == names
