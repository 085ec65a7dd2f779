"""`fn.data.one_hot`."""

import numpy as np
import pytest

from fastnn.data import one_hot


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
    with pytest.raises(ValueError, match="not from -1 to 4"):
        one_hot([-1, 4])


@pytest.mark.parametrize("labels", [[0.0, 1.0], [True, False], ["1"]])
def test_labels_that_are_not_integers_are_rejected(labels):
    with pytest.raises(ValueError, match="labels must be integers"):
        one_hot(labels)


def test_empty_labels_need_the_number_of_classes():
    with pytest.raises(ValueError, match="pass `classes`"):
        one_hot(np.zeros(0, int))
