"""Several processes train one model: the result is that of one process, and the same in all of them."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest

import fastnn as fn
from fastnn.training.evaluation import evaluate_parts
from fastnn.training.processes import processes_of
from fastnn.training.samples import check_data

from .team import together

RNG = np.random.default_rng(0)
N = 53
X = RNG.standard_normal((N, 6))
LABELS = RNG.integers(0, 3, N)
WEIGHT = RNG.integers(0, 4, N).astype(float)
SOME_LABELS = np.where(RNG.random(N) < 0.3, -1, LABELS)
IMAGES = RNG.integers(0, 256, (N, 2, 3, 1), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _one_thread():
    fn.set_num_threads(1)


def net(*middle, dtype=np.float64):
    fn.manual_seed(0)
    return fn.Sequential(fn.Flatten(), fn.Linear(6, 8), *middle, fn.Tanh(), fn.Linear(8, 3)).to(dtype)


def state(model):
    return {
        name: array.value.tobytes() for name, array in (*model.named_parameters(), *model.named_buffers())
    }


def train(communicator=None, *, data=(X, LABELS), middle=(), optimizer=fn.Adam, dtype=np.float64, **options):
    """The history of a training, and the model."""
    model = net(*(make() for make in middle), dtype=dtype)
    common = {"batch_size": 16, "epochs": 2, "seed": 3, "validation": (X, LABELS)}
    options = {**common, **options, "optimizer": optimizer()}
    return fn.fit(model, data, communicator=communicator, **options), model


def check_same_as_one(count, **options):
    """All processes end alike, to the last bit, and as one process, up to rounding."""
    alone, expected = train(**options)
    results = together(count, partial(train, **options))
    history, model = results[0]
    for other, twin in results[1:]:
        assert (other.as_dict(), state(twin)) == (history.as_dict(), state(model))
    for name, curve in alone.items():
        np.testing.assert_allclose(history[name], curve, rtol=1e-11)
    np.testing.assert_allclose(history.updates["loss"], alone.updates["loss"], rtol=1e-12)
    for found, wanted in zip(model.parameters(), expected.parameters(), strict=True):
        np.testing.assert_allclose(found.value, wanted.value, rtol=1e-9, atol=1e-12)


OPTIONS = {
    "defaults": {},
    "eager": {"plan": False},
    "momentum": {"optimizer": lambda: fn.SGD(0.1, momentum=0.9, weight_decay=0.1), "keep_gradients": True},
    "pieces": {"micro_batch": 3},
    "eager pieces": {"micro_batch": 3, "plan": False},
    "clipped": {"clip_norm": 0.05, "clip_value": 0.1},
    "averages and schedule": {"ema": 0.5, "schedule": fn.schedules.Cosine()},
    "sum": {"loss": fn.CrossEntropy(reduction="sum"), "optimizer": lambda: fn.SGD(0.01)},
    "sample weights": {"data": (X, LABELS, WEIGHT)},
    "class weights": {"loss": fn.CrossEntropy(weight=[1, 5, 0.2])},
    "ignored labels": {"data": (X, SOME_LABELS), "loss": fn.CrossEntropy(ignore_index=-1)},
    "every 3 updates": {"validate_every": 3, "metrics": ["f1", "precision"]},
    "larger than the data": {"batch_size": 1000},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_result_is_that_of_one_process(options):
    """Batches of 16 and a last one of 5 make uneven shares for 3 processes."""
    check_same_as_one(3, **options)


def test_more_processes_than_samples_in_the_last_batch():
    check_same_as_one(4, batch_size=17)  # 17, 17, 17, 2


def test_streams_and_files_are_shared_alike(tmp_path):
    def batches():
        for start in range(0, N, 16):
            yield X[start : start + 16], LABELS[start : start + 16]

    np.save(tmp_path / "x.npy", X)
    check_same_as_one(2, data=(np.load(tmp_path / "x.npy", mmap_mode="r"), LABELS))
    alone = fn.fit(net(), batches, epochs=2, seed=0)
    for history in together(
        2, lambda communicator: fn.fit(net(), batches, epochs=2, seed=0, communicator=communicator)
    ):
        np.testing.assert_allclose(history.updates["loss"], alone.updates["loss"], rtol=1e-12)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_whole_numbers_are_exact(count, reduction):
    """Sums of integers and divisions by powers of 2 do not round: the same bits as in one process."""
    x, y = (np.random.default_rng(0).integers(-3, 4, (32, width)).astype(np.float32) for width in (6, 4))

    def step(communicator):
        model = fn.Sequential(fn.Linear(6, 8), fn.ReLU(), fn.Linear(8, 4))
        for seed, param in enumerate(model.parameters()):
            param.value = np.random.default_rng(seed).integers(-3, 4, param.shape)
        options = {"loss": fn.SquaredError(reduction), "optimizer": fn.SGD(1.0), "communicator": communicator}
        return fn.Trainer(model, **options).step(x, y), state(model)

    alone = step(None)
    assert together(count, step) == [alone] * count


def test_a_communicator_of_one_process_makes_no_call():
    def run(communicator):
        history, model = train(communicator)
        return history.as_dict(), state(model), communicator.calls

    history, model = train()
    assert together(1, run) == [(history.as_dict(), state(model), [])]


def test_an_update_is_one_sum_of_the_gradients():
    def run(communicator):
        model = net()
        trainer = fn.Trainer(model, communicator=communicator)
        trainer.step(X, LABELS)
        communicator.calls.clear()
        for _ in range(3):
            trainer.step(X, LABELS)
        return communicator.calls

    assert together(2, run) == [["Allreduce"] * 3] * 2


RANDOM = {
    "batch norm": {"middle": [lambda: fn.BatchNorm1d(8)]},
    "dropout": {"middle": [lambda: fn.Dropout(0.4)]},
    "augmentation": {"data": (IMAGES, LABELS), "validation": None, "augment": fn.augment.Rotate(20)},
}


@pytest.mark.parametrize("micro_batch", [None, 3])
@pytest.mark.parametrize("options", RANDOM.values(), ids=RANDOM)
def test_the_same_bits_each_time_with_plans_and_without(options, micro_batch):
    options = {**options, "micro_batch": micro_batch, "batch_size": 20, "dtype": np.float32}
    runs = []
    for plan in (True, True, False):
        results = together(2, partial(train, plan=plan, **options))
        runs += [(history.as_dict(), state(model)) for history, model in results]
    assert runs.count(runs[0]) == 6


def test_batch_norm_averages_the_running_statistics_of_the_shares():
    def step(communicator):
        model = net(fn.BatchNorm1d(8))
        fn.Trainer(model, communicator=communicator, seed=0).step(X[:13], LABELS[:13])
        return [buffer.value for buffer in model.buffers()]

    expected = [np.zeros(8), np.zeros(8)]
    for rows in (X[:7], X[7:13]):
        model = net(fn.BatchNorm1d(8))
        model.forward(rows, train=True)
        for total, buffer in zip(expected, model.buffers(), strict=True):
            total += buffer.value * (len(rows) / 13)
    for found in together(2, step):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_batch_norm_that_replaces_another_one_is_averaged_too():
    def run(communicator):
        fn.manual_seed(0)
        first, last = fn.Linear(6, 4), fn.Linear(4, 3)
        model = fn.Sequential(first, fn.BatchNorm1d(4, affine=False), last).to(np.float64)
        trainer = fn.Trainer(model, communicator=communicator, seed=0)
        trainer.step(X, LABELS)
        model.layers = [first, norm := fn.BatchNorm1d(4, affine=False).to(np.float64), last]
        trainer.step(X, LABELS)
        return [buffer.value.tolist() for buffer in norm.buffers()]

    one, other = together(2, run)
    assert one == other


@pytest.mark.parametrize("plan", [True, False])
def test_a_layer_in_python_that_makes_its_buffer_anew(plan):
    class Mean(fn.Layer):
        def __init__(self):
            self.mean = fn.Buffer(np.zeros(6))

        def forward(self, x, *, train=False):
            if train:
                self.mean = fn.Buffer(x.mean(axis=0))
            return x - self.mean.master, lambda dy, *, need_dx=True: dy

    def run(communicator):
        model = fn.Sequential(Mean(), net())
        trainer = fn.Trainer(model, communicator=communicator, seed=0, plan=plan)
        before = model[1][1].weight.value
        losses = [trainer.step(X[:16], LABELS[:16]) for _ in range(4)]
        assert len(set(losses)) == 4
        return losses, (model[1][1].weight.value - before).tolist()

    one, other = together(2, run)
    assert one == other
    assert one[1] == together(2, run)[0][1]


def test_a_buffer_that_training_does_not_change_keeps_its_bits():
    class Shifted(fn.Layer):
        def __init__(self):
            self.mean = fn.Buffer(np.array([0.1, 0.7, 1 / 3, 1e-5, 3.3, 9.1]))

        def forward(self, x, *, train=False):
            return x - self.mean.master, lambda dy, *, need_dx=True: dy

    def run(communicator):
        layer = Shifted()
        model = fn.Sequential(layer, net())
        trainer = fn.Trainer(model, communicator=communicator, seed=0)
        for _ in range(3):
            trainer.step(X[:16], LABELS[:16])
        return np.array_equal(layer.mean.value, Shifted().mean.value)

    assert together(3, run) == [True] * 3


def test_dropout_draws_another_mask_in_each_process():
    def run(communicator):
        dropout = fn.Dropout(0.5)
        fn.Trainer(fn.Sequential(dropout, net()), communicator=communicator, seed=0)
        return dropout.forward(np.ones((4, 6)), train=True)[0]

    one, other = together(2, run)
    assert not np.array_equal(one, other)


def test_evaluation_in_turns_has_the_bits_of_one_process():
    model = net()
    samples = check_data(model, fn.CrossEntropy(), (X, LABELS, WEIGHT), None)
    metrics = {"f1": fn.metrics.f1, "rows": lambda outputs, targets: float(len(outputs))}
    arguments = model, fn.CrossEntropy(), [samples], 8

    def run(communicator):
        trainer = fn.Trainer(net(), communicator=communicator, seed=0)
        trainer.begin_sums()
        return evaluate_parts(*arguments, metrics=metrics, processes=trainer.processes)

    assert together(3, run) == [evaluate_parts(*arguments, metrics=metrics)] * 3


def test_frozen_parameters_and_python_layers():
    class Half(fn.Layer):
        """It leaves its gradient out in every other step."""

        def __init__(self):
            self.scale = fn.Param(np.ones(6))
            self.calls = 0

        def forward(self, x, *, train=False):
            def backward(dy, *, need_dx=True):
                self.calls += 1
                if self.calls % 2:
                    self.scale.grad = (dy * x).sum(axis=0)
                return dy * self.scale.master

            return x * self.scale.master, backward

    def run(communicator, plan=True):
        layer = Half()
        model = fn.Sequential(layer, net())
        trainer = fn.Trainer(model, communicator=communicator, optimizer=fn.SGD(0.1), plan=plan, seed=0)
        found = []
        for step in range(6):
            model[1][1].weight.trainable = step < 2 or step > 3
            trainer.step(X[:16], LABELS[:16])
            found.append(state(model))
        return found

    planned = together(2, run)
    assert planned == together(2, lambda communicator: run(communicator, plan=False))
    assert planned[0] == planned[1]
    weights = [each["1.1.weight"] for each in planned[0]]
    assert weights[1] == weights[3] != weights[4]
    scales = [each["0.scale"] for each in planned[0]]
    assert scales[0] == scales[1] != scales[2]


def test_copies_belong_to_the_same_processes():
    def run(communicator):
        trainer = fn.Trainer(net(), communicator=communicator, seed=0)
        trainer.step(X, LABELS)
        twin = copy.deepcopy(trainer)
        losses = trainer.step(X, LABELS), twin.step(X, LABELS)
        assert pickle.loads(pickle.dumps(trainer)).processes.size == 1
        return *losses, state(trainer.model) == state(twin.model)

    for one, other, are_equal in together(2, run):
        assert one == other
        assert are_equal


@pytest.mark.parametrize("communicator", ["world", True, np, [0, 1]], ids=str)
def test_other_communicators_are_rejected(communicator):
    with pytest.raises(TypeError, match=r"communicator must be one of mpi4py, such as MPI\.COMM_WORLD"):
        processes_of(communicator)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 100])
def test_shares_cover_all_rows_once_and_differ_by_at_most_one(count, rows):
    shares = together(count, lambda communicator: processes_of(communicator).share(rows))
    assert [row for start, stop in shares for row in range(start, stop)] == list(range(rows))
    assert {stop - start for start, stop in shares} <= {rows // count, rows // count + 1}
