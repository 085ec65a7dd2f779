"""A change between two steps takes effect in the very next recorded step, as it does in eager mode."""

import numpy as np
import pytest

import fastnn as fn

from .twins import CLASSES, FEATURES, batch, small_net


def dropped():
    return fn.Sequential(
        *(fn.Linear(FEATURES, 16), fn.Tanh(), fn.Dropout(0.2)),
        fn.Sequential(fn.Linear(16, 16), fn.ReLU()),
        fn.Linear(16, CLASSES),
    )


class Set:
    """A change: `Set("model.2.rate", 0.5)` sets the rate of layer 2, a function makes the value."""

    def __init__(self, path, value):
        *self.path, self.name = path.split(".")
        self.value = value

    def __call__(self, trainer):
        owner = trainer
        for step in self.path:
            owner = owner[int(step)] if step.isdigit() else getattr(owner, step)
        setattr(owner, self.name, self.made())

    def made(self):
        return self.value() if callable(self.value) else self.value

    def __str__(self):
        return f"{'.'.join([*self.path, self.name])}={self.made()}"


def weights_from_the_old_ones(trainer):
    for param in trainer.model.parameters():
        param.value = 0.5 * param.value + 0.01


def other_rates(trainer):
    trainer.model[3].set_lr_scale(0.1)


def freeze_the_lowest(trainer):
    trainer.model[0].set_lr_scale(0)


def freeze_all_but_the_last(trainer):
    for param in trainer.model.parameters()[:-2]:
        param.trainable = False


def freeze_and_thaw(trainer):
    weight = trainer.model[0].weight
    weight.trainable = False
    weight.trainable = True


def hold_some_weights(trainer):
    trainer.model[0].weight.mask = np.arange(FEATURES * 16).reshape(FEATURES, 16) % 2


def to_float64_and_back(trainer):
    trainer.model.to(np.float64).to(np.float32)


def to_float32(trainer):
    trainer.model.to(np.float32)


def another_activation(trainer):
    inner = trainer.model[3]
    inner.layers = (inner[0], fn.Sigmoid())


def one_layer_more(trainer):
    fn.manual_seed(8)
    trainer.model.layers = (*trainer.model.layers[:-1], fn.Linear(16, 16), trainer.model.layers[-1])


def random_states(trainer):
    trainer.model[2].state[:] = 123, 4


def weights_of_another_model(trainer):
    fn.manual_seed(8)
    other = dropped()
    for old, new in zip(trainer.model.parameters(), other.parameters(), strict=True):
        old.value = new.value


def moments(trainer):
    for param in trainer.model.parameters():
        trainer.optimizer.state(param)["velocity"][...] *= 0.5


def steps_counted(trainer):
    for param in trainer.model.parameters():
        trainer.optimizer.state(param).counter[0] += 5


CHANGES = [
    Set("optimizer.lr", 0.02),
    Set("optimizer.lr", 0),
    Set("optimizer.momentum", 0.5),
    Set("optimizer.momentum", 0),
    Set("optimizer.nesterov", True),
    Set("optimizer.weight_decay", 0.1),
    Set("optimizer", lambda: fn.SGD(lr=0.01)),
    Set("optimizer", fn.Adam),
    Set("loss", lambda: fn.CrossEntropy(label_smoothing=0.2)),
    Set("loss", lambda: fn.CrossEntropy(weight=[3, 1, 2])),
    Set("loss.label_smoothing", 0.3),
    Set("loss.reduction", "sum"),
    Set("loss.weight", lambda: np.array([1.0, 2.0, 3.0])),
    Set("model.2.rate", 0.7),
    Set("model.2.rate", 0),
    Set("model.0.weight.value", np.full((FEATURES, 16), 0.25)),
    Set("model.0.weight.value", np.ones((FEATURES, 16), bool)),
    Set("model.3.0.bias.value", np.arange(16)),
    Set("model.0.weight.trainable", False),
    Set("model.0.bias.trainable", False),
    Set("model.3.0.weight.lr_scale", 0.5),
    Set("model.3.0.weight.lr_scale", 0),
    Set("model.0.weight.clip_value", 0.001),
    Set("model.4.bias", None),
    Set("plan", False),
    Set("model._note", "nothing that matters"),
    *(weights_from_the_old_ones, weights_of_another_model, random_states, moments, steps_counted),
    *(other_rates, freeze_the_lowest, freeze_all_but_the_last, freeze_and_thaw),
    *(hold_some_weights, to_float32, to_float64_and_back, another_activation, one_layer_more),
]


