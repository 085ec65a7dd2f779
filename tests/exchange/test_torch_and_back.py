"""Every layer and net goes to PyTorch and comes back: the same outputs and the same gradients."""

import numpy as np
import pytest

import fastnn as fn

from .cases import CASES, model_of, samples

torch = pytest.importorskip("torch")

# AlexNet's sums have up to 9,216 terms.
DEEP = {"nets.alexnet"}


# Models of samples of two axes that the module takes, or returns, as (N, L, C), as here.
TAKES_ROWS = {"nets.mlp", "LayerNorm, sequences", "Flatten, rows", "Embedding, rows"}
RETURNS_ROWS = {"LayerNorm, sequences", "Embedding, rows"}


def to_batch(x, *, stays=False):
    """A batch for PyTorch: the channels of images and sequences come first, unless it stays."""
    return torch.from_numpy(x if x.ndim < 3 or stays else np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def to_array(y, *, stays=False):
    y = y.detach().numpy()
    return y if y.ndim < 3 or stays else np.moveaxis(y, 1, -1)


def assert_close(got, wanted, tolerance=1e-5):
    assert got.shape == wanted.shape
    scale = max(np.abs(wanted).max(), 1e-2)  # the gradient of a bias before a batch norm is 0
    assert np.abs(got - wanted).max() <= tolerance * scale


@pytest.mark.parametrize("name", CASES)
def test_module_and_model_return_the_same_outputs(name):
    model, shape = model_of(name)
    x = samples(shape, model=model)
    wanted = model.predict(x)
    module = fn.to_torch(model, input_shape=shape)
    batch = to_batch(x, stays=name in TAKES_ROWS)
    assert_close(to_array(module(batch), stays=name in RETURNS_ROWS), wanted)
    back = fn.from_torch(module, batch[:1])
    assert_close(back.predict(x), wanted)
    assert sum(p.size for p in back.parameters()) == sum(p.size for p in model.parameters())


@pytest.mark.parametrize("name", [name for name in CASES if name not in DEEP | {"Dropout"}])
@pytest.mark.parametrize("train", [False, True])
def test_all_gradients_are_those_of_pytorch(name, train):
    """The gradients of sum(y w) for the input and all parameters, in float64."""
    model, shape = model_of(name, np.float64)
    x = samples(shape, dtype=np.float64, model=model)
    has_dx = model.index_limit is None
    module = fn.to_torch(model, input_shape=shape).train(train)
    y, backward = model.forward(x.astype(np.float64), train=train)
    weights = np.random.default_rng(2).standard_normal(y.shape)
    dx = backward(weights, need_dx=has_dx)

    stays, returns = name in TAKES_ROWS, name in RETURNS_ROWS
    batch = to_batch(x, stays=stays).requires_grad_(has_dx)
    outputs = module(batch)
    (outputs * to_batch(weights, stays=returns)).sum().backward()
    assert_close(to_array(outputs, stays=returns), y, 1e-10)
    if has_dx:
        assert_close(to_array(batch.grad, stays=stays), dx, 1e-10)
    # A module that has the gradients as its parameters becomes a model that has them in fastnn's layout.
    with torch.no_grad():
        for param in module.parameters():
            param.copy_(param.grad)
    gradients = fn.from_torch(module, batch).parameters()
    assert len(gradients) == len(model.parameters())
    for gradient, param in zip(gradients, model.parameters(), strict=True):
        assert_close(gradient.value, param.grad, 1e-9)


def test_training_updates_running_statistics_as_pytorch_does():
    model, shape = model_of("BatchNorm2d")
    x = samples(shape)
    module = fn.to_torch(model).train()
    module(to_batch(x))
    model.forward(x, train=True)
    back = fn.from_torch(module, to_batch(x))
    for got, wanted in zip(back.buffers(), model.buffers(), strict=True):
        assert_close(got.value, wanted.value)


def test_frozen_parameters_stay_frozen_in_both_directions():
    model = fn.Sequential(fn.Linear(4, 3), fn.ReLU(), fn.Linear(3, 2))
    model[0].trainable = False
    module = fn.to_torch(model)
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]
    assert [p.trainable for p in fn.from_torch(module, np.zeros((1, 4))).parameters()] == [
        *(False, False),
        *(True, True),
    ]


