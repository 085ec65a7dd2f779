"""The order of the samples of an epoch."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.cli.main import main
from fastnn.training.orders import ORDERS, indices

LABELS = np.array([0] * 3 + [2] * 9 + [5] * 5)


def epochs(order, target=LABELS, key=7, count=3):
    return [indices(order, target, key, epoch) for epoch in range(count)]


@pytest.mark.parametrize("order", ["random", "fixed", "alternate"])
def test_each_sample_is_used_once(order):
    for index in epochs(order):
        np.testing.assert_array_equal(np.sort(index), np.arange(len(LABELS)))
        assert index.dtype == np.int64


@pytest.mark.parametrize("order", ["random", "alternate", "balanced"])
def test_order_depends_on_epoch_and_key(order):
    first, second, _ = epochs(order)
    assert (first != second).any()
    assert (epochs(order, key=8)[0] != first).any()
    np.testing.assert_array_equal(epochs(order)[0], first)


def test_fixed_keeps_the_order_of_the_data():
    for index in epochs("fixed"):
        np.testing.assert_array_equal(index, np.arange(len(LABELS)))


def test_alternate_is_one_of_each_class_in_turn():
    for index in epochs("alternate"):
        assert LABELS[index].tolist() == [0, 2, 5] * 3 + [2, 5] * 2 + [2] * 4


def test_alternate_draws_the_sample_within_a_class():
    firsts = {indices("alternate", LABELS, 0, epoch)[0] for epoch in range(50)}
    assert firsts == {0, 1, 2}


def test_balanced_uses_each_class_equally_often():
    totals = np.zeros(6, int)
    for index in epochs("balanced", count=30):
        assert len(index) == len(LABELS)
        counts = np.bincount(LABELS[index], minlength=6)
        assert sorted(counts[[0, 2, 5]]) == [5, 6, 6]
        totals += counts
        for label in (0, 2, 5):  # counts within a class differ by one at most
            often = np.bincount(index, minlength=len(LABELS))[label == LABELS]
            assert often.max() - often.min() <= 1
    assert np.ptp(totals[[0, 2, 5]]) <= 20  # the class that gets one less is random


def test_balanced_is_shuffled():
    index = epochs("balanced", np.repeat([0, 1], 500))[0]
    assert 100 < np.count_nonzero(np.diff(np.repeat([0, 1], 500)[index])) < 900


@pytest.mark.parametrize("order", ["alternate", "balanced"])
def test_labels_and_one_hot_rows_give_the_same_order(order):
    rows = np.eye(6, dtype=np.float32)[LABELS]
    np.testing.assert_array_equal(epochs(order, rows)[0], epochs(order)[0])
    binary = (LABELS == 2).astype(np.float32)[:, None]
    np.testing.assert_array_equal(epochs(order, binary)[0], epochs(order, (LABELS == 2).astype(np.int64))[0])


def data(count=90):
    rng = np.random.default_rng(0)
    return rng.random((count, 4), np.float32), np.sort(rng.integers(0, 3, count))


def fit(order, **options):
    fn.manual_seed(0)
    model = fn.Sequential(fn.Linear(4, 8), fn.ReLU(), fn.Linear(8, 3))
    options = {"batch_size": 7, "epochs": 3, "seed": 1, "progress": False, **options}
    return model, fn.fit(model, options.pop("data", None) or data(), order=order, **options)


@pytest.mark.parametrize("order", ORDERS)
def test_planned_equals_eager_and_resumes_from_a_checkpoint(order, tmp_path):
    model, history = fit(order)
    eager, same = fit(order, plan=False)
    assert history.updates == same.updates
    path = tmp_path / "run.ckpt"
    fit(order, epochs=2, checkpoint=path)
    resumed, _ = fit(order, checkpoint=path)
    for a, b, c in zip(model.parameters(), eager.parameters(), resumed.parameters(), strict=True):
        assert a.value.tobytes() == b.value.tobytes() == c.value.tobytes()


def test_updates_use_the_samples_in_this_order():
    x, y = data()
    index = indices("alternate", y.astype(np.int64), 1, 0)
    _, history = fit("alternate", epochs=1)
    _, same = fit("fixed", epochs=1, data=(x[index], y[index]))
    assert history.updates == same.updates


def test_checkpoint_of_another_order_is_rejected(tmp_path):
    fit("alternate", checkpoint=tmp_path / "run.ckpt")
    with pytest.raises(fn.CheckpointError, match="order was 'alternate', is 'balanced'"):
        fit("balanced", epochs=4, checkpoint=tmp_path / "run.ckpt")


def test_shuffle_chooses_random_or_fixed():
    assert (
        fit(None, shuffle=False)[1].updates
        == fit("fixed")[1].updates
        == fit("fixed", shuffle=False)[1].updates
    )
    assert fit(None)[1].updates == fit("random")[1].updates


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"order": "sorted"},
            "unknown order 'sorted': choose one of alternate, balanced, blocks, fixed, random",
        ),
        ({"order": "random", "shuffle": False}, "shuffle=False means order='fixed', but order='random'"),
        (
            {"order": "alternate", "data": (np.ones((4, 4)), np.full((4, 3), 0.7)), "loss": "squared_error"},
            "needs classes, but the targets do not name them",
        ),
    ],
)
def test_invalid_orders_raise(options, match):
    with pytest.raises(ValueError, match=match):
        fit(options.pop("order"), **options)


def test_order_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", "--epochs", "1", "--order", "alternate", "--out", "a"]) == 0
    assert '"order": "alternate"' in (tmp_path / "a" / "config.json").read_text()
    with pytest.raises(SystemExit):
        main(["train", "digits", "--order", "sorted"])
