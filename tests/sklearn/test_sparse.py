"""Sparse X: the same results as dense X; images are refused."""

import tracemalloc
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


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("weighted", [False, True])
def test_lbfgs_densifies_sparse_x_block_by_block(monkeypatch, weighted):
    weight = RNG.integers(0, 3, 80) * (np.arange(80) >= 20) if weighted else None  # a block without weight
    models = [
        MLPClassifier((8,), solver="lbfgs", max_iter=5, random_state=0, alpha=0.1).fit(x, Y, weight)
        for x in (X, sp.csc_array(X))
    ]
    monkeypatch.setattr("fastnn.sklearn._lbfgs.DENSE_ELEMENTS", 20 * 16)
    blocks = MLPClassifier((8,), solver="lbfgs", max_iter=5, random_state=0, alpha=0.1)
    blocks.fit(sp.csc_array(X), Y, weight)
    assert models[0].loss_ == models[1].loss_
    assert blocks.loss_ == pytest.approx(models[0].loss_, rel=1e-12)
    np.testing.assert_allclose(blocks.predict_proba(X), models[0].predict_proba(X), rtol=1e-9)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_lbfgs_needs_little_memory_for_sparse_x(monkeypatch):
    monkeypatch.setattr("fastnn.sklearn._lbfgs.DENSE_ELEMENTS", 1 << 18)
    x = sp.eye_array(1000, 4000, format="csr")
    y = np.arange(1000) % 2
    tracemalloc.start()
    MLPClassifier((4,), solver="lbfgs", max_iter=1, max_fun=1).fit(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # dense, X takes 32 MB
