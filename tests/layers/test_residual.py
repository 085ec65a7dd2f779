"""The residual layer: shapes, gradients, frozen layers, names, argument checks, comparison with PyTorch."""

import numpy as np
import pytest

import fastnn as fn


class Doubled(fn.Layer):
    """A user-defined layer, y = 2 x, that counts its backward passes."""

    def __init__(self):
        self.calls = 0

    def forward(self, x, *, train=False):
        def backward(dy, *, need_dx=True):
            self.calls += 1
            return 2 * dy if need_dx else None

        return 2 * x, backward


def dense_branch(dtype=np.float64):
    return fn.Sequential(fn.Linear(4, 6), fn.Tanh(), fn.Linear(6, 4)).to(dtype)


def block(dtype=np.float64):
    """A ResNet block that halves the image: two 3x3 convolutions, and a 1x1 convolution as the shortcut."""
    branch = fn.Sequential(fn.Conv2d(2, 3, 3, stride=2, padding=1), fn.Tanh(), fn.Conv2d(3, 3, 3, padding=1))
    return fn.Residual(branch, fn.Conv2d(2, 3, 1, stride=2, bias=False)).to(dtype)


LAYERS = {
    "identity beside": lambda: fn.Residual(dense_branch()),
    "projection beside": lambda: fn.Residual(dense_branch(), fn.Linear(4, 4, bias=False, dtype=np.float64)),
    "nothing to train": lambda: fn.Residual(fn.Tanh(), fn.Sigmoid()),
    "shortcut alone": lambda: fn.Residual(fn.Tanh(), fn.Linear(4, 4, dtype=np.float64)),
    "nested": lambda: fn.Residual(fn.Sequential(fn.Residual(dense_branch()), fn.Tanh())),
    "the same way twice": lambda: fn.Residual(fn.Identity()),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_gradients_equal_finite_differences(layer, check_gradients, normal):
    check_gradients(LAYERS[layer](), normal(5, 4))


def test_gradients_of_a_resnet_block_equal_finite_differences(check_gradients, normal):
    check_gradients(block(), normal(2, 5, 6, 2))


def test_gradients_with_dropout_in_training(check_gradients, normal):
    layer = fn.Residual(fn.Sequential(fn.Linear(4, 4, dtype=np.float64), fn.Dropout(0.4)))
    check_gradients(layer, normal(5, 4), train=True)


def test_gradcheck_passes(normal):
    model = fn.Sequential(fn.Residual(dense_branch()), fn.ReLU(), fn.Linear(4, 3, dtype=np.float64))
    assert fn.gradcheck(model, (normal(5, 4), np.arange(5) % 3)) < 1e-7


def test_output_is_branch_plus_shortcut(normal):
    layer, x = fn.Residual(dense_branch()), normal(5, 4)
    np.testing.assert_array_equal(layer.predict(x), layer.branch.predict(x) + x)
    assert layer.predict(x).dtype == np.float64


def test_input_and_gradient_are_not_modified(normal):
    layer, x, dy = fn.Residual(fn.Identity(), fn.Identity()), normal(5, 4), normal(5, 4)
    kept_x, kept_dy = x.copy(), dy.copy()
    y, backward = layer.forward(x)
    np.testing.assert_array_equal(y, 2 * kept_x)
    np.testing.assert_array_equal(backward(dy), 2 * kept_dy)
    np.testing.assert_array_equal(x, kept_x)
    np.testing.assert_array_equal(dy, kept_dy)


def test_values_and_gradients_equal_pytorch(normal):
    torch = pytest.importorskip("torch")
    ours = block()
    theirs = {
        name: torch.nn.Conv2d(*sizes, dtype=torch.float64, **options)
        for name, sizes, options in (
            ("branch.0", (2, 3, 3), {"stride": 2, "padding": 1}),
            ("branch.2", (3, 3, 3), {"padding": 1}),
            ("shortcut", (2, 3, 1), {"stride": 2, "bias": False}),
        )
    }
    params = dict(ours.named_parameters())
    for name, conv in theirs.items():
        weight = params[f"{name}.weight"].value
        conv.weight.data = torch.from_numpy(weight.transpose(3, 2, 0, 1).copy())
        if conv.bias is not None:
            conv.bias.data = torch.from_numpy(params[f"{name}.bias"].value.copy())
    x = normal(2, 5, 6, 2)
    tx = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
    ty = theirs["branch.2"](torch.tanh(theirs["branch.0"](tx))) + theirs["shortcut"](tx)
    y, backward = ours.forward(x)
    np.testing.assert_allclose(y, ty.detach().numpy().transpose(0, 2, 3, 1), 1e-12, 1e-12)
    dy = normal(*y.shape)
    ty.backward(torch.from_numpy(dy.transpose(0, 3, 1, 2).copy()))
    np.testing.assert_allclose(backward(dy), tx.grad.numpy().transpose(0, 2, 3, 1), 1e-12, 1e-12)
    for name, conv in theirs.items():
        gradient = conv.weight.grad.numpy().transpose(2, 3, 1, 0)
        np.testing.assert_allclose(params[f"{name}.weight"].grad, gradient, 1e-12, 1e-12)


# --- unnecessary work is skipped ---

# The kernels of the backward pass of Residual(dense_branch(), Linear) without dx, by the frozen layers.
ALL = ["dense_db"] * 3 + ["dense_dw"] * 3
CALLS = {
    (): [*ALL, "dense_dx", "tanh_dx"],
    ("branch",): ["dense_db", "dense_dw"],
    ("shortcut",): ["dense_db"] * 2 + ["dense_dw"] * 2 + ["dense_dx", "tanh_dx"],
    ("branch", "shortcut"): [],
}


@pytest.mark.parametrize("need_dx", [True, False])
@pytest.mark.parametrize("frozen", CALLS, ids=str)
def test_backward_runs_only_the_kernels_it_needs(frozen, need_dx, normal, kernel_calls):
    layer = fn.Residual(dense_branch(), fn.Linear(4, 4, dtype=np.float64))
    for name in frozen:
        getattr(layer, name).set_lr_scale(0)
    y, backward = layer.forward(normal(5, 4), train=True)
    kernel_calls.clear()
    dx = backward(y, need_dx=need_dx)
    assert (dx is not None) is need_dx
    gradients = [call for call in CALLS[frozen] if call in ("dense_dw", "dense_db")]
    wanted = [*gradients, "add", "dense_dx", "dense_dx", "dense_dx", "tanh_dx"] if need_dx else CALLS[frozen]
    assert sorted(kernel_calls) == sorted(wanted)
    for name, param in layer.named_parameters():
        assert (param.grad is None) is (name.split(".")[0] in frozen)


def test_backward_skips_a_path_without_trainable_parameters(normal):
    own = Doubled()
    layer = fn.Residual(fn.Linear(4, 4, dtype=np.float64), own)
    _, backward = layer.forward(normal(5, 4), train=True)
    assert backward(normal(5, 4), need_dx=False) is None
    assert own.calls == 0
    assert backward(normal(5, 4)) is not None
    assert own.calls == 1


def test_user_defined_layer_inside_trains(blobs):
    model = fn.Sequential(fn.Linear(6, 8), fn.Residual(Doubled(), fn.Linear(8, 8)), fn.Linear(8, 3))
    history = fn.fit(model, blobs, optimizer=fn.SGD(lr=0.05), epochs=10, seed=0)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


# --- parameters, buffers and random states ---


def test_names_of_parameters():
    model = fn.Sequential(fn.Flatten(), fn.Tanh(), fn.Residual(dense_branch(), fn.Linear(4, 4, bias=False)))
    names = [
        "2.branch.0.weight",
        "2.branch.0.bias",
        "2.branch.2.weight",
        "2.branch.2.bias",
        "2.shortcut.weight",
    ]
    assert [name for name, _ in model.named_parameters()] == names
    assert [param.name for param in model.parameters()] == names
    assert [param.name for param in fn.Residual(fn.Linear(4, 4)).parameters()] == [
        "branch.weight",
        "branch.bias",
    ]


def test_names_of_buffers():
    block = fn.Residual(fn.Sequential(fn.Linear(4, 4), fn.BatchNorm1d(4)))
    names = [f"0.branch.1.{name}" for name in ("running_mean", "running_var")]
    assert set(names) <= {name for name, _ in fn.Sequential(block).named_buffers()}
    assert {buffer.name for buffer in block.buffers()} >= set(names)


def test_weights_are_saved_and_loaded(tmp_path, normal):
    first, second = (fn.Sequential(fn.Residual(dense_branch(np.float32))) for _ in range(2))
    x = normal(5, 4).astype(np.float32)
    assert (first.predict(x) != second.predict(x)).any()
    fn.save(first, tmp_path / "weights.safetensors")
    fn.load(second, tmp_path / "weights.safetensors")
    assert first.predict(x).tobytes() == second.predict(x).tobytes()


def test_random_states_of_branch_and_shortcut():
    dropouts = [fn.Dropout(0.1), fn.Dropout(0.2), fn.Dropout(0.3)]
    layer = fn.Residual(fn.Sequential(*dropouts[:2]), dropouts[2])
    states = list(fn.Sequential(layer).random_states())
    assert [id(state) for state in states] == [id(dropout.state) for dropout in dropouts]


def test_shapes_flop_and_repr():
    layer = fn.Residual(dense_branch(np.float32))
    assert layer.input_shape == (4,) == fn.Residual(fn.Tanh(), fn.Linear(4, 4)).input_shape
    assert fn.Residual(fn.Tanh()).input_shape is None
    assert layer.output_shape((4,)) == (4,)
    assert layer.flop((4,)) == (2 * 24 + 6) + 6 + (2 * 24 + 4) + 4
    assert block().output_shape((5, 6, 2)) == (3, 3, 3)
    assert block().flop((5, 6, 2)) == 9 * (2 * 54 + 3) + 27 + 9 * (2 * 81 + 3) + 9 * 2 * 6 + 27
    assert repr(layer) == "Residual(Sequential(Linear(4, 6), Tanh(), Linear(6, 4)))"
    assert repr(fn.Residual(fn.Tanh(), fn.Linear(4, 4))) == "Residual(Tanh(), Linear(4, 4))"


# --- argument checks ---


@pytest.mark.parametrize(
    ("layer", "shape", "words"),
    [
        (
            lambda: fn.Residual(fn.Linear(4, 3)),
            (4,),
            r"^for samples of shape \(4,\) the branch returns .*\(3,\), .* shortcut \(4,\): pass a shortcut",
        ),
        # NumPy would broadcast the sum to (4, 4, 3) silently.
        (
            lambda: fn.Residual(fn.Conv2d(3, 1, 3, padding=1)),
            (4, 4, 3),
            r"returns shape \(4, 4, 1\), but the shortcut",
        ),
        (lambda: fn.Residual(fn.Conv2d(1, 1, 3, padding=1)), (4, 4), r"shape \(4, 4, 1\), but .* \(4, 4\)"),
        (
            lambda: fn.Residual(dense_branch()),
            (5,),
            r"^branch: layer 0: Linear\(4, 6.*\) expects samples of",
        ),
        (
            lambda: fn.Residual(fn.Tanh(), fn.Linear(4, 4)),
            (5,),
            r"^shortcut: Linear\(4, 4\) expects samples of",
        ),
    ],
)
def test_branch_and_shortcut_of_different_shapes_are_rejected(layer, shape, words, normal):
    with pytest.raises(ValueError, match=words):
        layer().output_shape(shape)
    with pytest.raises(ValueError, match=words):
        layer().flop(shape)
    x = normal(2, *shape).astype(np.float32)
    with pytest.raises(ValueError, match=words):
        layer().predict(x)
    with pytest.raises(ValueError, match=words):
        layer().to(np.float32).forward(x)


def test_parameter_shared_by_branch_and_shortcut_is_rejected():
    layer = fn.Linear(4, 4)
    with pytest.raises(
        ValueError, match=r"parameter 'shortcut.weight' is the same object as 'branch.weight'"
    ):
        fn.Residual(layer, layer)
    with pytest.raises(ValueError, match=r"parameter '1.weight' is the same object as '0.branch.weight'"):
        fn.Sequential(fn.Residual(layer), layer)


@pytest.mark.parametrize("wrong", ["relu", [fn.ReLU()], fn.ReLU], ids=repr)
def test_non_layers_are_rejected(wrong):
    for ways in ((wrong,), (fn.Tanh(), wrong)):
        with pytest.raises(TypeError, match=r"Residual takes layers, not"):
            fn.Residual(*ways)
    with pytest.raises(TypeError, match="Residual takes layers, not None"):
        fn.Residual(None)
