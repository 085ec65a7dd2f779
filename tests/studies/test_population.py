"""Runs of small models that are trained together have the same bits as each trained alone."""

import json
import threading
from contextlib import nullcontext

import numpy as np
import pytest

import fastnn as fn
from fastnn.kernels import core, cpu
from fastnn.kernels.population import lanes
from fastnn.states import held_by

# How many runs are trained together depends on the lanes of a vector.
wide = pytest.mark.skipif(lanes("float64") < 4, reason="the vectors of this instruction set have few lanes")


def size_of_group(count):
    """How many of so many alike runs of float64 are trained together, where that is the same for all."""
    parts = -(-count // lanes("float64"))
    assert count % parts == 0
    return count // parts


def data(kind="labels", dtype=np.float32, count=203):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, count)
    x = rng.random((count, 6)) + np.eye(3, 6)[y]
    x = np.round(100 * x).astype(np.uint8) if dtype == np.uint8 else x.astype(dtype)
    targets = {"labels": y, "numbers": x[:, :3].astype(np.float32) / 2, "binary": np.eye(3)[y][:, :2]}
    return x, targets[kind]


def net(outputs=3, hidden=(8,), act=fn.ReLU, dtype=None):
    layers = []
    for fan_in, fan_out in zip((6, *hidden), (*hidden, outputs), strict=True):
        layers += [fn.Linear(fan_in, fan_out, dtype=dtype), act()]
    return fn.Sequential(*layers[:-1])


def numbers_of(model, optimizer):
    """Weights and running statistics, and what the optimizer keeps for each parameter."""
    numbers = {name: held.value for name, held in held_by(model).items()}
    for name, param in model.named_parameters():
        state = optimizer.state(param)
        kept = {**state, "hyper": state.hyper, "counter": state.counter}
        numbers |= {f"{name}/{key}": array for key, array in kept.items()}
    return numbers


class Runs:
    """A `build` for `fn.sweep` that remembers the models and optimizers of its runs."""

    def __init__(self, make=net, optimizer=fn.SGD, data=data, **options):
        self.make, self.optimizer, self.data, self.options = make, optimizer, data, options
        self.trained = {}

    def __call__(self, lr, seed):
        model, optimizer = self.make(), self.optimizer(lr=lr)
        self.trained[lr, seed] = model, optimizer
        return {
            "model": model,
            "data": self.data(),
            "optimizer": optimizer,
            "batch_size": 8,
            "epochs": 3,
            **self.options,
        }

    def states(self):
        """All numbers that the runs have left behind: weights, and the state of the optimizers."""
        return {
            (place, name): np.array(array)
            for place, (model, optimizer) in self.trained.items()
            for name, array in numbers_of(model, optimizer).items()
        }


RATES, SEEDS = [0.003, 0.01, 0.03], range(2)


def results(build, population, *, rates=RATES, seeds=SEEDS, jobs=1):
    study = fn.sweep(build, {"lr": rates}, seeds=seeds, jobs=jobs, progress=False, population=population)
    found = [(m.point["lr"], m.seed, m.error, m.values, m.warnings) for m in study.members]
    histories = [None if m.history is None else m.history.as_dict() for m in study.members]
    return study, json.dumps([found, histories])


def check_same_bits(make_runs, *, together=True, **options):
    """Compare sweeps with and without population; returns the members of the former.

    `together` is whether the runs that do not fail are trained together.
    """
    alone, expected = results(one := make_runs(), False, **options)
    study, found = results(all_runs := make_runs(), True, **options)
    assert found == expected
    states = one.states()
    for key, array in all_runs.states().items():
        np.testing.assert_array_equal(array, states[key], err_msg=str(key))
    assert {member.together for member in alone.members} == {1}
    assert {member.together > 1 for member in study.members if member.error is None} == {together}
    return study.members


