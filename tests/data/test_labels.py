"""`fn.data.one_hot` and `fn.data.balanced_class_weights`."""

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import balanced_class_weights, one_hot


def test_one_hot_equals_rows_of_the_identity():
    y = one_hot([2, 0, 1, 2])
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.eye(3)[[2, 0, 1, 2]])


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (0,), (3, 0)])
@pytest.mark.parametrize("kind", ["uint8", "int64", "uint64"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_shapes_and_types(shape, kind, dtype):
    labels = np.random.default_rng(0).integers(0, 7, shape).astype(kind)
    y = one_hot(labels, 9, dtype)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, np.eye(9)[labels.astype(int)])


@pytest.mark.parametrize(("labels", "extent"), [([0, 3], "from 0 to 3"), ([2, -1], "from -1 to 2")])
def test_labels_out_of_range_are_rejected(labels, extent):
    with pytest.raises(ValueError, match=f"labels must be from 0 to 2, not {extent}"):
        one_hot(labels, 3)


def test_negative_labels_are_rejected_without_classes():
    with pytest.raises(ValueError, match="labels must be at least 0, not -1"):
        one_hot([-1, 4])


@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["1"]])
def test_labels_that_are_not_integers_are_rejected(labels):
    with pytest.raises(ValueError, match="labels must be integers"):
        one_hot(labels)


def test_empty_labels_need_the_number_of_classes():
    with pytest.raises(ValueError, match="pass `classes`"):
        one_hot(np.zeros(0, int))


def test_balanced_class_weights_equal_scikit_learn():
    utils = pytest.importorskip("sklearn.utils")
    rng = np.random.default_rng(0)
    for classes in (2, 3, 7):
        labels = np.append(np.arange(classes), rng.integers(0, classes, 50)).astype(np.uint8)
        expected = utils.compute_class_weight("balanced", classes=np.arange(classes), y=labels)
        np.testing.assert_allclose(balanced_class_weights(labels), expected)
        np.testing.assert_allclose(balanced_class_weights(list(labels), classes), expected)
        assert fn.CrossEntropy(weight=balanced_class_weights(labels)).divisor(labels) == pytest.approx(
            len(labels)
        )


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 2, 2, 0], None, "no labels of the classes 1"),
        ([0, 1], 4, "no labels of the classes 2, 3"),
        ([0, -1], None, "labels must be at least 0, not -1"),
        ([0.0, 1.0], None, "labels must be integers"),
        ([[0, 1]], None, r"labels must have shape \(N,\), got \(1, 2\)"),
        ([], 2, "labels must be integers"),
        (np.zeros(0, int), 2, "no labels of the classes 0, 1"),
    ],
)
def test_unbalanceable_labels_are_rejected(labels, classes, message):
    with pytest.raises(ValueError, match=message):
        balanced_class_weights(labels, classes)
