"""What one process of a training meets, all learn: differences, errors, the end, checkpoints."""

import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn.training import agreement

from .team import ThreadCommunicator, together

RNG = np.random.default_rng(0)
X = RNG.standard_normal((100, 6)).astype(np.float32)
LABELS = np.arange(100) % 3


@pytest.fixture(autouse=True)
def _one_thread():
    fn.set_num_threads(1)


def net(seed=0):
    fn.manual_seed(seed)
    return fn.Sequential(fn.Linear(6, 16), fn.ReLU(), fn.Linear(16, 3))


def fit(communicator, *, model=None, data=(X, LABELS), **options):
    return fn.fit(
        model or net(),
        data,
        communicator=communicator,
        **{"batch_size": 20, "epochs": 3, "seed": 1, **options},
    )


DIFFERENCES = {
    "batch_size": (lambda rank: {"batch_size": 20 + rank}, "batch_size is 20, but in process 1 it is 21"),
    "epochs": (lambda rank: {"epochs": 3 + rank}, "epochs is 3, but in process 1 it is 4"),
    "optimizer": (lambda rank: {"optimizer": fn.SGD(0.5 + rank)}, "optimizer.lr is 0.5, but in process 1"),
    "loss": (lambda rank: {"loss": ["cross_entropy", "focal"][rank]}, "loss"),
    "data": (
        lambda rank: {"data": (X + rank, LABELS)},
        "data.x is 'float32.*: pass all data in each process, which takes its share of every batch",
    ),
    "labels": (lambda rank: {"data": (X, (LABELS + rank) % 3)}, "data.y is 'int64"),
    "validation": (lambda rank: {"validation": (X[rank:], LABELS[rank:])}, "validation.x is 'float32"),
    "model": (lambda rank: {"model": fn.Sequential(*[net(), fn.Tanh()][: 2 - rank])}, r"model\.layers\[1\]"),
    "weights": (
        lambda rank: {"model": net(rank)},
        r"weights\.0\.bias is .*: call fn\.manual_seed\(0\) before the model is built",
    ),
    # Descriptions have these settings only if they are set.
    "sync_batch_norm": (
        lambda rank: {"sync_batch_norm": rank == 0},
        "sync_batch_norm is True, but in process 1 it is False$",
    ),
    "micro_batch": (
        lambda rank: {"micro_batch": [None, 10][rank]},
        "micro_batch is None, but in process 1 it is 10$",
    ),
    "drop_last": (lambda rank: {"drop_last": rank == 1}, "drop_last is False, but in process 1 it is True$"),
    "validate_every": (
        lambda rank: {"validation": (X, LABELS), "validate_every": [2, "epoch"][rank]},
        "validate_every is 2, but in process 1 it is None$",
    ),
    "scale": (lambda rank: {"scale": 1.0 + rank}, "data.factor of x is None, but in process 1 it is 2.0"),
    "checkpoint": (lambda rank: {"checkpoint": [None, "c"][rank]}, "checkpoint is False, but in process 1"),
    "callback": (
        lambda rank: {"callbacks": fn.EarlyStopping("loss", patience=1 + rank)},
        r"callbacks\[0\]\.patience is 1, but in process 1 it is 2",
    ),
}


