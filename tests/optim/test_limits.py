"""Limits of single parameters: `clip_value` bounds a gradient, `mask` holds elements fixed bit by bit."""

import copy
import pickle

import numpy as np
import pytest

import fastnn as fn

OPTIMIZERS = {
    "sgd": lambda: fn.SGD(0.1),
    "nesterov": lambda: fn.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda: fn.Adam(0.01, weight_decay=0.1),
    "adamw": lambda: fn.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: fn.RMSprop(0.01, momentum=0.9, centered=True, weight_decay=0.1),
}
BACKENDS = ("aot", "jit", "ref")

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
planned_or_not = pytest.mark.parametrize("plan", [True, False], ids=["planned", "eager"])


def data(dtype="float32"):
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 6)).astype(dtype), rng.integers(3, size=24)


def net(dtype="float32"):
    fn.manual_seed(0)
    layers = fn.Linear(6, 5), fn.Tanh(), fn.BatchNorm1d(5), fn.Linear(5, 3)
    return fn.Sequential(*layers).to(dtype)


def pattern(shape):
    """A mask that holds about half of the elements."""
    return np.random.default_rng(1).integers(2, size=shape)


def with_masks(model):
    for param in model.parameters():
        param.mask = pattern(param.shape)
    return model


def bits(model):
    return b"".join(param.value.tobytes() for param in model.parameters())


class Descent(fn.Optimizer):
    """An optimizer of a user, in Python; its state also has an array of another shape and one more dtype."""

    def update(self, value, grad, state, lr):
        state.array("mean", value)[...] += grad + value
        state.array("length", np.zeros(1))[0] += 1
        state.array("exact", value.astype("f8"))[...] += 1
        value -= lr * (grad + value)


# --- clip_value ---


@pytest.mark.parametrize("backend", BACKENDS)
@every_optimizer
def test_each_element_of_the_gradient_is_clipped_before_the_update(make, backend):
    gradient = np.array([-3.0, -0.5, 0.0, 0.25, 7.0, np.nan])
    clipped, expected = (fn.Param(np.linspace(-1, 1, 6)) for _ in range(2))
    clipped.clip_value = 0.5
    with fn.backend(backend), np.errstate(all="ignore"):
        optimizer = make()
        for _ in range(3):
            clipped.grad, expected.grad = gradient, np.clip(gradient, -0.5, 0.5)
            optimizer.step([clipped, expected])
    np.testing.assert_array_equal(clipped.value, expected.value)
    np.testing.assert_array_equal(clipped.grad, expected.grad)


@planned_or_not
def test_clip_value_comes_before_clip_norm(plan):
    model, (x, y) = net("float64"), data("float64")
    fn.gradients(model, (x, y))
    expected, before = {}, {p.name: p.value for p in model.parameters()}
    for param in model.parameters():
        expected[param.name] = np.clip(param.grad, -0.01, 0.01) if param.name == "3.weight" else param.grad
    norm = np.sqrt(sum(np.sum(g**2) for g in expected.values()))
    dict(model.named_parameters())["3.weight"].clip_value = 0.01
    fn.Trainer(model, optimizer=fn.SGD(1.0), clip_norm=0.1, plan=plan).step(x, y)
    for name, param in model.named_parameters():
        change = expected[name] * 0.1 / (norm + 1e-6)
        np.testing.assert_allclose(before[name] - param.value, change, rtol=0, atol=1e-15)


@planned_or_not
def test_the_smaller_of_both_bounds_counts(plan):
    found = []
    for own, of_all in ((0.002, 0.01), (0.01, 0.002), (None, 0.002)):
        model = net()
        for param in model.parameters():
            param.clip_value = own
        fn.fit(model, data(), clip_value=of_all, epochs=2, seed=0, plan=plan, progress=False)
        found.append(bits(model))
    assert len(set(found)) == 1


# --- mask ---


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.01}, {"clip_value": 1e-3}], ids=str)
@every_optimizer
def test_held_elements_keep_all_bits(make, options, backend):
    """Weight decay and the momentum of earlier updates do not move them, and what is not held moves."""
    with fn.backend(backend):
        model = net()
        trainer = fn.Trainer(model, optimizer=make(), seed=0, **options)
        for step in range(6):
            if step == 2:
                with_masks(model)
                before = [param.value for param in model.parameters()]
            trainer.step(*data())
    for param, old in zip(model.parameters(), before, strict=True):
        assert np.array_equal(param.value == old, ~param.mask), param.name
        assert (param.grad[~param.mask] == 0).all()
        for array in trainer.optimizer.state(param).values():
            assert (array[~param.mask] == 0).all()
            assert array[param.mask].any()


@every_optimizer
def test_the_other_elements_change_as_without_a_mask(make):
    free, masked = (fn.Param(np.linspace(-1, 1, 8), name="p") for _ in range(2))
    masked.mask = [1, 0] * 4
    optimizer = make()
    for step in range(4):
        free.grad = masked.grad = np.sin(np.arange(8) + step)
        optimizer.step([free, masked])
    assert masked.value[::2].tobytes() == free.value[::2].tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
