"""Optimizers: steps against PyTorch, optimizer state, invalid arguments.

`python tests/optim/test_optimizers.py` prints the golden numbers below; it needs PyTorch.
"""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import ops

# Six steps of a linear map from 3 features to 1 output, on two samples, at these learning rates.
X = np.array([[1.0, -2.0, 0.5], [0.25, 1.5, -1.0]])
Y = np.array([[1.0], [-0.5]])
START = np.array([[0.5], [-0.25], [2.0]])
RATES = [0.1, 0.1, 0.05, 0.05, 0.2, 0.2]

CASES = {
    "plain": (fn.SGD, {}),
    "decay": (fn.SGD, {"weight_decay": 0.1}),
    "momentum": (fn.SGD, {"momentum": 0.9}),
    "momentum, decay": (fn.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "nesterov": (fn.SGD, {"momentum": 0.9, "nesterov": True}),
    "nesterov, decay": (fn.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (fn.Adam, {}),
    "adam, decay": (fn.Adam, {"weight_decay": 0.1}),
    "adam, betas": (fn.Adam, {"betas": (0.5, 0.75)}),
    "adam, eps": (fn.Adam, {"eps": 0.5}),
    "adamw": (fn.AdamW, {}),
    "adamw, decay": (fn.AdamW, {"weight_decay": 0.3, "betas": (0.5, 0.75)}),
    "rmsprop": (fn.RMSprop, {}),
    "rmsprop, momentum": (fn.RMSprop, {"alpha": 0.9, "momentum": 0.5, "weight_decay": 0.1}),
    "rmsprop, centered": (fn.RMSprop, {"alpha": 0.8, "centered": True, "momentum": 0.9, "eps": 1e-3}),
}
# The weights after the six steps: PyTorch 2.13.0 in float64.
GOLDEN = {
    "plain": [0.6963238342283369, 0.35173993158614636, 1.538818892090082],
    "decay": [0.660587303111656, 0.3078772942914836, 1.4379194287715524],
    "momentum": [1.5672578852780463, -0.176841727508664, 1.2918122934248448],
    "momentum, decay": [1.4320667865917232, -0.3352853500347745, 0.9722801445235465],
    "nesterov": [1.3084896602770972, 0.6527797412862161, 0.986880357853318],
    "nesterov, decay": [1.1124733417370303, 0.4701156935776834, 0.6354923201413334],
    "adam": [0.27510129444724746, 0.3740166007874006, 1.3479796598915508],
    "adam, decay": [0.23827558454076975, 0.37236124937433446, 1.3426275487930481],
    "adam, betas": [0.5369843146880303, 0.3103782938451069, 1.3953158621262653],
    "adam, eps": [0.31612018969709726, 0.31953382113930817, 1.4782957503503649],
    "adamw": [0.27573854097198525, 0.37294594180914653, 1.336550488731107],
    "adamw, decay": [0.5396559850910212, 0.2559943868499129, 1.0981426319008105],
    "rmsprop": [0.9245676399866877, 0.14916426377453834, 1.1445798063151715],
    "rmsprop, momentum": [1.1292573785158637, 0.2004945306379518, 0.9813182134043249],
    "rmsprop, centered": [1.9578945711644054, 0.22184145417738516, 0.8837052996853766],
}


def pytorch(case):
    """The weights after six steps of the torch.optim optimizer of the same name."""
    import torch

    kind, options = CASES[case]
    weight = torch.tensor(START, requires_grad=True)
    optimizer = getattr(torch.optim, kind.__name__)([weight], lr=RATES[0], **options)
    for rate in RATES:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        (((torch.tensor(X) @ weight - torch.tensor(Y)) ** 2).sum() / 2).backward()
        optimizer.step()
    return weight.detach().numpy()


@pytest.fixture
def trained():
    """A function (case, dtype) -> the weights after six steps."""

    def train(case, dtype=np.float64):
        kind, options = CASES[case]
        model = fn.Linear(3, 1, bias=False, dtype=dtype)
        model.weight.value = START
        optimizer = kind(lr=RATES[0], **options)
        trainer = fn.Trainer(model, loss=fn.SquaredError("sum"), optimizer=optimizer)
        for optimizer.lr in RATES:
            trainer.step(X, Y)
        return model.weight.value

    return train


@pytest.fixture
def optimizers():
    """Functions that make the optimizers that have a state."""
    return {
        "momentum": lambda: fn.SGD(lr=0.1, momentum=0.9),
        "nesterov": lambda: fn.SGD(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        "adam": lambda: fn.Adam(lr=0.01, weight_decay=0.01),
    }


with_memory = pytest.mark.parametrize("name", ["momentum", "nesterov", "adam"])


@pytest.mark.parametrize("case", CASES)
def test_steps_match_stored_pytorch_weights(case, trained):
    np.testing.assert_allclose(trained(case).ravel(), GOLDEN[case], rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_steps_match_the_installed_pytorch(case, trained):
    pytest.importorskip("torch")
    np.testing.assert_allclose(trained(case), pytorch(case), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_float32_stays_close_to_float64(case, trained):
    np.testing.assert_allclose(trained(case, np.float32), trained(case), rtol=1e-5)


@with_memory
def test_second_fit_continues_with_the_optimizer_state(name, optimizers, make_model, blobs):
    def train(*epochs, forget=False):
        model, optimizer = make_model(), optimizers[name]()
        for count in epochs:
            fn.fit(model, blobs, optimizer=optimizer, epochs=count, shuffle=False, seed=0)
            optimizer = optimizers[name]() if forget else optimizer
        return model.predict(blobs[0])

    np.testing.assert_array_equal(train(2, 3), train(5))
    assert (train(2, 3, forget=True) != train(5)).any()


@pytest.mark.parametrize(
    "clone", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["deepcopy", "pickle"]
)
@with_memory
def test_copy_of_model_and_optimizer_continues_exactly(name, clone, optimizers, make_model, blobs, snapshot):
    model, optimizer = make_model(rate=0.5), optimizers[name]()
    fn.fit(model, blobs, optimizer=optimizer, epochs=2, seed=0)
    twins = clone((model, optimizer))
    assert snapshot(*twins) == snapshot(model, optimizer)

    before = snapshot(*twins)
    losses = fn.fit(model, blobs, optimizer=optimizer, epochs=2, seed=1).updates["loss"]
    assert snapshot(*twins) == before, "training the original changed the copy"

    assert fn.fit(twins[0], blobs, optimizer=twins[1], epochs=2, seed=1).updates["loss"] == losses
    assert snapshot(*twins) == snapshot(model, optimizer)


@with_memory
def test_one_optimizer_keeps_the_states_of_two_models_apart(name, optimizers, make_model, blobs):
    def train(optimizer, model):
        fn.fit(model, blobs, optimizer=optimizer, epochs=2, seed=0)
        return model.predict(blobs[0])

    shared = optimizers[name]()
    for seed in (1, 2):
        expected = train(optimizers[name](), make_model(seed=seed))
        np.testing.assert_array_equal(train(shared, make_model(seed=seed)), expected)


def test_optimizer_does_not_keep_a_dropped_model_alive(make_model, blobs):
    optimizer, model = fn.Adam(), make_model()
    fn.fit(model, blobs, optimizer=optimizer, seed=0)
    weight = weakref.ref(model[0].weight)
    assert optimizer.state(weight()).steps == 2
    del model
    gc.collect()
    assert weight() is None


@with_memory
def test_optimizer_state_follows_the_model_to_another_dtype(name, optimizers, make_model, blobs):
    histories = []
    for convert in (True, False):
        model, optimizer = make_model(), optimizers[name]()
        fn.fit(model, blobs, optimizer=optimizer, epochs=2, seed=0)
        model.to(np.float64 if convert else np.float32)
        histories.append(fn.fit(model, blobs, optimizer=optimizer, epochs=2, seed=0)["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-4)
    assert histories[0] != histories[1]


@with_memory
def test_frozen_parameter_keeps_value_and_state(name, optimizers, make_model, blobs):
    model, optimizer = make_model(), optimizers[name]()
    trainer = fn.Trainer(model, optimizer=optimizer)
    trainer.step(*blobs)
    weight = model[0].weight
    weight.trainable = False
    value, memory = weight.value, copy.deepcopy(optimizer.state(weight))
    trainer.step(*blobs)
    np.testing.assert_array_equal(weight.value, value)
    assert optimizer.state(weight).steps == memory.steps == 1
    for key, array in optimizer.state(weight).items():
        np.testing.assert_array_equal(array, memory[key])


def test_parameter_without_a_gradient_does_not_change():
    """An optimizer must not use memory that no backward pass has written."""
    param = fn.Param(np.ones(3))
    param.grad_buffer()[...] = np.nan  # so that freshly allocated memory is likely to hold NaN
    param.drop_grad()
    fn.SGD(lr=0.1).step([param])
    np.testing.assert_array_equal(param.value, 1)


def test_custom_optimizer(make_model, blobs):
    class SignSGD(fn.Optimizer):
        def update(self, value, grad, state, lr):
            value -= (lr / state.steps) * np.sign(grad)

    model = make_model(dtype=np.float64)
    start = model[3].bias.value
    history = fn.fit(model, blobs, optimizer=SignSGD(lr=0.25), batch_size=64, epochs=2, seed=0)
    assert history["loss"][1] < history["loss"][0]
    assert set(np.abs(model[3].bias.value - start).round(12)) <= {0.125, 0.375}


def test_defaults():
    assert repr(fn.SGD()) == "SGD(lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)"
    assert repr(fn.Adam()) == "Adam(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)"


@pytest.mark.parametrize(
    ("kind", "keywords", "message"),
    [
        (fn.SGD, {"lr": -0.1}, "lr must be a finite number, at least 0, not -0.1"),
        (fn.SGD, {"lr": float("nan")}, "lr must be a finite number, at least 0, not nan"),
        (fn.SGD, {"lr": float("inf")}, "lr must be a finite number, at least 0, not inf"),
        (fn.SGD, {"lr": "0.1"}, "lr must be a finite number, at least 0, not '0.1'"),
        (fn.SGD, {"lr": None}, "lr must be a finite number, at least 0, not None"),
        (fn.SGD, {"lr": [0.1]}, r"lr must be a finite number, at least 0, not \[0.1\]"),
        (fn.SGD, {"lr": True}, "lr must be a finite number, at least 0, not True"),
        (fn.SGD, {"momentum": -1}, "momentum must be a finite number, at least 0"),
        (fn.SGD, {"weight_decay": -1}, "weight_decay must be a finite number, at least 0"),
        (fn.SGD, {"nesterov": True}, "nesterov needs a momentum above 0"),
        (fn.Adam, {"lr": -0.1}, "lr must be a finite number, at least 0"),
        (fn.Adam, {"betas": (1, 0.999)}, r"betas\[0\] must be in \[0, 1\), not 1"),
        (fn.Adam, {"betas": (0.9, 1.5)}, r"betas\[1\] must be in \[0, 1\), not 1.5"),
        (fn.Adam, {"betas": (-0.1, 0.9)}, r"betas\[0\] must be in \[0, 1\), not -0.1"),
        (fn.Adam, {"eps": -1e-8}, "eps must be a finite number, at least 0"),
        (fn.Adam, {"weight_decay": -1}, "weight_decay must be a finite number, at least 0"),
    ],
    ids=str,
)
def test_invalid_hyperparameters_raise(kind, keywords, message):
    with pytest.raises(ValueError, match=message):
        kind(**keywords)


@pytest.mark.parametrize("betas", [(0.9,), (0.9, 0.99, 0.999), 0.9], ids=str)
def test_betas_are_a_pair(betas):
    with pytest.raises((ValueError, TypeError), match="betas"):
        fn.Adam(betas=betas)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centered_rmsprop_with_a_constant_gradient_stays_finite(dtype):
    """v - mean^2 goes to 0 and, by rounding, below it: in PyTorch the weights become NaN."""
    gradients = np.random.default_rng(0).standard_normal(50).astype(dtype)
    p, v, mean = (np.zeros_like(gradients) for _ in range(3))
    hyper = np.array([0.01, 0.5, 1e-3, 0, 0])
    lowest = 0.0
    for _ in range(200):
        ops.rmsprop(gradients, hyper, v, mean, None, p)
        lowest = min(lowest, float((v - mean * mean).min()))
    assert lowest < 0
    assert np.isfinite(p).all()
    assert np.array_equal(np.sign(p), -np.sign(gradients))


def test_state_without_a_valid_learning_rate_changes_nothing(make_model, blobs):
    model, optimizer = make_model(), fn.Adam(0.01)
    fn.fit(model, blobs, optimizer=optimizer, progress=False)
    before = optimizer.state_dict(model.parameters())
    for lr, message in (
        ({}, "'lr', the learning rate, is missing"),
        ({"lr": "fast"}, "lr must be a finite number"),
    ):
        state = {name: value for name, value in before.items() if name != "lr"} | lr
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict({**state, "0.weight.steps": 7}, model.parameters())
    after = optimizer.state_dict(model.parameters())
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_invalid_lr_between_steps_raises():
    optimizer = fn.SGD(lr=0.1)
    with pytest.raises(ValueError, match="lr must be a finite number"):
        optimizer.lr = -1
    assert optimizer.lr == 0.1


def test_unknown_name_lists_the_valid_ones(make_model):
    with pytest.raises(
        ValueError, match=r"unknown optimizer 'rprop': choose one of adam, adamw, rmsprop, sgd$"
    ):
        fn.Trainer(make_model(), optimizer="rprop")


def test_class_instead_of_an_instance_raises(make_model):
    with pytest.raises(TypeError, match=r"pass an instance, Adam\(lr=...\), not the class"):
        fn.Trainer(make_model(), optimizer=fn.Adam)


if __name__ == "__main__":
    print("GOLDEN = {")
    for case in CASES:
        print(f'    "{case}": {pytorch(case).ravel().tolist()},')
    print("}")


def test_parameter_frozen_after_a_step_keeps_its_value():
    model = fn.Linear(3, 2)
    optimizer = fn.SGD(lr=0.1, momentum=0.9)
    data = np.ones((4, 3), np.float32), np.zeros(4, np.int64)
    fn.gradients(model, data)
    model.weight.trainable = False
    weight, bias = model.weight.value, model.bias.value
    optimizer.step(model.parameters())
    np.testing.assert_array_equal(model.weight.value, weight)
    assert (model.bias.value != bias).all()
    assert optimizer.state(model.weight).steps == 0