@pytest.mark.parametrize(("options", "message"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences_are_named_before_anything_changes(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(communicator):
        own = options(communicator.rank)
        own["model"] = model = own.get("model") or net()
        before = [param.value for param in model.parameters()]
        with pytest.raises(fn.ProcessError, match=f"process 1 differs from process 0.*{message}"):
            fit(communicator, **own)
        return all(map(np.array_equal, before, [param.value for param in model.parameters()]))

    assert together(2, run) == [True, True]
    assert not [*tmp_path.iterdir()]


def test_another_version_or_instruction_set_is_named(monkeypatch):
    real = agreement.environment

    def environment():
        is_other = threading.current_thread().name.endswith("_1")
        return {**real(), **({"fastnn": "9.9", "instruction_set": "v9"} if is_other else {})}

    monkeypatch.setattr(agreement, "environment", environment)
    for error in together(2, fit):
        assert "version of fastnn is '0.1.0', but in process 1 it is '9.9'" in str(error)
        assert "instruction set is " in str(error)
        assert str(error).endswith(
            "set the environment variable FASTNN_ISA to the lower one in all processes"
        )


def test_trainers_and_their_first_batches_are_compared():
    def differing(communicator):
        return fn.Trainer(net(), optimizer=fn.SGD(1.0 + communicator.rank), communicator=communicator)

    for error in together(2, differing):
        assert isinstance(error, fn.ProcessError)
        assert "optimizer.lr is 1.0, but in process 1 it is 2.0" in str(error)

    def synchronised(communicator):
        return fn.Trainer(net(), communicator=communicator, sync_batch_norm=communicator.rank == 1)

    for error in together(2, synchronised):
        assert str(error).endswith("sync_batch_norm is False, but in process 1 it is True")

    def own_share(communicator):
        trainer = fn.Trainer(net(), communicator=communicator)
        rows = slice(10 * communicator.rank, 10 * communicator.rank + 10)
        return trainer.step(X[rows], LABELS[rows])

    for error in together(2, own_share):
        assert isinstance(error, fn.ProcessError)
        assert "batch.x is" in str(error)
        assert "pass the whole batch in each process" in str(error)


@pytest.mark.parametrize("sizes", [(20, 10), (10, 20, 15)])  # 15 is the mean: this process sees no difference
@pytest.mark.parametrize("sync_batch_norm", [False, True])
def test_later_batches_of_another_size_are_an_error_in_all_processes(sizes, sync_batch_norm):
    def run(communicator):
        fn.manual_seed(0)
        model = fn.Sequential(fn.Linear(6, 8), fn.BatchNorm1d(8), fn.Linear(8, 3))
        trainer = fn.Trainer(model, communicator=communicator, seed=0, sync_batch_norm=sync_batch_norm)
        for count in (50, sizes[communicator.rank], 50):
            trainer.step(X[:count], LABELS[:count])

    errors = together(len(sizes), run)
    assert all(isinstance(error, fn.ProcessError) for error in errors)
    assert "a mini-batch of 10 rows in process" in str(errors[sizes.index(10)])
    assert "pass the whole batch in each process" in str(errors[sizes.index(10)])


def test_processes_without_seed_share_a_key():
    def run(communicator):
        fn.manual_seed(communicator.rank)
        return fit(communicator, model=net(), seed=None).updates["loss"]

    one, other = together(2, run)
    assert one == other


class Raise(fn.Callback):
    def __init__(self, rank, epoch, error, event="on_epoch_end"):
        self.rank, self.epoch, self.error = rank, epoch, error
        setattr(self, event, self.act)

    def act(self, training, *values):
        if training.trainer.processes.rank == self.rank and training.epoch == self.epoch:
            raise self.error


@pytest.mark.parametrize("error", [ValueError("boom"), KeyboardInterrupt(), SystemExit(3)], ids=repr)
@pytest.mark.parametrize("epoch", [0, 1, 2])
@pytest.mark.parametrize("rank", [0, 2])
def test_an_error_in_one_process_is_raised_in_all(rank, epoch, error):
    results = together(3, lambda communicator: fit(communicator, callbacks=Raise(rank, epoch, error)))
    assert results.pop(rank) is error
    for other in results:
        assert isinstance(other, fn.ProcessError)
        assert str(other).startswith(f"process {rank} of 3 failed: {type(error).__name__}")


@pytest.mark.parametrize("event", ["on_train_begin", "on_epoch_begin", "on_train_end"])
def test_errors_at_the_beginning_and_at_the_end(event):
    error = ValueError("boom")
    epoch = 3 if event == "on_train_end" else 0
    one, other = together(
        2, lambda communicator: fit(communicator, callbacks=Raise(1, epoch, error, event=event))
    )
    assert other is error
    assert str(one) == "process 1 of 2 failed: ValueError: boom"


def test_data_that_only_one_process_refuses():
    one, other = together(2, lambda c: fit(c, data=(X, LABELS[: 100 - c.rank])))
    assert isinstance(other, ValueError)
    assert str(one).startswith("process 1 of 2 failed: ValueError: x has 100 samples, but y has 99")
    for error in together(2, lambda communicator: fit(communicator, epochs=0)):
        assert isinstance(error, ValueError)

    def steps(communicator):
        trainer = fn.Trainer(net(), communicator=communicator)
        trainer.step(X, LABELS)
        labels = LABELS + 7 * communicator.rank
        before = [param.value for param in trainer.model.parameters()]
        with pytest.raises((ValueError, fn.ProcessError)):
            trainer.step(X, labels)
        after = [param.value for param in trainer.model.parameters()]
        return trainer.updates, all(map(np.array_equal, before, after)), trainer.step(X, LABELS)

    one, other = together(2, steps)
    assert one == other
    assert one[:2] == (1, True)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("on_nonfinite", ["raise", "stop"])
def test_nan_in_one_process_ends_the_training_in_all(on_nonfinite, plan):
    def run(communicator):
        calls = []

        class Spoil(fn.Layer):
            def forward(self, x, *, train=False):
                calls.append(train)
                is_spoilt = communicator.rank == 1 and calls.count(True) == 7
                return x * np.nan if is_spoilt else x, lambda dy, *, need_dx=True: dy

        model = fn.Sequential(Spoil(), net())
        history = fn.History()
        try:
            fit(communicator, model=model, on_nonfinite=on_nonfinite, history=history, plan=plan)
        except fn.NonFiniteError as error:
            history.stopped = str(error)
        return history.as_dict(), [param.value.tobytes() for param in model.parameters()]

    one, other = together(2, run)
    assert one == other
    assert one[0]["stopped"].startswith("the loss is nan at update 7")
    assert len(one[0]["updates"]["loss"]) == 6


@pytest.mark.parametrize("plan", [True, False])
def test_a_norm_that_is_not_finite_changes_nothing_in_any_process(plan):
    def run(communicator):
        model = fn.Sequential(net()).to(np.float64)
        model[0][2].weight.value = 1e160 * model[0][2].weight.value
        options = {"loss": "absolute_error", "clip_norm": 1.0, "optimizer": "sgd", "plan": plan}
        trainer = fn.Trainer(model, communicator=communicator, seed=0, **options)
        before = [param.value for param in model.parameters()]
        for _ in range(2):
            with pytest.raises(fn.NonFiniteError, match="norm of the gradients is inf"):
                trainer.step(X, np.eye(3)[LABELS])
        return all(map(np.array_equal, before, [param.value for param in model.parameters()]))

    assert together(2, run) == [True, True]


class Stop(fn.Callback):
    def __init__(self, rank, update):
        self.rank, self.update = rank, update

    def on_update(self, training, loss):
        if training.trainer.processes.rank == self.rank and training.updates == self.update:
            training.stop("enough")


@pytest.mark.parametrize("update", [1, 3, 5, 7, 15])
@pytest.mark.parametrize("rank", [0, 1])
def test_what_stops_one_process_stops_all(rank, update):
    def run(communicator):
        model = net()
        options = {"validation": (X, LABELS), "validate_every": 2, "callbacks": Stop(rank, update)}
        history = fit(communicator, model=model, **options)
        return history.as_dict(), [param.value.tobytes() for param in model.parameters()]

    one, other = together(2, run)
    assert one == other
    assert one[0]["stopped"] == "enough"
    assert len(one[0]["updates"]["loss"]) == update


def test_streams_of_other_lengths_are_named():
    def run(communicator):
        def batches():
            for start in range(0, 100 - 20 * communicator.rank, 20):
                yield X[start : start + 20], LABELS[start : start + 20]

        return fn.fit(net(), batches, communicator=communicator, epochs=2, seed=0)

    for error in together(2, run):
        assert "process 1 of 2 makes no more updates, but process 0 makes one: pass the same" in str(error)


def test_batch_norm_needs_two_samples_in_each_process():
    def model():
        fn.manual_seed(0)
        return fn.Sequential(fn.Linear(6, 4), fn.BatchNorm1d(4), fn.Linear(4, 3))

    for error in together(4, lambda communicator: fit(communicator, model=model(), batch_size=7)):
        assert "at least 8 samples in a mini-batch that 4 processes share" in str(error)
    # 12 batches of 8 and a last one of 4, which joins the one before it.
    for history in together(4, lambda communicator: fit(communicator, model=model(), batch_size=8, epochs=1)):
        assert len(history.updates["loss"]) == 12

    def step(communicator):
        return fn.Trainer(model(), communicator=communicator).step(X[:7], LABELS[:7])

    for error in together(4, step):
        assert "4 processes share a mini-batch of 7 samples" in str(error)


def test_a_loss_of_ones_own_without_sums_is_refused():
    class Own(fn.SquaredError):
        def value_and_gradient(self, y, target, sample_weight=None, reduction=None):
            return super().value_and_gradient(y, target, sample_weight, reduction)

    def run(communicator):
        return fit(communicator, loss=Own(), data=(X, X[:, :3]))

    for error in together(2, run):
        assert str(error).startswith("communicator needs the sum of the losses")


def test_the_first_process_writes_and_the_others_resume_with_it(tmp_path):
    def run(communicator, epochs, path):
        fn.manual_seed(0)
        model = fn.Sequential(fn.Linear(6, 16), fn.BatchNorm1d(16), fn.Dropout(0.3), fn.Linear(16, 3))
        own = path if communicator.rank == 0 else "/proc/not-there/checkpoint"  # only the first one writes
        logger = fn.CSVLogger(path.with_suffix(".csv") if communicator.rank == 0 else "/proc/not-there/log")
        options = {"checkpoint": own, "validation": 0.2, "callbacks": [fn.EarlyStopping(patience=9), logger]}
        history = fit(communicator, model=model, epochs=epochs, **options)
        return history.as_dict(), [param.value.tobytes() for param in model.parameters()]

    whole = together(2, lambda communicator: run(communicator, 4, tmp_path / "whole"))
    together(2, lambda communicator: run(communicator, 2, tmp_path / "parts"))
    resumed = together(2, lambda communicator: run(communicator, 4, tmp_path / "parts"))
    assert resumed == whole == [whole[0]] * 2
    assert len((tmp_path / "parts.csv").read_text().splitlines()) == 5
    first, *others = together(3, lambda communicator: run(communicator, 6, tmp_path / "parts"))
    assert isinstance(first, fn.CheckpointError)
    assert "processes was 2, is 3" in str(first)
    assert {str(other) for other in others} == {f"process 0 of 3 failed: CheckpointError: {first}"}


def test_a_checkpoint_that_the_first_process_cannot_write_or_find(tmp_path):
    for options, kind in (
        ({"checkpoint": "/proc/not-there/checkpoint"}, OSError),
        ({"checkpoint": tmp_path / "c", "resume": True}, FileNotFoundError),
        ({"checkpoint": tmp_path}, IsADirectoryError),
    ):
        first, other = together(2, lambda communicator, options=options: fit(communicator, **options))
        assert isinstance(first, kind)
        assert str(other) == f"process 0 of 2 failed: {type(first).__name__}: {first}"


def test_only_the_first_process_shows_the_progress(capfd):
    together(2, lambda communicator: fit(communicator, progress=True))
    assert capfd.readouterr().err.count("epoch 1/3") == 1


def test_lost_processes_are_reported():
    class Broken:
        def Get_rank(self):  # noqa: N802
            return 1

        def Get_size(self):  # noqa: N802
            return 2

        def Allreduce(self, sendbuf, recvbuf):  # noqa: N802
            raise RuntimeError("MPI_ERR_PROC_FAILED")

        def allgather(self, sendobj):
            raise RuntimeError("MPI_ERR_PROC_FAILED")

    message = r"process 1 of 2 can no longer reach the others \(MPI_ERR_PROC_FAILED\): one of them has ended"
    with pytest.raises(fn.ProcessError, match=message):
        fit(Broken())


def test_processes_that_validate_where_others_end_are_counted():
    def run(communicator):
        trainer = fn.Trainer(net(), communicator=communicator, seed=0)
        trainer.begin_sums()
        trainer.processes.meet(validating=communicator.rank == 0)

    for error in together(3, run):
        assert str(error).startswith("1 of 3 processes validate, but the others have ended the training")


def test_a_communicator_without_processes_is_refused():
    class Null(ThreadCommunicator):
        def __bool__(self):  # as in mpi4py
            return False

    with pytest.raises(ValueError, match=r"communicator is MPI\.COMM_NULL, to which no process belongs"):
        fit(Null(0, [], None))


def test_crowded_processors_are_reported():
    fn.set_num_threads(64)
    results = together(2, fit)
    fn.set_num_threads(1)
    assert "2 processes with 64 threads each share" in str(results[0])  # warnings are errors here
