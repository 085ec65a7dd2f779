"""Features in files that are read by slices: h5py datasets, Zarr arrays and similar objects."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import fastnn as fn
from fastnn._sources import stored
from fastnn.training.orders import indices
from tests.systems import needs_linux

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1000, 6)).astype(np.float32)
Y = np.arange(1000) % 3


class Slices:
    """Rows with shape, dtype and slices; counts the reads."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, chunks
        self.reads, self.threads = [], set()

    def __getitem__(self, index):
        assert isinstance(index, slice)
        self.reads.append((index.start, index.stop))
        self.threads.add(threading.current_thread())
        return self.array[index]


def small_net(features=6):
    fn.manual_seed(0)
    return fn.Sequential(fn.Flatten(), fn.Linear(features, 3))


@pytest.fixture(params=["h5py", "chunked h5py", "zarr", "slices"])
def store(request, tmp_path):
    """A function array -> the same array in a file of one library."""
    files = []

    def make(array):
        if request.param == "slices":
            return Slices(array)
        if request.param == "zarr":
            zarr = pytest.importorskip("zarr")
            result = zarr.create_array(
                tmp_path / f"{len(files)}.zarr",
                shape=array.shape,
                dtype=array.dtype,
                chunks=(16, *array.shape[1:]),
            )
            result[:] = array
        else:
            h5py = pytest.importorskip("h5py")
            chunks = (16, *array.shape[1:]) if request.param == "chunked h5py" else None
            files.append(h5py.File(tmp_path / f"{len(files)}.h5", "w"))
            result = files[-1].create_dataset("x", data=array, chunks=chunks)
        return result

    yield make
    for file in files:
        file.close()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 32 rows of `X`."""
    monkeypatch.setattr("fastnn._sources.base.BLOCK_BYTES", 32 * 6 * 4)


@pytest.mark.parametrize(
    ("dtype", "order"),
    [
        ("float32", "fixed"),
        ("float64", "fixed"),
        ("int16", "fixed"),
        ("float32", "blocks"),
        ("uint8", "blocks"),
    ],
)
@pytest.mark.usefixtures("small_blocks")
def test_stored_features_give_the_same_bits_as_arrays(store, dtype, order):
    x = (np.abs(X) * 10).astype(dtype)
    results = []
    for data in (x, store(x)):
        model = small_net()
        validation = 0.2 if order == "fixed" else None  # a split of arrays makes other blocks
        options = {"validation": validation, "order": order, "epochs": 2, "seed": 5, "watch": False}
        history = fn.fit(model, (data, Y), batch_size=48, **options)
        step = fn.Trainer(small_net(), seed=0).step(data, Y)
        values = fn.evaluate(model, (data, Y)), fn.gradients(model, (data, Y)), model.predict(data).tobytes()
        results.append((history.updates["loss"], dict(history), step, values))
    assert results[0] == results[1]


@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_the_default_order(store):
    losses = [
        fn.fit(small_net(), (data, Y), seed=0, epochs=2, **options).updates["loss"]
        for data, options in ((X, {"order": "blocks"}), (store(X), {}))
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("order", ["random", "alternate", "balanced"])
def test_orders_that_jump_in_the_file_are_refused(order):
    with pytest.raises(ValueError, match=f"order='{order}' would read most of the file for each mini-batch"):
        fn.fit(small_net(), (Slices(X), Y), order=order)


def test_order_of_blocks_mixes_rows_within_a_few_blocks():
    order = indices("blocks", np.zeros(1000, np.int64), 7, 0, np.arange(1000) // 32)
    assert sorted(order) == list(range(1000))
    for window in range(0, 32, 4):
        blocks = set(order[window * 32 : (window + 4) * 32 - 24] // 32)  # the last block has 8 rows
        assert len(blocks) <= 5
    assert len(set(order[:64] // 32)) > 2
    assert (indices("blocks", np.zeros(1000, np.int64), 7, 1, np.arange(1000) // 32) != order).any()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("batch_size", [7, 48, 500])
def test_each_block_is_read_once_per_epoch_by_a_thread(batch_size):
    x = Slices(X)
    data = x, Y
    fn.fit(small_net(), data, batch_size=batch_size, on_nonfinite="ignore", watch=False, epochs=1, seed=0)
    by_thread = [read for read in x.reads if read[1] - read[0] in (32, 8)]
    assert len(by_thread) == len(set(by_thread)) == 32
    assert any(thread.name.startswith("fastnn-read") for thread in x.threads)
    assert not any(thread.name.startswith("fastnn-read") for thread in threading.enumerate())


@pytest.mark.parametrize("validation", [None, 0.2])
@pytest.mark.usefixtures("small_blocks")
def test_few_blocks_are_in_memory(monkeypatch, validation):
    most = 0
    blocks = stored._ReadAhead.blocks

    def counting(self, numbers):
        nonlocal most
        result = blocks(self, numbers)
        most = max(most, len(self.futures))
        return result

    monkeypatch.setattr(stored._ReadAhead, "blocks", counting)
    fn.fit(small_net(), (Slices(X), Y), batch_size=16, epochs=2, seed=0, validation=validation)
    assert 4 < most <= 3 * stored.WINDOW


@pytest.mark.usefixtures("small_blocks")
def test_callbacks_may_read_any_rows_between_updates():
    class Reads(fn.Callback):
        def on_update(self, training, loss):
            x = training.samples.x  # the rows of the training among all rows
            np.testing.assert_array_equal(x.rows[np.array([999, 0, 500])], X[[999, 0, 500]])

    data = Slices(X), Y
    plain = fn.fit(small_net(), data, validation=0.2, seed=0, watch=False)
    watched = fn.fit(small_net(), data, validation=0.2, seed=0, watch=False, callbacks=Reads())
    assert plain == watched


@pytest.mark.parametrize("error", [RuntimeError("broken disk"), KeyError("gone")])
def test_an_error_while_reading_is_raised_as_oserror_with_the_rows(error):
    class Broken(Slices):
        def __getitem__(self, index):
            if threading.current_thread().name.startswith("fastnn-read"):
                raise error
            return super().__getitem__(index)

    model = small_net()
    with pytest.raises(OSError, match=rf"rows 0 to 999 of x cannot be read .{type(error).__name__}: "):
        fn.fit(model, (Broken(X), Y))
    np.testing.assert_array_equal(model[1].weight.value, small_net()[1].weight.value)


def test_a_file_that_is_closed_meanwhile_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", data=X)
        model, history = small_net(), fn.History()
        with pytest.raises(OSError, match=r"rows 0 to 999 of x cannot be read .*: its file must stay open"):
            fn.fit(model, (x, Y), epochs=3, history=history, callbacks=lambda training: file.close())
    assert len(history["loss"]) == 1  # nothing of the first epoch is lost
    assert not np.array_equal(model[1].weight.value, small_net()[1].weight.value)
    for use in (lambda: fn.fit(model, (x, Y)), lambda: model.predict(x), lambda: fn.evaluate(model, (x, Y))):
        with pytest.raises(OSError, match=r"x cannot be read: .*; open its file again"):
            use()


def test_a_file_that_shrinks_is_named():
    x = Slices(X)

    def shrink(training):
        x.array = X[:500]

    with pytest.raises(OSError, match=r"rows 0 to 999 of x have the shape \(500, 6\), not \(1000, 6\)"):
        fn.fit(small_net(), (x, Y), epochs=2, callbacks=shrink)


def test_a_training_on_a_file_resumes(store, tmp_path):
    path, x = tmp_path / "run", store(X)
    whole = fn.fit(small_net(), (x, Y), epochs=4, seed=0)
    fn.fit(small_net(), (x, Y), epochs=2, seed=0, checkpoint=path)
    resumed = fn.fit(small_net(), (x, Y), epochs=4, seed=0, checkpoint=path)
    assert resumed.updates["loss"] == whole.updates["loss"]


def test_nan_in_a_file_is_named(store):
    x = X.copy()
    x[700, 4] = np.nan
    with pytest.raises(fn.NonFiniteError, match="1 value of x is NaN or inf, nan in row 700, column 4"):
        fn.fit(small_net(), (store(x), Y))


def test_images_in_a_file_are_augmented(store):
    images = RNG.normal(size=(60, 6, 6)).astype(np.float32)
    losses = [
        fn.fit(
            small_net(36), (x, Y[:60]), order="fixed", augment=fn.augment.Shift(1), seed=0, watch=False
        ).updates["loss"]
        for x in (images, store(images))
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_unsuitable_files_are_refused():
    for x, error, message in (
        (Slices(X.astype(complex)), TypeError, "x must hold real numbers, but its dtype is complex128"),
        (Slices(X[:0]), ValueError, "x is an empty batch"),
        (Slices(X[:40]), ValueError, "x has 40 samples, but y has 1000 targets"),
    ):
        with pytest.raises(error, match=message):
            fn.fit(small_net(), (x, Y))


MEMORY = """
import resource, sys
import h5py, numpy as np
import fastnn as fn