def test_bits_of_strange_numbers_stay(backend):
    values = np.array([-0.0, np.nan, np.inf, 5e-324, 1.0])
    values.view(np.uint64)[1] |= 12345  # a payload of the NaN
    param = fn.Param(values)
    param.mask = [0, 0, 0, 0, 1]
    param.grad = [np.nan, 1, np.inf, 1, 1]
    with fn.backend(backend):
        fn.SGD(0.5, momentum=0.9, weight_decay=1).step([param])
    assert param.value[:4].tobytes() == values[:4].tobytes()
    assert param.value[4] == 0
    assert param.grad.tolist() == [0, 0, 0, 0, 1]


def test_gradients_of_held_elements_do_not_count_in_the_norm():
    found = []
    for gradient in ([3.0, 4.0, 1e9, np.nan], [3.0, 4.0, 0.0, 0.0]):
        param = fn.Param(np.zeros(4))
        param.mask, param.grad = [1, 1, 0, 0], gradient
        found.append(fn.optim.clipping.clip_norm([param], np.ones(1))[0])
    assert found == [5.0, 5.0]


def test_a_released_element_starts_afresh():
    """Without the momentum from before."""
    param, fresh = fn.Param(np.ones(2)), fn.Param(np.ones(1))
    optimizer = fn.SGD(0.1, momentum=0.9, weight_decay=0.5)
    for mask in (None, [1, 0], [1, 0]):
        param.mask, param.grad = mask, [1, 1]
        optimizer.step([param])
        param.value = [1, 1]
    param.mask, param.grad, fresh.grad = None, [1, 1], [1]
    optimizer.step([param, fresh])
    assert param.value[1] == fresh.value[0]


@planned_or_not
def test_scales_and_frozen_parameters_go_with_a_mask(plan):
    model = with_masks(net())
    first, *_, last = model.parameters()
    model[0].weight.lr_scale, model[0].weight.decay_scale = 0.5, 3.0
    last.trainable = False
    before = [param.value for param in model.parameters()]
    optimizer = fn.AdamW(0.01, weight_decay=0.1)
    fn.fit(model, data(), optimizer=optimizer, epochs=3, seed=0, plan=plan, progress=False)
    assert last.value.tobytes() == before[-1].tobytes()
    assert np.array_equal(first.value == before[0], ~first.mask)


@planned_or_not
def test_an_optimizer_in_python_obeys(plan):
    model = with_masks(net())
    before = [param.value for param in model.parameters()]
    optimizer = Descent(0.1)
    trainer = fn.Trainer(model, optimizer=optimizer, plan=plan)
    for _ in range(3):
        trainer.step(*data())
    for param, old in zip(model.parameters(), before, strict=True):
        assert np.array_equal(param.value == old, ~param.mask)
        state = optimizer.state(param)
        assert (state["mean"][~param.mask] == 0).all()
        assert (state["exact"] == 3).all()
        assert state["length"] == 3


def test_held_elements_stay_if_an_optimizer_raises():
    class Breaks(fn.Optimizer):
        def update(self, value, grad, state, lr):
            value += 1
            raise RuntimeError("broken")

    param = fn.Param(np.zeros(2))
    param.mask, param.grad = [0, 1], [1, 1]
    with pytest.raises(RuntimeError, match="broken"):
        Breaks(0.1).step([param])
    assert param.value.tolist() == [0, 1]


def test_values_that_are_assigned_also_reach_held_elements():
    param = fn.Param(np.zeros(2))
    param.mask, param.grad = [0, 1], [1, 1]
    param.value = [5, 5]
    fn.SGD(1.0).step([param])
    assert param.value.tolist() == [5, 4]


def test_averaged_weights_of_held_elements_stay():
    model = with_masks(net())
    before = model[0].weight.value
    ema = fn.EMA(0.9)
    fn.fit(model, data(), ema=ema, epochs=5, seed=0, progress=False)
    ema.copy_to(model)
    assert np.array_equal(model[0].weight.value == before, ~model[0].weight.mask)


# --- assignment, copies, files ---


@pytest.fixture
def param():
    return fn.Param(np.zeros((2, 3)), name="weight")


