"""`fn.data.split` and `fn.data.subset`: which samples they choose."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import split, subset


@pytest.fixture
def data():
    """30 samples: 12 zeros, 10 ones, 8 twos, mixed; each row of x (30, 2) is different."""
    y = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [12, 10, 8]))
    return np.arange(60).reshape(30, 2), y


def members(y, label, count=None):
    return np.flatnonzero(y == label)[:count]


def test_split_takes_the_first_samples_of_each_class_for_the_first_part(data):
    x, y = data
    parts = split(x, y, per_class=(4, 1, 3))
    assert [np.bincount(labels).tolist() for _, labels in parts] == [[4] * 3, [1] * 3, [3] * 3]
    for (found, labels), (start, end) in zip(parts, ((0, 4), (4, 5), (5, 8)), strict=True):
        rows = np.sort(np.concatenate([members(y, label)[start:end] for label in range(3)]))
        np.testing.assert_array_equal(found, x[rows])
        np.testing.assert_array_equal(labels, y[rows])


def test_a_seed_shuffles_samples_with_their_labels(data):
    x, y = data
    (first, labels), (second, _) = split(x, y, per_class=(4, 4), seed=1)
    np.testing.assert_array_equal(labels, y[first[:, 0] // 2])
    assert not set(first[:, 0]) & set(second[:, 0])
    np.testing.assert_array_equal(first, split(x, y, per_class=(4, 4), seed=1)[0][0])
    assert not np.array_equal(first, split(x, y, per_class=(4, 4), seed=2)[0][0])
    assert not np.array_equal(first, split(x, y, per_class=(4, 4))[0][0])
    few, labels = subset(x, y, n=9, seed=1)
    np.testing.assert_array_equal(labels, y[few[:, 0] // 2])
    assert not np.array_equal(few, subset(x, y, n=9)[0])


def test_the_first_part_may_have_fewer_samples_of_a_small_class(data):
    """The faces of the report: 70 training images, but 37 of one person."""
    x, y = data
    with pytest.raises(ValueError, match=r"class 1 has 10 samples, too few .*\(8, 2, 2\).*allow_fewer=True"):
        split(x, y, per_class=(8, 2, 2))
    parts = split(x, y, per_class=(8, 2, 2), allow_fewer=True)
    assert [np.bincount(labels).tolist() for _, labels in parts] == [[8, 6, 4], [2] * 3, [2] * 3]
    with pytest.raises(
        ValueError, match=r"class 2 has 8 samples, too few for per_class=\(8, 4, 4\): choose fewer$"
    ):
        split(x, y, per_class=(8, 4, 4), allow_fewer=True)


def test_subset_has_equally_many_of_each_class_and_the_rest_of_the_first(data):
    x, y = data
    found, labels = subset(x, y, classes=(2, 0), n=5)
    rows = np.sort(np.concatenate([members(y, 2, 3), members(y, 0, 2)]))
    np.testing.assert_array_equal(found, x[rows])
    np.testing.assert_array_equal(labels, y[rows])


@pytest.mark.parametrize(("options", "counts"), [({"classes": [1]}, [0, 10]), ({"n": 7}, [3, 2, 2])])
def test_subset_without_a_number_or_classes(data, options, counts):
    _, labels = subset(*data, **options)
    assert np.bincount(labels).tolist() == counts


def test_text_is_a_label_and_dtypes_stay(data):
    x, y = data
    names = np.array(["ant", "bee", "cat"])[y]
    (_, labels), _ = split(x, names, per_class=(1, 1))
    assert sorted(labels) == ["ant", "bee", "cat"]
    assert set(subset(x, names, classes=("cat", "ant"))[1]) == {"ant", "cat"}
    found, labels = subset(x.astype(np.uint8), y.astype(np.int8), classes=range(2), n=2)
    assert (found.dtype, labels.dtype) == (np.uint8, np.int8)


def test_a_subset_of_two_classes_trains_a_net_with_two_outputs():
    (x, y), _ = fn.data.digits()
    few = subset(x, y, classes=(3, 1), n=31)
    model = fn.Sequential(fn.Flatten(), fn.Linear(64, 2))
    fn.fit(model, few, epochs=30, progress=False)
    assert model.classes.tolist() == [1, 3]
    assert fn.evaluate(model, few)["accuracy"] == 1


@pytest.mark.parametrize("per_class", [(), (4, 0), (4, 1.0), (True,), 4, "44", None, (0.8, 0.2)])
def test_numbers_that_cannot_be_split(data, per_class):
    with pytest.raises(ValueError, match="per_class must be a number of at least 1 for each part"):
        split(*data, per_class=per_class)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": (3, 1)}, r"there are no samples of class 3: the labels are \[0, 1, 2\]"),
        ({"classes": ("a",)}, "there are no samples of class 'a'"),
        ({"classes": (1, 1)}, "classes must be labels such as"),
        ({"classes": ()}, "classes must be labels such as"),
        ({"classes": 1}, "classes must be labels such as"),
        ({"classes": "12"}, "classes must be labels such as"),
        ({"n": 2}, "n must be an integer of at least 3, the number of classes, not 2"),
        ({"n": 6.0}, "n must be an integer of at least 3"),
        ({"n": True}, "n must be an integer of at least 3"),
        ({"n": 27}, "n=27 needs 9 samples of class 2, but there are 8"),
    ],
)
def test_subsets_that_do_not_exist(data, options, message):
    with pytest.raises(ValueError, match=message):
        subset(*data, **options)


@pytest.mark.parametrize("function", [lambda *data: split(*data, per_class=(1,)), subset])
def test_other_data_are_rejected(function):
    x = np.zeros((3, 2))
    for y in (np.zeros(3), np.eye(3, dtype=int), np.array([None, 1, 2])):
        with pytest.raises(ValueError, match=r"integers or text of shape \(N,\)"):
            function(x, y)
    with pytest.raises(ValueError, match="at least one label"):
        function(x[:0], np.zeros(0, int))
    with pytest.raises(ValueError, match="one entry per sample"):
        function(x, np.zeros(4, int))
