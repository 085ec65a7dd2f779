"""Gradient clipping against PyTorch, averaged weights by hand; planned and eager."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fn


def data(count=96, dtype=np.float32):
    rng = np.random.default_rng(0)
    return rng.random((count, 6)).astype(dtype), rng.integers(0, 3, count)


def net(dtype=np.float32):
    fn.manual_seed(0)
    layers = fn.Linear(6, 20), fn.BatchNorm1d(20), fn.ReLU(), fn.Dropout(0.1), fn.Linear(20, 3)
    return fn.Sequential(*layers).to(dtype)


def weights(model):
    return [held.value for held in (*model.parameters(), *model.buffers())]


def bits(model):
    return b"".join(array.tobytes() for array in weights(model))


OPTIONS = {"batch_size": 20, "epochs": 3, "seed": 3, "progress": False}


@pytest.mark.parametrize("kind", [fn.SGD, fn.Adam, fn.AdamW, fn.RMSprop])
@pytest.mark.parametrize(
    "bounds", [{"clip_norm": 0.1}, {"clip_value": 0.01}, {"clip_norm": 0.1, "clip_value": 0.02}], ids=str
)
def test_planned_equals_eager_for_any_thread_count(kind, bounds):
    before, found = fn.get_num_threads(), set()
    try:
        for threads, options in ((1, {}), (2, {}), (3, {"fuse": False}), (1, {"plan": False})):
            fn.set_num_threads(threads)
            model = net()
            history = fn.fit(model, data(), optimizer=kind(0.01), **OPTIONS, **bounds, **options)
            found.add(bits(model) + np.array(history.updates["loss"]).tobytes())
    finally:
        fn.set_num_threads(before)
    assert len(found) == 1
    plain = net()
    fn.fit(plain, data(), optimizer=kind(0.01), **OPTIONS)
    assert bits(plain) != bits(model)


@pytest.mark.parametrize("backend", ["aot", "jit", "ref"])
@pytest.mark.parametrize("bounds", [{"clip_norm": 0.05}, {"clip_value": 0.01}, {"clip_norm": 100.0}], ids=str)
def test_clipped_gradients_match_pytorch(bounds, backend):
    torch = pytest.importorskip("torch")
    x, y = data(dtype=np.float64)
    with fn.backend(backend):
        model = fn.Sequential(
            fn.Linear(6, 20, dtype=np.float64), fn.Tanh(), fn.Linear(20, 3, dtype=np.float64)
        )
        theirs = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.Tanh(), torch.nn.Linear(20, 3)).double()
        with torch.no_grad():
            for own, their in zip(model.parameters(), theirs.parameters(), strict=True):
                their.copy_(torch.from_numpy(own.value.T.copy()))
        trainer = fn.Trainer(model, optimizer=fn.SGD(0.5), **bounds)
        optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
        for _ in range(4):
            trainer.step(x, y)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
            if "clip_norm" in bounds:
                torch.nn.utils.clip_grad_norm_(theirs.parameters(), bounds["clip_norm"])
            else:
                torch.nn.utils.clip_grad_value_(theirs.parameters(), bounds["clip_value"])
            optimizer.step()
    for own, their in zip(model.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(own.value, their.detach().numpy().T, rtol=1e-12)


@pytest.mark.parametrize("plan", [True, False])
def test_bound_may_change_between_steps(plan):
    """The gradients exceed the bound in every step, so an SGD update is as long as the bound."""
    x, y = data(dtype=np.float64)
    model = fn.Sequential(fn.Linear(6, 3, dtype=np.float64))
    trainer = fn.Trainer(model, optimizer=fn.SGD(1.0), clip_norm=1e-3, plan=plan)
    for bound in (1e-3, 1e-3, 5e-4, 5e-4, 1e-5):
        before = weights(model)
        trainer.clip_norm = bound
        trainer.step(x, y)
        length = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(weights(model), before, strict=True)))
        np.testing.assert_allclose(length, bound, rtol=0.01)
    trainer.clip_norm = None
    before = weights(model)
    trainer.step(x, y)
    assert np.abs(weights(model)[0] - before[0]).max() > 1e-3


@pytest.mark.parametrize("plan", [True, False])
def test_infinite_norm_changes_nothing(plan):
    """The loss is finite, but the squares of its gradients are not."""
    x = np.full((4, 2), 1e200)
    model = fn.Sequential(fn.Linear(2, 1, weight_init="zeros", bias_init="zeros", dtype=np.float64))
    trainer = fn.Trainer(model, loss="squared_error", optimizer=fn.SGD(1e-300), clip_norm=1.0, plan=plan)
    with pytest.raises(fn.NonFiniteError, match="norm of the gradients is inf at update 1"):
        trainer.step(x, np.ones((4, 1)))
    assert not weights(model)[0].any()
    assert trainer.updates == 0
    trainer.step(np.ones((4, 2)), np.ones((4, 1)))
    with pytest.raises(fn.NonFiniteError, match="norm of the gradients"):
        trainer.step(x, np.ones((4, 1)))
    assert trainer.updates == 1


@pytest.mark.parametrize("name", ["clip_norm", "clip_value"])
@pytest.mark.parametrize("bound", [0, -1, np.nan, np.inf])
def test_invalid_bounds_raise(name, bound):
    with pytest.raises(ValueError, match=name):
        fn.Trainer(net(), **{name: bound})


# --- averages ---


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("warmup", [True, False])
def test_averages_match_a_hand_computation(warmup, plan):
    x, y = data(dtype=np.float64)
    model, ema = net(np.float64), fn.EMA(0.8, warmup=warmup)
    wanted = weights(model)
    trainer = fn.Trainer(model, optimizer=fn.SGD(0.5), ema=ema, plan=plan)
    for t in range(12):
        trainer.step(x, y)
        d = min(0.8, (1 + t) / (10 + t)) if warmup else 0.8
        wanted = [d * e + (1 - d) * p for e, p in zip(wanted, weights(model), strict=True)]
    own = weights(model)
    with ema.applied(model):
        for got, average in zip(weights(model), wanted, strict=True):
            np.testing.assert_allclose(got, average, rtol=1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(weights(model), own, strict=True))
    ema.copy_to(model)
    np.testing.assert_allclose(weights(model)[0], wanted[0], rtol=1e-12)


@pytest.mark.parametrize("kind", [fn.SGD, fn.Adam])
def test_averages_do_not_change_the_training(kind):
    found = set()
    for ema in (None, 0.9):
        for plan in (True, False):
            model = net()
            fn.fit(model, data(), optimizer=kind(0.05), ema=ema, plan=plan, **OPTIONS)
            found.add(bits(model))
    assert len(found) == 1


def test_validation_uses_the_averages():
    model, ema = net(), fn.EMA(0.9)
    history = fn.fit(model, data(), validation=data(), optimizer=fn.SGD(0.5), ema=ema, **OPTIONS)
    own = fn.evaluate(model, data())["loss"]
    with ema.applied(model):
        averaged = fn.evaluate(model, data())["loss"]
    assert history["val_loss"][-1] == averaged != own


def test_averages_resume_from_their_state():
    whole, parts = (fn.Trainer(net(), optimizer=fn.SGD(0.5), ema=fn.EMA(0.9), seed=0) for _ in range(2))
    for _ in range(3):
        whole.step(*data())
        parts.step(*data())
    state = pickle.loads(pickle.dumps(parts.ema.state_dict()))
    parts.step(*data())
    parts.ema.load_state_dict(state)  # in place: the recorded step continues with it
    fresh = fn.EMA(0.9)
    fresh.load_state_dict(state)
    for ema in (parts.ema, fresh):
        for name, array in whole.ema.state_dict().items():
            assert np.array_equal(ema.state_dict()[name], array)
    with pytest.raises(ValueError, match="another model"):
        parts.ema.load_state_dict({"updates": 1, "0.weight": np.zeros(3)})
    with pytest.raises(ValueError, match="another model"):
        fresh.copy_to(fn.Sequential(fn.Linear(6, 3)))
    with pytest.raises(ValueError, match="updates"):
        fresh.load_state_dict({})


def test_invalid_decays_raise():
    for decay in (1.0, -0.1, np.nan):
        with pytest.raises(ValueError, match="decay"):
            fn.EMA(decay)
    assert repr(copy.copy(fn.EMA(0.99, warmup=False))) == "EMA(0.99, warmup=False)"


# --- optimizer state ---

OPTIMIZERS = {
    "sgd": lambda: fn.SGD(0.1),
    "momentum": lambda: fn.SGD(0.1, momentum=0.9),
    "adam": lambda: fn.Adam(0.01),
    "adamw": lambda: fn.AdamW(0.01),
    "rmsprop": lambda: fn.RMSprop(0.01, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_resumes_from_its_state(name):
    x, y = data()
    model = fn.Sequential(fn.Linear(6, 20), fn.Tanh(), fn.Linear(20, 3))
    optimizer = OPTIMIZERS[name]()
    trainer = fn.Trainer(model, optimizer=optimizer)
    for _ in range(3):
        trainer.step(x, y)
    optimizer.lr *= 0.5
    kept, twin = copy.deepcopy(model), copy.deepcopy(model)
    state = pickle.loads(pickle.dumps(optimizer.state_dict(model.parameters())))
    fresh = OPTIMIZERS[name]()
    fresh.load_state_dict(state, twin.parameters())
    second = fn.Trainer(twin, optimizer=fresh)
    for _ in range(3):
        trainer.step(x, y)
        second.step(x, y)
    assert bits(model) == bits(twin)
    # Loading into the optimizer in use rolls it back, and recorded steps continue with it.
    optimizer.load_state_dict(state, model.parameters())
    for own, old in zip(model.parameters(), kept.parameters(), strict=True):
        own.value = old.value
    for _ in range(3):
        trainer.step(x, y)
    assert bits(model) == bits(twin)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.weight.steps"), "parameter '0.weight' is missing from the state"),
        (lambda state: state.update({"7.weight.m": np.zeros(3)}), "no parameter '7.weight'"),
        (
            lambda state: state.update({"0.bias.m": np.zeros(4)}),
            r"0.bias.m must have shape \(.*\), got \(4,\)",
        ),
        (lambda state: state.update(lr=-1), "lr"),
    ],
)
def test_unsuitable_optimizer_state_changes_nothing(change, message):
    x, y = data()
    model, optimizer = fn.Sequential(fn.Linear(6, 3)), fn.Adam(0.01)
    fn.Trainer(model, optimizer=optimizer).step(x, y)
    before = pickle.dumps(optimizer.state_dict(model.parameters()))
    state = optimizer.state_dict(model.parameters())
    state["0.weight.steps"] = 100
    change(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state, model.parameters())
    assert pickle.dumps(optimizer.state_dict(model.parameters())) == before
