"""Another thread changes the user's arrays while kernels and training steps read them.

The results are undefined then, but memory is safe: an invalid index is refused, or its row is NaN. All calls
are made in a child process, so that a crash is a failed test. tests/native/indices.hpp hands invalid indices
to the kernels directly, under the sanitizers.
"""

import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from fastnn.kernels import BACKENDS

from .children import run_child

SECONDS = 1.0  # for each group of arrays; raise it for a longer search


@contextmanager
def changing(arrays):
    """A context in which another thread spoils and mends the last element of each array, in turn."""
    wrong = {"i": [10**9, 15, -(10**10)], "f": [np.nan, np.inf, 1e30], "u": [255]}
    done = threading.Event()

    def spoil_and_mend():
        while not done.is_set():
            for array in arrays:
                flat = array.reshape(-1)
                good = flat[-1].copy()
                for bad in wrong[array.dtype.kind]:
                    for _ in range(2000):  # about as long as a call
                        flat[-1] = bad
                        flat[-1] = good

    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=spoil_and_mend)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def in_child_kernels_run(backend, seconds):
    """Every kernel that reads indices, with outputs between margins that must stay intact."""
    import time
    from contextlib import suppress

    import numpy as np

    from fastnn.kernels import core, load
    from tests.kernels.test_changing_arrays import changing

    core.set_num_threads(2)
    kernel, rng = load(backend), np.random.default_rng(0)
    rows, classes, margin = 4096, 10, 64
    margins = []

    def output(*shape, dtype=np.float64):
        memory = np.zeros(int(np.prod(shape)) + 2 * margin, dtype)
        margins.extend((memory[:margin], memory[-margin:]))
        return memory[margin:-margin].reshape(shape)

    z, label = rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    weight, source = np.ones(classes), rng.integers(0, classes, 10)
    pixels = rng.normal(size=(10, 6, 6, 1))
    matrix = np.tile([1.0, 0, 0, 0, 1, 0], (rows, 1))
    dy, taps = rng.normal(size=(rows, 3, 3, 1)), rng.integers(0, 4, (rows, 3, 3, 1))
    tokens = label.astype(np.float64)
    losses, loss, count = output(rows), output(1), output(1, dtype=np.int64)
    steps = (2, 2), (2, 2), (0, 0)
    calls = [
        ("cross_entropy_labels", (z, label, weight, 0.0, 2, losses, loss, output(rows, classes))),
        ("cross_entropy_labels", (z, label, weight, 0.1, 2, losses, loss, output(rows, classes))),
        ("cross_entropy_labels", (z, label, None, 0.0, 2, losses, loss, None)),
        ("focal_labels", (z, label, weight, 2.0, 2, losses, loss, output(rows, classes))),
        ("count_correct_labels", (z, label, count)),
        ("gather", (pixels.reshape(10, -1), label, 1.0, output(rows, 36))),
        ("gather_labels", (source, label, output(rows, dtype=np.int64))),
        ("gather_labels", (np.stack([source] * 3, 1), label, output(rows, 3, dtype=np.int64))),
        ("warp", (pixels, label, matrix, None, 1.0, 0.0, output(rows, 6, 6, 1))),
        ("max_pool_dx", (dy, taps, *steps, output(rows, 6, 6, 1))),
        ("embedding_forward", (tokens, z, output(rows, classes))),
        ("embedding_dw", (tokens, z, -1, output(15, classes))),
    ]
    with np.errstate(all="ignore"):
        for name, arguments in calls:
            kernel[name](*arguments)
        for arrays in ([label], [taps], [tokens], [z, weight, source, pixels, matrix, dy]):
            end = time.monotonic() + seconds
            with changing(arrays):
                while time.monotonic() < end:
                    for name, arguments in calls:
                        with suppress(ValueError, IndexError):  # the check found the wrong index
                            kernel[name](*arguments)
                        assert not any(part.any() for part in margins), f"{name} wrote beside an output"


def in_child_training_runs(backend, seconds):
    """Steps with and without a plan, gradients, evaluation, predictions and whole trainings."""
    import time
    from contextlib import suppress

    import numpy as np

    import fastnn as fn
    from tests.kernels.test_changing_arrays import changing

    fn.set_num_threads(2)
    rng = np.random.default_rng(0)
    rows, classes = 4096, 10
    x = rng.random((rows, 6, 6, 1), np.float32)
    pixels = rng.integers(0, 256, x.shape, np.uint8)
    y = rng.integers(0, classes, rows)
    soft = np.eye(classes, dtype=np.float32)[y]
    logits = rng.normal(size=(rows, classes)).astype(np.float32)

    def net():
        return fn.Sequential(fn.MaxPool2d(2), fn.Flatten(), fn.Dropout(0.2), fn.Linear(9, classes))

    weights = rng.random(classes) + 0.5
    losses = [fn.CrossEntropy(weight=weights), fn.CrossEntropy(label_smoothing=0.1), fn.Focal()]
    options = [{"plan": plan, "on_nonfinite": act} for plan in (True, False) for act in ("raise", "ignore")]
    trainers = [fn.Trainer(net(), loss=loss, seed=0, **option) for loss in losses for option in options]
    masks = rng.integers(0, classes, x.shape[:3])
    pixel_loss = fn.CrossEntropy(weight=weights, ignore_index=classes + 7)
    pixel_trainers = [
        fn.Trainer(fn.Sequential(fn.Conv2d(1, classes, 1)), loss=loss, seed=0, **option)
        for loss in (pixel_loss, fn.CrossEntropy(weight=weights))
        for option in options
    ]
    model = net()
    calls = [
        *(lambda trainer=trainer: trainer.step(x, y) for trainer in trainers),
        *(lambda trainer=trainer: trainer.step(x[:256], masks[:256]) for trainer in pixel_trainers),
        lambda: trainers[0].step(x, soft),
        lambda: fn.gradients(model, (x, y)),
        lambda: fn.cross_entropy(logits, y, weight=weights),
        lambda: fn.focal(logits, y),
        lambda: fn.evaluate(model, (x, y)),
        lambda: fn.evaluate(model, (pixels, y)),
        lambda: model.predict(x),
        lambda: fn.metrics.confusion(logits, y, classes=classes),
        lambda: fn.fit(net(), (pixels, y), validation=(x, y), batch_size=256, progress=False),
        lambda: fn.fit(net(), (x, y), batch_size=256, progress=False, augment=fn.augment.Shift(1)),
    ]
    with fn.backend(backend), np.errstate(all="ignore"):
        for _ in range(2):
            for call in calls:
                call()
        for arrays in ([y, masks[:256]], [x, pixels, soft, logits, weights]):
            end = time.monotonic() + seconds
            with changing(arrays):
                while time.monotonic() < end:
                    for call in calls:
                        with suppress(ValueError, IndexError, fn.NonFiniteError):
                            call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("run", [in_child_kernels_run, in_child_training_runs])
def test_arrays_that_change_meanwhile_do_no_harm(run, backend):
    run_child(run, backend, SECONDS, limit=300)


def test_numba_reads_an_index_once():
    """By an atomic load, which LLVM may not repeat; -1 stands for an index out of range."""
    from numba import njit

    from fastnn.kernels.jit.indices import index_at

    read = njit(lambda index, i, limit: index_at(index, i, limit))
    index = np.array([0, 9, 10, -1, 2**63 - 1, -(2**63)])
    assert [read(index, i, 10) for i in range(6)] == [0, 9, -1, -1, -1, -1]
    (code,) = read.inspect_llvm().values()
    assert code.count("load atomic i64") == 1
