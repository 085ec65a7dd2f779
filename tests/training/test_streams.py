"""Batches one after the other: iterators, generator functions and data loaders in `fit` and `evaluate`."""

import gc
import itertools
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

import fastnn as fn
from fastnn.metrics import accuracy
from fastnn.training.watch import SparingWatch

from .streaming import (
    WEIGHT,
    Loader,
    X,
    Y,
    batches,
    small_net,
    trained,
    trained_on_arrays,
    with_odd,
)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize(
    "data",
    [batches(), Loader(), Loader(length=False), lambda: list(batches()())],
    ids=["generator function", "loader", "loader without length", "function"],
)
def test_batches_give_the_same_bits_as_arrays(data, plan):
    expected = trained_on_arrays(epochs=3, validation=(X, Y), plan=plan)
    assert trained(data, epochs=3, validation=data, plan=plan) == expected


def test_an_iterator_gives_one_epoch():
    assert trained(batches()(), validation=batches()()) == trained_on_arrays(validation=(X, Y))


@pytest.mark.parametrize("reduction", ["mean", "sum", "batch_mean"])
def test_batches_may_have_weights(reduction):
    loss = fn.CrossEntropy(reduction=reduction, weight=[1, 2, 3])
    data = X, Y, WEIGHT
    stream = batches(*data)
    expected = trained_on_arrays(data, epochs=2, loss=loss, validation=data, metrics="f1")
    assert trained(stream, epochs=2, loss=loss, validation=stream, metrics="f1") == expected


def test_batches_of_dicts_lists_and_tensors():
    torch = pytest.importorskip("torch")
    expected = trained_on_arrays(epochs=2)
    for x_name, y_name in (("x", "y"), ("image", "label"), ("pixel_values", "labels")):
        assert trained(
            lambda a=x_name, b=y_name: ({a: x, b: y, "id": 0} for x, y in batches()()), epochs=2
        ) == (expected)
    tensors = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in batches()()]
    assert trained(lambda: tensors, epochs=2) == expected
    lists = [(x.astype(float).tolist(), y.tolist()) for x, y in batches()()]
    assert trained(lambda: lists, epochs=2) == trained_on_arrays((X.astype(float), Y), epochs=2)


def test_sparse_batches_are_densified():
    sparse = pytest.importorskip("scipy.sparse")
    x = np.where(X > 0, X, 0)
    stream = [(sparse.csr_array(part), y) for part, y in batches(x, Y)()]
    assert trained(lambda: stream, epochs=2) == trained_on_arrays((x, Y), epochs=2)


def test_bytes_are_scaled_and_augmented_as_those_of_arrays():
    images = (np.abs(X) * 60).astype(np.uint8).reshape(50, 2, 3)
    options = {"augment": fn.augment.Shift(1), "epochs": 2}
    assert trained(batches(images, Y), **options) == trained_on_arrays((images, Y), **options)
    assert trained(batches(images, Y), scale=0.5) == trained_on_arrays((images, Y), scale=0.5)
    model = small_net()
    fn.fit(model, batches(images, Y), seed=0)
    assert fn.evaluate(model, batches(images, Y)) == fn.evaluate(model, (images, Y))


@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_batches_with_rows_of_targets(loss):
    target = (X > 0).astype(np.float32)

    def run(data, **options):
        return fn.fit(small_net(6), data, loss=loss, validation=data, epochs=2, seed=0, **options)

    expected = run((X, target), batch_size=8, order="fixed")
    found = run(batches(X, target))
    assert (dict(found), found.updates) == (dict(expected), expected.updates)


def test_few_plans_serve_batches_of_any_size():
    """Each size has its own plan; the oldest of more than eight is dropped."""
    x, y = np.tile(X, (2, 1)), np.tile(Y, 2)
    starts = np.cumsum([0, *range(1, 13)])

    def growing():
        return ((x[a:b], y[a:b]) for a, b in itertools.pairwise(starts))

    class Watch(fn.Callback):
        def on_train_end(self, training):
            assert 1 < len(training.trainer._plans._recorded) <= 8

    planned = trained(growing, epochs=2, callbacks=Watch())
    assert planned == trained(growing, epochs=2, plan=False)
    assert len(planned[1]["loss"]) == 24


# --- steps_per_epoch ---


def test_endless_generators_go_on_from_epoch_to_epoch():
    def endless():
        while True:
            yield from batches()()

    expected = trained_on_arrays(epochs=2)
    assert trained(endless, epochs=2, steps_per_epoch=7) == expected
    assert trained(endless(), epochs=2, steps_per_epoch=7) == expected
    in_sevens = trained(endless(), epochs=7, steps_per_epoch=2)
    assert in_sevens[1:] == expected[1:]
    assert len(in_sevens[0]["loss"]) == 7


