"""Memory-mapped features of any dtype stay in their file: rows are read and converted batch by batch."""

import tracemalloc

import numpy as np
import pytest

import fastnn as fn

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "uint16", "uint8", "bool", ">f8", ">i4"]


def small_net(features=6):
    fn.manual_seed(0)
    return fn.Sequential(fn.Flatten(), fn.Linear(features, 3))


@pytest.fixture
def mapped(tmp_path):
    """A function array -> the same array in a memory-mapped file."""

    def make(array, name="x.npy"):
        np.save(tmp_path / name, array)
        return np.load(tmp_path / name, mmap_mode="r")

    return make


@pytest.mark.parametrize("dtype", ["float64", "int64", "float16", ">f8"])
@pytest.mark.parametrize("view", ["whole", "slice", "every other", "array"])
def test_memory_maps_are_never_copied_whole(dtype, view, mapped):
    x = mapped(np.zeros((60_000, 40), dtype))
    part = {"whole": x, "slice": x[100:], "every other": x[::2], "array": np.asarray(x)}[view]
    y = np.zeros(len(part), np.int64)
    model = small_net(40)
    fn.fit(model, (part[:64], y[:64]), progress=False, watch=False)  # what is made once
    tracemalloc.start()
    try:
        fn.fit(model, (part, y), validation=(part, y), batch_size=256, progress=False, watch=False)
        fn.evaluate(model, (part, y))
        model.predict(part)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * len(part) * 40 * 4  # the converted array


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", ">f8"])
@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_targets_of_memory_maps_are_never_copied_whole(dtype, loss, mapped):
    """An autoencoder: the targets are the features."""
    x = mapped(np.zeros((60_000, 40), dtype))
    fn.manual_seed(0)
    model = fn.Linear(40, 40)
    fn.fit(model, (x[:64], x[:64]), loss=loss, progress=False, watch=False)
    tracemalloc.start()
    try:
        fn.fit(model, (x, x), validation=(x, x), batch_size=256, loss=loss, progress=False, watch=False)
        fn.evaluate(model, (x, x), loss=loss)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * x.size * 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "dice"])
def test_targets_of_memory_maps_give_the_same_bits_as_arrays(loss, dtype, mapped):
    x = np.random.default_rng(0).random((50, 6)).astype(np.float32)
    y = (x > 0.5).astype(dtype) if loss != "squared_error" else (x * 50).astype(dtype)
    results = []
    for target in (y, mapped(y)):
        fn.manual_seed(0)
        model = fn.Linear(6, 6)
        data = x, target
        history = fn.fit(model, data, validation=data, loss=loss, batch_size=8, seed=0, watch=False)
        single = fn.Trainer(model, loss=loss, seed=0).step(x, target), fn.gradients(model, data)
        direct = getattr(fn, loss)(x, target)
        results.append(
            (history.updates["loss"], history["val_loss"], fn.evaluate(model, data), single, direct)
        )
    assert results[0] == results[1]


def test_checkpoints_of_memory_maps_resume_without_a_copy(mapped, tmp_path):
    x, y = mapped(np.zeros((60_000, 40), ">f8"))[::2], np.zeros(30_000, np.int64)
    tracemalloc.start()
    try:
        for _ in range(2):
            fn.fit(small_net(40), (x, y), batch_size=256, checkpoint=tmp_path / "run", seed=0, watch=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * x.size * 4


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:x is uint8, but never exceeds 1")
def test_memory_maps_give_the_same_bits_as_arrays(dtype, plan, mapped):
    rng = np.random.default_rng(0)
    x = (rng.random((50, 6)) * (2 if dtype == "bool" else 50)).astype(dtype)
    y = rng.integers(0, 3, 50)
    results = []
    for data in (x, mapped(x)):
        model = small_net()
        history = fn.fit(
            model, (data, y), validation=(data, y), epochs=2, batch_size=8, seed=0, plan=plan, watch=False
        )
        outputs, values = model.predict(data), fn.evaluate(model, (data, y))
        loss = fn.Trainer(model, seed=0).step(data, y)
        results.append((history.updates["loss"], history["val_loss"], outputs.tobytes(), values, loss))
    assert results[0] == results[1]


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", ">f4"])
def test_images_of_a_memory_map_are_augmented(dtype, mapped):
    x = np.random.default_rng(0).integers(0, 2 if dtype == ">f4" else 9, (20, 6, 6)).astype(dtype)
    losses = []
    for data in (x, mapped(x)):
        history = fn.fit(
            small_net(36),
            (data, np.arange(20) % 3),
            batch_size=8,
            seed=0,
            epochs=2,
            augment=fn.augment.Shift(1),
            watch=False,
        )
        losses.append(history.updates["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32", ">f8", "float16"])
def test_nan_in_a_memory_map_is_named(dtype, mapped):
    x = np.zeros((3000, 6), dtype)
    x[2500, 4] = x[2600, 1] = np.nan
    message = "2 values of x are NaN or inf, first nan in row 2500, column 4; repair"
    with pytest.raises(fn.NonFiniteError, match=message):
        fn.fit(small_net(), (mapped(x), np.zeros(3000, int)))


def test_values_of_a_memory_map_beyond_float32_are_named(mapped):
    x = np.zeros((10, 6))
    x[7, 4] = 1e39
    with pytest.raises(fn.NonFiniteError, match=r"cannot be stored as float32 .*, 1e\+39 in row 7, column 4"):
        fn.fit(small_net(), (mapped(x), np.zeros(10, int)))