def name_of(change):
    return str(change) if isinstance(change, Set) else change.__name__


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_change_takes_effect_in_the_next_step(change, fuse, twins):
    pair = twins(dropped, fuse=fuse)
    pair.run()
    before = pair.snapshot(pair.planned.model)
    pair.do(change)
    pair.step()
    assert pair.snapshot(pair.planned.model) != before
    pair.run()


@pytest.mark.parametrize("change", CHANGES, ids=name_of)
def test_change_with_two_recorded_batch_shapes(change, twins):
    """Both of two recorded batch shapes notice it, the one that was used last and the other one."""
    pair = twins(dropped)
    for seed in range(4):
        pair.step(*batch(seed, rows=8 + seed % 2))
    pair.do(change)
    for seed in range(4):
        pair.step(*batch(seed, rows=8 + seed % 2))


MADE_BEFORE = [
    *(("optimizer", fn.Adam), ("optimizer", lambda: fn.SGD(lr=0.5, momentum=0.9))),
    ("loss", lambda: fn.CrossEntropy(label_smoothing=0.5)),
    ("loss", lambda: fn.CrossEntropy(reduction="sum")),
    *(("model", lambda: small_net(fn.ReLU())), ("scale", lambda: 0.5), ("plan", lambda: False)),
    *(("fuse", lambda: False), ("keep_gradients", lambda: True)),
]


@pytest.mark.filterwarnings("ignore:scale=0.5 contradicts the training")
@pytest.mark.parametrize(
    ("name", "make"), MADE_BEFORE, ids=[f"{row}-{name}" for row, (name, _) in enumerate(MADE_BEFORE)]
)
def test_objects_made_before_the_recording(name, make, twins):
    """Only the trainer's own attribute is set; nothing else happens between the two steps."""
    pair = twins()
    made = []
    for _ in pair.both:
        fn.manual_seed(4)
        made.append(make())
    pair.run()
    for trainer, value in zip(pair.both, made, strict=True):
        setattr(trainer, name, value)
    pair.run()
    has_grad = pair.planned.model.parameters()[0].grad is not None
    assert has_grad == (name in ("plan", "fuse", "keep_gradients"))


def test_a_trainer_of_another_model_checks_it_against_the_data(twins):
    pair = twins()
    other = [fn.Linear(FEATURES + 1, CLASSES) for _ in pair.both]
    pair.run()
    for trainer, model in zip(pair.both, other, strict=True):
        trainer.model = model
    for trainer in pair.both:
        with pytest.raises(ValueError, match=r"expects samples of shape \(7,\), got \(6,\)"):
            trainer.step(*batch())


def test_an_array_in_the_place_of_another_one(twins):
    pair = twins(dropped, lambda: fn.CrossEntropy(weight=[1, 2, 3]))
    pair.run()
    pair.do(Set("loss.weight", lambda: np.array([3.0, 1.0, 0.5])))
    pair.run()
    pair.do(Set("model.2.state", lambda: np.array([5, 0], np.uint64)))
    pair.run()


def test_on_nonfinite_for_the_very_next_step(twins):
    x, y = batch()
    x[3, 3] = np.nan
    pair = twins()
    pair.run()
    pair.fail(x, y)
    pair.do(lambda trainer: setattr(trainer, "on_nonfinite", "stop"))
    pair.step(x, y)
    pair.run()
    pair.do(lambda trainer: setattr(trainer, "on_nonfinite", "raise"))
    pair.fail(x, y)
    pair.run()
    pair.do(lambda trainer: setattr(trainer, "on_nonfinite", "ignore"))
    assert [np.isnan(trainer.step(x, y)) for trainer in pair.both] == [True, True]
    assert [np.isnan(trainer.model.parameters()[0].value).any() for trainer in pair.both] == [True, True]


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_nonfinite_values_once_ignored_can_raise_again(number, twins):
    """The second net ends in tanh, so an infinity in the data does not show in the loss."""
    x, y = batch()
    x[3, 3] = number
    for net in (dropped, small_net):
        pair = twins(net, on_nonfinite="ignore")
        pair.run()
        pair.do(Set("on_nonfinite", "raise"))
        assert isinstance(pair.fail(x, y), fn.NonFiniteError)
        pair.run()


# --- the learning rate ---


@pytest.mark.parametrize("optimizer", [fn.SGD, fn.Adam, lambda: fn.SGD(momentum=0.9)])
def test_schedule(optimizer, twins):
    """One twin after the other, so that nothing but the learning rate changes between two steps."""
    pair = twins(optimizer=optimizer)
    for trainer in pair.both:
        for update in range(12):
            trainer.optimizer.lr = 0.1 * (1 + np.cos(update))
            trainer.step(*batch(update))
    pair.check()