path, rows = sys.argv[1], 400_000
model = fn.Sequential(fn.Linear(512, 3))
with h5py.File(path) as file:
    x, y = file["x"], np.zeros(rows, np.int64)
    fn.fit(model, (x[:64], y[:64]), batch_size=32, watch=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fn.fit(model, (x, y), validation=0.1, batch_size=512, watch=False, seed=0)
    model.predict(x)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@needs_linux
def test_memory_is_bounded(tmp_path):
    """A child process trains on a file of 800 MB (zeros, compressed) with less than 160 MB."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (400_000, 512), "f4", chunks=(1000, 512), compression="gzip", fillvalue=0)
    command = [sys.executable, "-c", MEMORY, tmp_path / "x.h5"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 160


@pytest.mark.parametrize("optimizer", [None, fn.Adam(0.01)], ids=["default", "scheduled"])
def test_updates_from_files_run_as_plans(optimizer, monkeypatch):
    """Mini-batches of the same size are replayed by one plan, as those of arrays are."""
    layers = []
    forward = fn.Linear.forward

    def counting(self, x, *, train=False):
        layers.append(train)
        return forward(self, x, train=train)

    monkeypatch.setattr(fn.Linear, "forward", counting)
    schedule = None if optimizer is None else fn.schedules.Cosine()
    losses = []
    for x in (Slices(X), X):
        history = fn.fit(
            small_net(),
            (x, Y),
            order="fixed",
            optimizer=optimizer and fn.Adam(0.01),
            schedule=schedule,
            epochs=3,
            batch_size=48,
            watch=False,
        )
        losses.append(history.updates["loss"])
    assert losses[0] == losses[1]
    assert layers.count(True) == 2 * 2  # per training a mini-batch of 48 and the last one, of 40


@pytest.mark.usefixtures("small_blocks")
def test_updates_before_a_file_breaks_are_kept():
    class Breaks(Slices):
        def __getitem__(self, index):
            if index.start >= 512 and threading.current_thread().name.startswith("fastnn-read"):
                raise RuntimeError("broken disk")
            return super().__getitem__(index)

    model, history = small_net(), fn.History()
    with pytest.raises(OSError, match="rows 512 to 543 of x cannot be read"):
        fn.fit(model, (Breaks(X), Y), order="fixed", seed=0, watch=False, history=history)
    expected = small_net()
    kept = fn.fit(expected, (X[:512], Y[:512]), order="fixed", seed=0, watch=False)
    assert history.updates == kept.updates
    np.testing.assert_array_equal(model[1].weight.value, expected[1].weight.value)


PROGRAM = """
import resource, sys
import h5py, numpy as np
import fastnn as fn

with h5py.File(sys.argv[1], "w") as file:  # chunks that were never written take no space on the disk
    x = file.create_dataset("x", (200_000, 2000), "f4", chunks=(1000, 2000))
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    data = x, np.arange(len(x)) % 10
    fn.fit(fn.Linear(2000, 10), data, batch_size=4000, on_nonfinite="ignore", watch=False)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) // 1024)  # ru_maxrss includes the parent before `exec`
"""


@needs_linux
def test_a_training_on_a_file_needs_less_memory_than_the_file(tmp_path):
    """1.5 GiB of features with 1 GiB of address space; a training takes a few blocks of 4 MB."""
    pytest.importorskip("h5py")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "x.h5")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(result.stdout) < 400  # MiB