LOSSES = {
    "cross_entropy": ("labels", 3),
    "squared_error": ("numbers", 3),
    "huber": ("numbers", 3),
    "absolute_error": ("numbers", 3),
    "binary_cross_entropy": ("binary", 2),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_have_the_same_bits(loss):
    kind, outputs = LOSSES[loss]
    check_same_bits(lambda: Runs(lambda: net(outputs), data=lambda: data(kind), loss=loss))


def momentum(lr):
    return fn.SGD(lr=lr, momentum=0.9, nesterov=lr > 0.005, weight_decay=0.01 * (lr > 0.01))


@pytest.mark.parametrize("keep", [False, True], ids=["fused", "separate"])
@pytest.mark.parametrize("optimizer", [fn.SGD, momentum, fn.Adam, fn.AdamW], ids=lambda o: o.__name__)
def test_optimizers_have_the_same_bits(optimizer, keep):
    """Their settings may differ from run to run: here the Nesterov momentum and the weight decay do."""
    check_same_bits(lambda: Runs(optimizer=optimizer, keep_gradients=keep))


@pytest.mark.parametrize("act", [fn.Sigmoid, fn.Tanh, fn.LeakyReLU, fn.ELU, fn.GELU, fn.SiLU])
def test_activations_have_the_same_bits(act):
    check_same_bits(lambda: Runs(lambda: net(act=act, hidden=(5, 4))))


@pytest.mark.parametrize("isa", cpu.supported())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_instruction_sets_and_dtypes_have_the_same_bits(isa, dtype):
    """With as many classes as lanes, one more, and more than two vectors of them, and hidden units beyond."""
    before = core.isa()
    core.select_isa(isa)
    try:
        for outputs in (3, lanes(dtype) + 1, 2 * lanes(dtype) + 3):
            check_same_bits(lambda: Runs(lambda: net(outputs, (37,), dtype=dtype), epochs=1))  # noqa: B023
    finally:
        core.select_isa(before)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_data_are_scaled_and_converted_as_alone(dtype):
    check_same_bits(lambda: Runs(data=lambda: data(dtype=dtype)))


@pytest.mark.parametrize("features", [255, 256, 301])
def test_sums_over_many_features_have_the_same_bits(features):
    """From 256 features on, a layer adds the sums over two halves of them."""
    x = np.random.default_rng(1).random((50, features), np.float32)

    def model():
        return fn.Sequential(fn.Linear(features, 21), fn.ReLU(), fn.Linear(21, 4))

    check_same_bits(lambda: Runs(model, data=lambda: (x, np.arange(50) % 4)))


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize(
    "batch",
    [{"batch_size": 203}, {"batch_size": 128}, {"batch_size": 7, "drop_last": True}, {"order": "fixed"}],
    ids=str,
)
def test_batches_have_the_same_bits(batch, fuse):
    """203 samples: the last batch of 8 is shorter, and one batch of all has an epoch of one update.

    From 128 rows on, gradients are summed in chunks.
    """
    check_same_bits(lambda: Runs(fuse=fuse, **batch))


def test_schedules_and_validation_have_the_same_bits():
    held_out = data(count=40)
    check_same_bits(lambda: Runs(schedule=fn.schedules.Cosine(), validation=held_out, validate_every=9))
    check_same_bits(lambda: Runs(schedule=fn.schedules.OneCycle(), validation=0.2))


@wide
def test_more_runs_than_lanes_have_the_same_bits():
    check_same_bits(Runs, rates=[0.01], seeds=range(2 * lanes("float32") + 1))


@wide
@pytest.mark.parametrize("jobs", [2, 3])
def test_runs_in_several_threads_have_the_same_bits(jobs):
    """A thread that starts late may find a single run left, which it trains alone."""
    options = {"rates": [0.01], "seeds": range(2 * lanes("float32") + 1), "jobs": jobs}
    _, expected = results(Runs(), False, **options)
    study, found = results(Runs(), True, **options)
    assert found == expected
    assert max(member.together for member in study.members) > 1


@wide
def test_models_of_different_shapes_are_trained_with_their_like():
    def runs():
        made = iter([(8,), (5,), (8,), (5, 5), (8,), (5,)])
        return Runs(lambda: net(hidden=next(made)))

    _, expected = results(runs(), False)
    study, found = results(runs(), True)
    assert found == expected
    assert [member.together for member in study.members] == [3, 2, 3, 1, 3, 2]


@wide
def test_updates_with_and_without_momentum_are_made_with_their_like():
    members = check_same_bits(
        lambda: Runs(optimizer=lambda lr: fn.SGD(lr=lr, momentum=0.9 * (lr > 0.01))), rates=[0.01, 0.02]
    )
    assert {member.together for member in members} == {2}


@wide
@pytest.mark.parametrize("on_nonfinite", ["raise", "stop", "ignore"])
def test_a_diverging_run_does_not_disturb_the_others(on_nonfinite):
    """At the learning rates 4 and 8, the squared error grows until it is infinite, in different updates."""

    def runs():
        return Runs(
            lambda: net(act=fn.Identity),
            data=lambda: data("numbers"),
            loss="squared_error",
            on_nonfinite=on_nonfinite,
        )

    raises = on_nonfinite == "raise"
    warned = pytest.warns(
        UserWarning, match="4 of 8 runs failed, the first one with NonFiniteError: the loss"
    )
    with warned if raises else nullcontext():
        members = check_same_bits(runs, rates=[0.01, 4.0, 0.03, 8.0])
    assert {member.together for member in members} == {size_of_group(8)}
    assert [member.error is not None for member in members] == ([False] * 2 + [raises] * 2) * 2
    for member in members:
        if member.history is not None:
            assert bool(member.history.stopped) == (on_nonfinite == "stop" and member.point["lr"] > 1)


class Quiet(fn.Callback):
    """A callback that does nothing."""


ALONE = {
    "a callback": lambda: Runs(callbacks=[Quiet()]),
    "early stopping": lambda: Runs(callbacks=fn.EarlyStopping(patience=1), validation=0.2),
    "an average of the weights": lambda: Runs(ema=0.9),
    "clipping": lambda: Runs(clip_norm=0.1),
    "gradients in pieces": lambda: Runs(micro_batch=4, drop_last=True),
    "no plan": lambda: Runs(plan=False),
    "dropout": lambda: Runs(lambda: fn.Sequential(fn.Linear(6, 8), fn.Dropout(0.5), fn.Linear(8, 3))),
    "batch norm": lambda: Runs(lambda: fn.Sequential(fn.Linear(6, 8), fn.BatchNorm1d(8), fn.Linear(8, 3))),
    "label smoothing": lambda: Runs(loss=fn.CrossEntropy(label_smoothing=0.1)),
    "class weights": lambda: Runs(loss=fn.CrossEntropy(weight=[1, 2, 3])),
    "RMSprop": lambda: Runs(optimizer=fn.RMSprop),
    "many weights": lambda: Runs(lambda: net(hidden=(2000,)), epochs=1),
    "sample weights": lambda: Runs(data=lambda: (*data(), np.linspace(0, 1, 203))),
    "a single output": lambda: Runs(
        lambda: net(1), data=lambda: (data()[0], data()[1][:, None] > 0), loss="binary_cross_entropy"
    ),
    "few outputs of many features": lambda: Runs(
        lambda: fn.Sequential(fn.Linear(300, 3)),
        data=lambda: (np.ones((64, 300), np.float32), np.zeros(64, int)),
    ),
}


@pytest.mark.parametrize("what", ALONE)
def test_other_runs_are_trained_alone(what):
    check_same_bits(ALONE[what], together=False)


def test_runs_of_other_backends_are_trained_alone():
    with fn.backend("ref"):
        check_same_bits(lambda: Runs(epochs=1), together=False)


def test_population_false_trains_each_run_alone():
    study, _ = results(Runs(), False)
    assert [member.together for member in study.members] == [1] * 6
    with pytest.raises(TypeError, match="population must be True or False"):
        fn.sweep(Runs(), {"lr": [0.1]}, population="no")


def test_training_inside_build_is_no_part_of_a_population():
    def build(lr, seed):
        model = net()
        return fn.fit(model, data(), optimizer=fn.SGD(lr=lr), seed=seed, progress=False)

    study = fn.sweep(build, {"lr": RATES}, seeds=[0], jobs=1, progress=False)
    assert [member.together for member in study.members] == [1, 1, 1]


@wide
def test_a_failing_build_leaves_the_other_runs_together():
    def build(lr, seed):
        if seed == 1:
            raise OverflowError("seed 1 is bad")
        return Runs()(lr, seed)

    with pytest.warns(UserWarning, match="3 of 9 runs failed.*seed 1 is bad"):
        study = fn.sweep(build, {"lr": RATES}, jobs=1, progress=False)
    assert [member.together for member in study.members] == [size_of_group(6), 1, size_of_group(6)] * 3


def test_the_time_of_an_update_is_shared_by_its_runs():
    study, _ = results(Runs(epochs=20), True)
    assert all(0 < member.seconds < 60 for member in study.members)
    assert not any(thread.name.startswith("fastnn-sweep") for thread in threading.enumerate())


@wide
def test_a_study_keeps_how_its_runs_were_trained(tmp_path):
    study, _ = results(Runs(), True)
    path = study.save(tmp_path / "study.json")
    assert [member.together for member in fn.Study.load(path).members] == [size_of_group(6)] * 6
    older = json.loads(path.read_text())
    for member in older["members"]:
        del member["together"]
    path.write_text(json.dumps(older))
    assert [member.together for member in fn.Study.load(path).members] == [1] * 6
