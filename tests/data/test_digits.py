"""`fn.data.digits`: the split, and exact pixels."""

import sys

import numpy as np
import pytest

from fastnn.data import digits


@pytest.fixture(scope="module")
def parts():
    pytest.importorskip("sklearn", reason="digits() needs scikit-learn")
    return digits()


def test_shapes_dtypes_and_range(parts):
    for (x, y), size in zip(parts, (1433, 364), strict=True):
        assert x.shape == (size, 8, 8)
        assert x.dtype == np.float32
        assert (x.min(), x.max()) == (0, 1)
        assert y.shape == (size,)
        assert y.dtype == np.int64


def test_both_parts_together_have_every_image_once_and_exactly(parts):
    from sklearn.datasets import load_digits

    def rows(x, y):
        return [(*image.tolist(), label) for image, label in zip(x.reshape(-1, 64), y.tolist(), strict=True)]

    bunch = load_digits()
    found = [row for x, y in parts for row in rows(x * 16, y)]
    assert sorted(found) == sorted(rows(bunch.images, bunch.target))


def test_the_split_is_stratified(parts):
    (_, train), (_, test) = parts
    counts = np.bincount(train) + np.bincount(test)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(train).tolist() == [int(0.8 * n) for n in counts]


def test_a_missing_scikit_learn_raises_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'fastnn-kernels\[demo\]'"):
        digits()
