"""Many checks in one start of mpirun: `mpirun -n 2 python tests/training/mpi_program.py FOLDER`.

With a second argument, "kill", the last process ends itself during a training instead.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from mpi4py import MPI

import fastnn as fn

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.Get_rank(), WORLD.Get_size()
LAST = SIZE - 1
RNG = np.random.default_rng(0)
LOSS = fn.SquaredError("sum")  # no division, which would round
X, LABELS = RNG.standard_normal((70, 6)), RNG.integers(0, 3, 70)


def net(*middle, dtype=np.float64):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(6, 16), *middle, fn.ReLU(), fn.Linear(16, 3)).to(dtype)


def fit(model, communicator=WORLD, **options):
    common = {"batch_size": 16, "epochs": 2, "seed": 1, "validation": (X, LABELS)}
    history = fn.fit(model, (X, LABELS), communicator=communicator, **{**common, **options})
    return history.as_dict(), [held.value.tobytes() for held in (*model.parameters(), *model.buffers())]


def check_alike(value):
    """All processes have this value; returns it."""
    values = WORLD.allgather(value)
    assert all(each == values[0] for each in values), values
    return value


def raised(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def check_the_result_is_that_of_one_process(folder):
    alone, together = net(), net()
    expected, _ = fit(alone, None)
    found, _ = check_alike(fit(together))
    for name, curve in expected["epochs"].items():
        np.testing.assert_allclose(found["epochs"][name], curve, rtol=1e-11)
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-9, atol=1e-12)


def check_batch_norm_over_all_processes(folder):
    alone, together = (net(fn.BatchNorm1d(16)) for _ in range(2))
    expected, _ = fit(alone, None, sync_batch_norm=True)
    found, _ = check_alike(fit(together, sync_batch_norm=True))
    for name, curve in expected["epochs"].items():
        np.testing.assert_allclose(found["epochs"][name], curve, rtol=1e-10)
    for one, other in zip(together.buffers(), alone.buffers(), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-9)


def check_whole_numbers_are_exact(folder):
    x, y = (np.random.default_rng(0).integers(-3, 4, (32, width)).astype(np.float32) for width in (6, 3))
    steps = []
    for communicator in (None, WORLD):
        model = net(dtype=np.float32)
        for seed, param in enumerate(model.parameters()):
            param.value = np.random.default_rng(seed).integers(-3, 4, param.shape)
        trainer = fn.Trainer(model, loss=LOSS, optimizer=fn.SGD(1.0), communicator=communicator)
        steps.append((trainer.step(x, y), [param.value.tobytes() for param in model.parameters()]))
    assert steps[0] == steps[1]


def check_the_same_bits_each_time(folder):
    def run():
        return fit(net(fn.BatchNorm1d(16), fn.Dropout(0.3), dtype=np.float32), micro_batch=3)

    assert check_alike(run()) == run()


def check_differences_are_named(folder):
    if SIZE > 1:
        error = raised(lambda: fit(net(), batch_size=16 + (RANK == LAST)))
        assert f"batch_size is 16, but in process {LAST} it is 17" in str(error), error


def check_an_error_in_one_process_is_raised_in_all(folder):
    def fail(training):
        if RANK == LAST and training.epoch == 1:
            raise ZeroDivisionError("boom")

    error = raised(lambda: fit(net(), callbacks=fail))
    expected = "boom" if RANK == LAST else f"process {LAST} of {SIZE} failed: ZeroDivisionError: boom"
    assert str(error) == expected


def check_what_stops_one_process_stops_all(folder):
    class Stop(fn.Callback):
        def on_update(self, training, loss):
            if RANK == LAST and training.updates == 3:
                training.stop("enough")

    history, _ = check_alike(fit(net(), callbacks=Stop()))
    assert history["stopped"] == "enough"
    assert len(history["updates"]["loss"]) == 3


def check_a_checkpoint_resumes_with_the_same_bits(folder):
    def run(path, epochs):
        return fit(net(fn.Dropout(0.3)), checkpoint=folder / path, epochs=epochs)

    run("parts", 1)
    assert check_alike(run("parts", 3)) == run("whole", 3)


def check_a_process_that_cannot_write(folder):
    """The first process cannot: all say so. Another one need not."""
    missing = "/proc/not-there/checkpoint"
    if SIZE > 1:
        fit(net(), checkpoint=folder / "first" if RANK == 0 else missing)
    error = raised(lambda: fit(net(), checkpoint=missing))
    assert "/proc/not-there" in str(error)


def die_in_training(folder):
    """The last process is killed after the second epoch."""

    def kill(training):
        if training.epoch == 1 and RANK == LAST:
            os.kill(os.getpid(), signal.SIGKILL)

    fit(net(), callbacks=kill, checkpoint=fn.Checkpoint(folder / "killed", seconds=0), epochs=100)


if __name__ == "__main__":
    fn.set_num_threads(1)
    if "kill" in sys.argv:
        die_in_training(Path(sys.argv[1]))
    checks = [name for name in sorted(globals()) if name.startswith("check_") and name != "check_alike"]
    for name in checks:
        globals()[name](Path(sys.argv[1]))
        WORLD.Barrier()
    if RANK == 0:
        print(f"{len(checks)} checks in {SIZE} processes")