def test_conversion_leaves_the_model_and_the_generator_of_pytorch_alone():
    model, shape = model_of("Flatten, norms")
    before = [held.value for held in (*model.parameters(), *model.buffers())]
    state = torch.get_rng_state()
    fn.from_torch(fn.to_torch(model, input_shape=shape), to_batch(samples(shape)))
    assert torch.equal(torch.get_rng_state(), state)
    after = [held.value for held in (*model.parameters(), *model.buffers())]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_converted_model_trains_on(blobs):
    x, _ = blobs
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    )
    model = fn.from_torch(module, x)
    history = fn.fit(model, blobs, epochs=20, seed=0)
    assert history["accuracy"][-1] > 0.9
    trained = fn.to_torch(model)
    assert_close(to_array(trained(to_batch(x))), model.predict(x))


def test_steps_of_sgd_are_those_of_pytorch(blobs):
    """The same losses in both libraries, step after step: outputs, gradients and updates agree."""
    x, y = blobs
    model = fn.Sequential(fn.Linear(6, 8), fn.Tanh(), fn.Linear(8, 3)).to(np.float64)
    module = fn.to_torch(model).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    trainer = fn.Trainer(model, loss="cross_entropy", optimizer=fn.SGD(lr=0.1, momentum=0.9))
    batch, target = torch.from_numpy(x).double(), torch.from_numpy(y)
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(module(batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert trainer.step(x, y) == pytest.approx(loss.item(), rel=1e-10)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: fn.elementwise(lambda x: x, lambda x, dy: dy), r"layer 1.*Elementwise.*supported are"),
        (lambda: Own(), r"layer 1, Own\(\), has no counterpart in PyTorch"),
        (lambda: fn.Sequential(fn.Residual(Own())), r"layer 1\.0\.branch, Own\(\)"),
    ],
)
def test_layers_without_a_counterpart_are_named(model, message):
    with pytest.raises(fn.ConversionError, match=message):
        fn.to_torch(fn.Sequential(fn.Linear(3, 3), model()))


class Own(fn.Layer):
    def forward(self, x, *, train=False):
        return x, lambda dy, *, need_dx=True: dy


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fn.Conv2d(1, 2, 3), fn.Flatten()], "ends with a flattened image"),
        ([fn.LayerNorm(3)], "pass input_shape"),
        ([fn.MaxPool2d(2), fn.Flatten(), fn.Linear(12, 2)], "how many channels"),
        ([fn.BatchNorm1d(3), fn.Flatten(), fn.Linear(15, 2)], "how many channels"),
        ([fn.Reshape(2, 2, 3), fn.Conv2d(3, 1, 2)], "must come from a Linear"),
        ([fn.Conv2d(1, 2, 1), fn.Reshape(2, -1)], "flatten them first"),
        ([fn.Conv2d(1, 4, 1), fn.Flatten(), fn.Reshape(4, 2, 2)], "must come from a Linear"),
        ([fn.Conv2d(1, 4, 1), fn.Flatten(), fn.Residual(fn.Linear(16, 16)), fn.Linear(16, 1)], "orders"),
    ],
)
def test_models_whose_order_of_features_has_no_module_are_refused(layers, message):
    with pytest.raises(fn.ConversionError, match=message):
        fn.to_torch(fn.Sequential(*layers))


def test_shape_of_the_images_is_that_of_the_first_training():
    x = samples((4, 3, 2), 20)
    model = fn.Sequential(fn.Flatten(), fn.Linear(24, 3))
    fn.fit(model, (x, np.arange(20) % 3), epochs=1, seed=0, progress=False)
    assert_close(to_array(fn.to_torch(model)(to_batch(x))), model.predict(x))
    rest = fn.Sequential(fn.ReLU(), model[1])  # behind another Flatten
    rows = samples((24,))
    assert_close(to_array(fn.to_torch(rest)(to_batch(rows))), rest.predict(rows))


@pytest.mark.parametrize("layer", [fn.Conv2d(1, 2, 3), fn.BatchNorm2d(1), fn.MaxPool2d(2)], ids=repr)
def test_images_without_channels_are_refused(layer):
    with pytest.raises(fn.ConversionError, match=r"pass input_shape=\(8, 8, 1\)"):
        fn.to_torch(fn.Sequential(fn.Conv2d(1, 1, 1), layer), input_shape=(8, 8))


def test_shape_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expects samples of shape"):
        fn.to_torch(fn.Sequential(fn.Linear(3, 2)), input_shape=(4,))
    with pytest.raises(TypeError, match="takes layers"):
        fn.to_torch(torch.nn.Linear(3, 2))


@pytest.mark.parametrize(
    "layer", [fn.Conv2d(1, 2, 3, stride=2, padding="same"), fn.MaxPool2d(2, padding="same")], ids=repr
)
def test_padding_that_depends_on_an_unknown_image_is_refused(layer):
    with pytest.raises(fn.ConversionError, match=r'the padding "same" of .* pass input_shape'):
        fn.to_torch(fn.Sequential(layer))
