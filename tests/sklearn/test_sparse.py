"""Sparse X: the same results as dense X; images are refused."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

pytest.importorskip("sklearn")

from fastnn.sklearn import CNNClassifier, MLPClassifier, MLPRegressor

RNG = np.random.default_rng(0)
X = np.where(RNG.random((80, 16)) < 0.3, RNG.normal(size=(80, 16)), 0)
Y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 0)


@pytest.mark.parametrize("format", ["csr", "csc", "coo"])
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_sparse_x_gives_the_same_weights_as_dense_x(format, options):
    outputs = []
    for x in (X, getattr(sp, f"{format}_array")(X)):
        model = MLPClassifier((8,), max_iter=5, random_state=0, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it has not converged
            model.fit(x, Y)
        weights = [each.tolist() for each in model.coefs_]
        outputs.append((weights, model.predict_proba(x).tolist(), model.score(x, Y)))
    assert outputs[0] == outputs[1]


def test_partial_fit_takes_sparse_x():
    weights = []
    for x in (X, sp.csr_matrix(X)):
        model = MLPRegressor(hidden_layer_sizes=(8,), random_state=0)
        for start in range(0, 80, 20):
            model.partial_fit(x[start : start + 20], X[start : start + 20, 3])
        weights.append([each.tolist() for each in model.coefs_])
    assert weights[0] == weights[1]


def test_images_cannot_be_sparse():
    with pytest.raises(TypeError, match=r"[Ss]parse data was passed"):
        CNNClassifier(image_shape=(4, 4), max_iter=1).fit(sp.csr_array(X), Y)