@pytest.mark.parametrize("bound", [0, -1, np.nan, np.inf, "1", True, [1.0]], ids=repr)
def test_invalid_bounds_are_rejected(param, bound):
    param.clip_value = 2
    with pytest.raises(ValueError, match=r"clip_value must be (a finite number|above 0, or None)"):
        param.clip_value = bound
    assert param.clip_value == 2


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.ones(3), ValueError, r"the mask of parameter 'weight' must have shape \(2, 3\), got \(3,\)"),
        (1, ValueError, r"must have shape \(2, 3\), got \(\)"),
        (np.full((2, 3), "1"), TypeError, "must hold real numbers, got dtype <U1"),
        (np.ones((2, 3), complex), TypeError, "must hold real numbers, got dtype complex128"),
        ([[1, 0, 1], [0, 0.5, 1]], ValueError, r"0 \(held fixed\) and 1, but mask\[1, 1\] is 0.5"),
        ([[1, 0, 1], [0, np.nan, 1]], ValueError, r"mask\[1, 1\] is nan"),
        ([[1, 0, 2], [0, -1, 1]], ValueError, r"mask\[0, 2\] is 2"),
    ],
)
def test_invalid_masks_are_rejected(param, mask, error, words):
    param.mask = np.eye(2, 3)
    with pytest.raises(error, match=words):
        param.mask = mask
    assert param.mask.tolist() == [[True, False, False], [False, True, False]]


def test_limits_of_a_single_number():
    param = fn.Param(np.ones(()))
    param.mask, param.clip_value, param.grad = False, 1, 3
    fn.SGD(1.0).step([param])
    assert param.value == 1


def test_a_mask_is_a_read_only_copy(param):
    given = np.eye(2, 3)
    param.mask = given
    given[:] = 1
    assert param.mask.dtype == bool
    assert param.mask.sum() == 2
    with pytest.raises(ValueError, match="read-only"):
        param.mask[0] = 1
    param.mask = param.clip_value = None
    assert (param.mask, param.clip_value) == (None, None)


def limited():
    model = with_masks(net())
    model[0].weight.clip_value = 0.125
    return model


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_have_the_limits(copied):
    model, again = limited(), copied(limited())
    for each in (model, again):
        fn.fit(each, data(), epochs=2, seed=0, progress=False)
    assert bits(model) == bits(again)
    assert again[0].weight.clip_value == 0.125
    assert again[0].weight.mask.tolist() == model[0].weight.mask.tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conversion_keeps_the_limits(dtype):
    model = limited().to("float64").to(dtype)
    before = model[0].weight.value
    fn.fit(model, data(dtype), epochs=2, seed=0, progress=False)
    assert np.array_equal(model[0].weight.value == before, ~model[0].weight.mask)
    assert model[0].weight.clip_value == 0.125


def test_a_model_file_has_the_limits(tmp_path):
    model = limited()
    fn.save(model, tmp_path / "model.safetensors")
    again = fn.load(tmp_path / "model.safetensors")
    for own, read in zip(model.parameters(), again.parameters(), strict=True):
        assert own.clip_value == read.clip_value
        assert own.mask.tobytes() == read.mask.tobytes()
    for each in (model, again):
        fn.fit(each, data(), epochs=2, seed=0, progress=False)
    assert bits(model) == bits(again)


def change_limits(training):
    """A callback that changes the limits after each epoch."""
    for param in training.model.parameters():
        param.mask = (
            None
            if training.epoch == 3
            else np.random.default_rng(training.epoch).integers(2, size=param.shape)
        )
        param.clip_value = (None, 0.01, 0.02)[training.epoch % 3]


@pytest.mark.parametrize("epochs", [1, 2, 3, 4])
def test_a_resumed_training_has_the_limits_of_its_checkpoint(tmp_path, epochs):
    """Also those that a callback set, in whatever epoch it stopped."""
    whole, resumed = limited(), limited()
    options = {
        "optimizer": fn.SGD(0.1, momentum=0.9),
        "seed": 0,
        "progress": False,
        "callbacks": change_limits,
    }
    fn.fit(whole, data(), epochs=5, **options)
    options["optimizer"] = fn.SGD(0.1, momentum=0.9)
    path = tmp_path / "run"
    fn.fit(resumed, data(), epochs=epochs, checkpoint=path, **options)
    again = limited()
    options["optimizer"] = fn.SGD(0.1, momentum=0.9)
    fn.fit(again, data(), epochs=5, checkpoint=path, **options)
    assert bits(again) == bits(whole)
    limits = [
        [(p.clip_value, p.mask if p.mask is None else p.mask.tolist()) for p in model.parameters()]
        for model in (again, whole)
    ]
    assert limits[0] == limits[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: setattr(p, "mask", None), r"mask bool \(6, 5\) with the hash .*, is"),
        (lambda p: setattr(p, "mask", np.ones(p.shape)), "with the hash"),
        (lambda p: setattr(p, "clip_value", 0.25), "clip_value=0.125.* is .*clip_value=0.25"),
    ],
    ids=["no mask", "another mask", "another bound"],
)
def test_a_checkpoint_of_other_limits_is_not_resumed(tmp_path, change, words):
    path = tmp_path / "run"
    fn.fit(limited(), data(), epochs=1, seed=0, checkpoint=path, progress=False)
    other = limited()
    change(other[0].weight)
    with pytest.raises(fn.CheckpointError, match=words):
        fn.fit(other, data(), epochs=2, seed=0, checkpoint=path, progress=False)