def test_a_function_that_ends_is_started_again():
    assert trained(batches(), epochs=7, steps_per_epoch=2)[1:] == trained_on_arrays(epochs=2)[1:]
    assert trained(Loader(), epochs=1, steps_per_epoch=14)[1:] == trained_on_arrays(epochs=2)[1:]


def test_batches_that_are_not_needed_stay_in_the_iterator():
    rest = iter(batches()())
    trained(rest, epochs=2, steps_per_epoch=2)
    np.testing.assert_array_equal(next(rest)[0], X[32:40])


def test_schedules_know_the_length_where_the_stream_does():
    options = {"schedule": fn.schedules.Cosine(), "epochs": 2}
    expected = trained_on_arrays(**options)
    assert trained(Loader(), **options) == expected
    assert trained(batches(), steps_per_epoch=7, **options) == expected
    with pytest.raises(ValueError, match=r"needs the number of updates: .* steps_per_epoch=... to fit"):
        trained(batches(), **options)


# --- reading ahead ---


def test_a_thread_reads_one_batch_ahead():
    threads, read, steps = set(), [], []

    def counting():
        for number, batch in enumerate(batches()()):
            threads.add(threading.current_thread())
            read.append(number)
            yield batch

    class Watch(fn.Callback):
        def on_update(self, training, loss):
            steps.append(training.updates)
            assert len(read) <= training.updates + 1

    trained(counting, epochs=2, callbacks=Watch())
    assert len(steps) == 14
    assert threading.main_thread() not in threads
    assert not any(thread.name == "fastnn-read" for thread in threading.enumerate())


def test_a_source_may_use_its_arrays_again():
    def same_arrays():
        x, y = np.empty((8, 6), np.float32), np.empty(8, np.int64)
        for x_batch, y_batch in batches()():
            x[: len(x_batch)], y[: len(y_batch)] = x_batch, y_batch
            yield x[: len(x_batch)], y[: len(y_batch)]
            x[:], y[:] = np.nan, 0

    assert trained(same_arrays, epochs=2) == trained_on_arrays(epochs=2)