def test_rate_there_and_back_with_two_batch_shapes(twins):
    pair = twins()
    steps = [(1, 8), (1, 9), (4, 9), (1, 8), (4, 8), (4, 9), (1, 9), (4, 10), (1, 8), (1, 10)]
    for tenths, rows in steps:
        pair.do(Set("optimizer.lr", tenths / 10))
        pair.step(*batch(rows=rows))


def frozen_below():
    model = small_net()
    model[0].set_lr_scale(0)
    return model


def frozen_above():
    model = small_net()
    model[2].set_lr_scale(0)
    return model


all_frozen_or_not = pytest.mark.parametrize("net", [small_net, frozen_below, frozen_above])


@all_frozen_or_not
@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_setting_there_and_back_with_a_step_of_another_kind_between(name, net, twins):
    """A step layer by layer leaves its settings behind where recorded steps read theirs."""
    pair = twins(net)
    pair.run()
    value = getattr(pair.planned.optimizer, name)
    pair.do(Set(f"optimizer.{name}", 0.5))
    pair.planned.plan = False
    pair.step()
    pair.planned.plan = True
    pair.do(Set(f"optimizer.{name}", value))
    pair.run()


@all_frozen_or_not
@pytest.mark.parametrize("name", ["lr", "momentum"])
def test_optimizer_of_two_trainers(name, net, twins):
    """Each trainer of the model has plans of its own; both read the optimizer's memory."""
    pair = twins(net)
    value = getattr(pair.planned.optimizer, name)
    others = [
        fn.Trainer(trainer.model, optimizer=trainer.optimizer, seed=3, plan=trainer.plan)
        for trainer in pair.both
    ]
    pair.run()
    for other_value in (0.7, 0.2):
        pair.do(Set(f"optimizer.{name}", other_value))
        for other in others:
            other.step(*batch(9))
        pair.do(Set(f"optimizer.{name}", value))
        pair.run(2)


# --- batches, types, backends, threads ---


def test_batch_shapes_take_turns(twins):
    pair = twins(dropped, optimizer=fn.Adam)
    for rows in (5, 7, 5, 7, 600, 5, 1, 600, 7):
        pair.step(*batch(pair.steps, rows=rows))


def test_targets_take_turns(twins):
    pair = twins(dropped)
    for _ in range(3):
        x, y = batch(pair.steps)
        pair.step(x, y)
        pair.step(x, np.eye(CLASSES, dtype=np.float32)[y])


def test_types_of_batch_and_model_take_turns(twins):
    pair = twins(dropped)
    for model_type in (np.float32, np.float64, np.float32):
        pair.do(lambda trainer, dtype=model_type: trainer.model.to(dtype))
        for dtype in (np.float32, np.float64, np.uint8, np.float32):
            x, y = batch(pair.steps)
            pair.step(np.abs(x).astype(dtype), y)


@pytest.mark.parametrize("backend", ["ref", "jit"])
def test_a_step_on_another_backend(backend, twins):
    pair = twins(dropped, optimizer=fn.Adam)
    pair.run()
    with fn.backend(backend):
        pair.run(2)
    pair.run()
    assert pair.replays


@pytest.mark.parametrize("backend", ["ref", "jit"])
def test_backends_agree_in_the_middle_of_a_training(backend, twins):
    mixed, pure = (twins(lambda: dropped().to(np.float64), optimizer=fn.Adam) for _ in range(2))
    for seed in range(6):
        x, y = batch(seed, dtype=np.float64)
        expected = pure.planned.step(x, y)
        with fn.backend(backend if seed == 3 else "aot"):
            assert mixed.planned.step(x, y) == pytest.approx(expected, rel=1e-9)
    for a, b in zip(mixed.planned.model.parameters(), pure.planned.model.parameters(), strict=True):
        np.testing.assert_allclose(a.value, b.value, rtol=1e-7, atol=1e-12)


def test_threads_between_steps(twins):
    pair = twins(lambda: fn.Sequential(fn.Linear(301, 203), fn.ReLU(), fn.Linear(203, CLASSES)))
    for threads in (1, 3, 1, 7, 2):
        fn.set_num_threads(threads)
        x = np.random.default_rng(threads).normal(size=(33, 301)).astype(np.float32)
        pair.step(x, np.arange(33) % CLASSES)