def test_memory_does_not_grow_with_the_stream():
    size = 256 * 1024  # bytes of a batch

    def large():
        for _ in range(60):
            yield np.zeros((64, size // 64 // 4), np.float32), np.zeros(64, np.int64)

    fn.manual_seed(0)
    model = fn.Linear(size // 64 // 4, 2)
    fn.fit(model, large, steps_per_epoch=2)  # what is made once
    tracemalloc.start()
    try:
        fn.fit(model, large, validation=large, epochs=2, watch=False)
        fn.evaluate(model, large)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * size < 60 * size


@pytest.mark.parametrize("end", ["stopped", "raised"])
def test_generators_of_a_function_are_closed(end):
    closed = []

    def watched():
        try:
            yield from batches()()
        finally:
            closed.append(True)

    class Ends(fn.Callback):
        def on_update(self, training, loss):
            if end == "raised":
                raise RuntimeError("enough")
            training.stop("enough")

    if end == "raised":
        with pytest.raises(RuntimeError, match="enough"):
            trained(watched, callbacks=Ends())
    else:
        assert len(trained(watched, callbacks=Ends())[1]["loss"]) == 1
    assert closed == [True]


def test_nothing_keeps_the_batches_of_a_training():
    kept = []

    class Own(np.ndarray):
        pass

    def watched():
        for x, y in batches()():
            own = x.copy().view(Own)
            kept.append(weakref.ref(own))
            yield own, y

    fn.fit(small_net(), watched, epochs=1, seed=0)
    gc.collect()
    assert not any(ref() is not None for ref in kept)


# --- classes, labels that are ignored ---


@pytest.mark.parametrize("labels", [["a", "b", "c"], [1, 2, 3]])
def test_classes_are_named_before_the_training(labels):
    named = np.array(labels)[Y]
    model = small_net()
    message = "name them with model.classes" if labels[0] == "a" else "are the labels counted from 1?"
    with pytest.raises(ValueError, match=f"batch 1 of epoch 1: .*{message}"):
        fn.fit(model, batches(X, named))
    model.classes = labels
    stream = batches(X, named)
    history = fn.fit(model, stream, validation=stream, epochs=2, seed=0, watch=False)
    assert (dict(history), history.updates) == trained_on_arrays(validation=(X, Y), epochs=2)[:2]
    assert set(model.predict_classes(X)) <= set(labels)


def test_float_labels_are_for_regression_alone():
    with pytest.raises(TypeError, match="batch 1 of epoch 1: labels must be integers"):
        trained(batches(X, Y.astype(float)))
    history = fn.fit(small_net(1), batches(X, Y.astype(float)), loss="squared_error", seed=0)
    assert len(history.updates["loss"]) == 7


def test_a_batch_may_have_no_sample_that_counts():
    y = Y.copy()
    y[:16] = -1
    loss = fn.CrossEntropy(ignore_index=-1)
    stream = batches(X, y)
    expected = trained_on_arrays((X, y), loss=loss, validation=(X, y), epochs=2)
    assert trained(stream, loss=loss, validation=stream, epochs=2) == expected


# --- evaluate and predict ---


def test_evaluate_and_predict_take_batches():
    model = small_net()
    metrics = {"f1": "f1", "roc_auc": "roc_auc", "weighted": accuracy}
    expected = fn.evaluate(model, (X, Y, WEIGHT), metrics=metrics)
    found = fn.evaluate(model, batches(X, Y, WEIGHT)(), metrics=metrics)
    assert found == pytest.approx(expected, rel=1e-12)
    assert expected["accuracy"] == pytest.approx(expected["weighted"], rel=1e-12)
    outputs = model.predict(X)
    for stream in (batches(), batches()(), Loader(), lambda: (x for x, _ in batches()())):
        np.testing.assert_array_equal(model.predict(stream), outputs)
    np.testing.assert_array_equal(model.predict_classes({"x": x} for x, _ in batches()()), outputs.argmax(1))
    with pytest.raises(ValueError, match="x is empty: the list_iterator gives no batches"):
        model.predict(iter([]))
    with pytest.raises(KeyError) as caught:
        model.predict(with_odd(KeyError("gone")))
    assert caught.value.__notes__ == ["raised by the function 'odd' for batch 4"]


# --- PyTorch ---


def test_data_loaders_of_pytorch():
    torch_data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    tensors = torch_data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    expected = trained_on_arrays(epochs=2, validation=(X, Y))
    loader = torch_data.DataLoader(tensors, batch_size=8)
    assert trained(loader, epochs=2, validation=loader) == expected
    workers = torch_data.DataLoader(tensors, batch_size=8, num_workers=1)
    assert trained(workers, epochs=2, validation=(X, Y)) == expected
    sampled = torch_data.DataLoader(tensors, batch_size=8, sampler=range(16))
    assert trained(sampled) == trained_on_arrays((X[:16], Y[:16]))


def test_iterable_data_sets_give_samples():
    torch_data = pytest.importorskip("torch.utils.data")

    class Samples(torch_data.IterableDataset):
        def __iter__(self):
            return iter(zip(X, Y, strict=True))

    expected = trained_on_arrays(epochs=2, validation=(X, Y))
    assert trained(Samples(), batch_size=8, epochs=2, validation=Samples()) == expected
    assert trained(torch_data.DataLoader(Samples(), batch_size=8), epochs=2, validation=(X, Y)) == expected
    assert len(trained(Samples(), batch_size=8, drop_last=True)[1]["loss"]) == 6
    assert fn.evaluate(small_net(), Samples()) == fn.evaluate(small_net(), (X, Y))


def test_a_data_set_of_hugging_face_that_streams_gives_samples():
    """A stand-in with the interface of `datasets.IterableDataset`, which is a large package."""

    class IterableDataset:
        column_names = ("image", "label")

        def with_format(self, form):
            return self

        def __iter__(self):
            return ({"image": x.tolist(), "label": int(y)} for x, y in zip(X, Y, strict=True))

    assert trained(IterableDataset(), batch_size=8, epochs=2) == trained_on_arrays(
        (X.astype(float), Y), epochs=2
    )


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: (x,), list], ids=["list", "tuple", "list of rows"])
def test_predict_takes_features_alone_in_lists(wrap):
    x = np.random.default_rng(0).random((9, 1, 4), np.float32)
    model = fn.Sequential(fn.Flatten(), fn.Linear(4, 2))
    found = model.predict(iter([wrap(x[:3]), wrap(x[3:6]), wrap(x[6:])]))
    np.testing.assert_array_equal(found, model.predict(x))


def test_the_default_watch_counts_the_samples_of_a_stream():
    x, y = np.zeros((32, 6), np.float32), np.arange(32) % 3

    def many():
        return ((x, y) for _ in range(900))  # 28,800 samples: more than BETWEEN_CHECKS

    watch = SparingWatch(silent=True)
    fn.fit(small_net(), many, callbacks=watch, seed=0, progress=False)
    assert watch.updates == [900]
