"""Features in SciPy sparse matrices: same bits as dense features, densified batch by batch."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import fastnn as fn

FORMATS = ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"]
RNG = np.random.default_rng(0)
X = np.where(RNG.random((50, 6)) < 0.3, RNG.normal(size=(50, 6)), 0)
Y = RNG.integers(0, 3, 50)


def small_net(features=6):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(features, 4), fn.ReLU(), fn.Linear(4, 3))


def everything(x, y, **options):
    """Results of all entrances that take features."""
    model = small_net()
    weight = np.linspace(0.5, 1, len(y))
    history = fn.fit(
        model, (x, y, weight), validation=(x, y), epochs=2, batch_size=8, seed=0, watch=False, **options
    )
    trainer = fn.Trainer(model, seed=0)
    steps = [trainer.step(x, y) for _ in range(3)]
    gradient = fn.gradients(model, (x, y))
    outputs = [model.predict(x).tobytes() for _ in range(3)]
    return history.updates["loss"], history["val_loss"], steps, gradient, fn.evaluate(model, (x, y)), outputs


@pytest.mark.parametrize("container", ["matrix", "array"])
@pytest.mark.parametrize("format", FORMATS)
def test_sparse_features_give_the_same_bits_as_dense_ones(format, container):
    sparse = getattr(sp, f"{format}_{container}")(X)
    assert everything(sparse, Y) == everything(X, Y)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "uint16", "bool"])
@pytest.mark.parametrize("plan", [True, False])
def test_sparse_features_of_any_dtype(dtype, plan):
    x = (X * 3).astype(dtype)
    assert everything(sp.csr_array(x), Y, plan=plan) == everything(x, Y, plan=plan)


def test_sparse_bytes_are_scaled_like_dense_ones():
    x = np.where(X != 0, np.abs(X) * 100 % 256, 0).astype(np.uint8)
    assert everything(sp.csr_matrix(x), Y) == everything(x, Y)


def test_sparse_features_are_never_densified_whole(tmp_path):
    x = sp.random_array((60_000, 200), density=0.01, format="csr", rng=np.random.default_rng(0))
    y = np.zeros(60_000, np.int64)
    fn.fit(small_net(200), (x[:64], y[:64]), watch=False)  # what is made once
    model = small_net(200)
    tracemalloc.start()
    try:
        for form in (x, x.tocsc()):
            fn.fit(model, (form, y), validation=(form, y), batch_size=1024, checkpoint=tmp_path / form.format)
            fn.evaluate(model, (form, y))
            model.predict(form)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.7 * 60_000 * 200 * 4  # the dense float32 array


def test_very_wide_rows_are_converted_a_few_at_a_time():
    """1024 dense rows of 100,000 values, as evaluation takes them otherwise, would need 800 MB."""
    x = sp.random_array((3000, 100_000), density=1e-4, format="csr", rng=np.random.default_rng(0))
    y = np.arange(3000) % 2
    fn.manual_seed(0)
    model = fn.Linear(100_000, 2)
    tracemalloc.start()
    try:
        fn.fit(model, (x, y), batch_size=16, watch=False)
        fn.evaluate(model, (x, y))
        model.predict(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200e6


def test_a_matrix_with_duplicates_is_summed_and_left_as_it_is():
    values, columns, ends = np.array([1.0, 2.0, 4.0]), np.array([5, 1, 1]), np.array([0, 1, 3])
    matrix = sp.csr_matrix((values, columns, ends), shape=(2, 6))
    model = small_net()
    expected = model.predict(matrix.toarray())
    np.testing.assert_array_equal(model.predict(matrix), expected)
    assert matrix.nnz == 3
    np.testing.assert_array_equal(matrix.data, [1, 2, 4])


@pytest.mark.parametrize("format", ["csr", "csc"])
@pytest.mark.parametrize("index", [99, -5])
def test_a_matrix_whose_indices_point_outside_is_refused(format, index):
    """SciPy does not check them when it converts: it would write to memory that is not its own."""
    matrix = getattr(sp, f"{format}_matrix")(X)
    matrix.indices[3] = index
    for use in (lambda: fn.fit(small_net(), (matrix, Y)), lambda: small_net().predict(matrix)):
        with pytest.raises(ValueError, match=f"x is a damaged {format}_matrix"):
            use()


@pytest.mark.parametrize("use", ["fit", "step"])
def test_nan_in_a_sparse_matrix_is_named(use):
    x = sp.lil_matrix(X)
    x[40, 4] = x[41, 1] = np.nan
    model = small_net()
    message = "2 values of x are NaN or inf, first nan in row 40, column 4; repair"
    uses = {"fit": lambda: fn.fit(model, (x, Y)), "step": lambda: fn.Trainer(model).step(x, Y)}
    with pytest.raises(fn.NonFiniteError, match=message):
        uses[use]()
    assert model[0].weight.feeding is None


def test_unsuitable_sparse_features_are_refused():
    model = small_net()
    for x, error, message in (
        (sp.csr_array(X + 0j), TypeError, "sparse x must have two dimensions and hold real numbers"),
        (sp.coo_array(X[0]), TypeError, r"sparse x must have two dimensions .* shape \(6,\)"),
        (sp.csr_array((0, 6)), ValueError, r"x is an empty batch of shape \(0, 6\)"),
        (sp.csr_array(X[:, :5]), ValueError, "5"),
        (sp.csr_array(X[:40]), ValueError, "x has 40 samples, but y has 50 targets"),
    ):
        with pytest.raises(error, match=message):
            fn.fit(model, (x, Y))


def test_images_cannot_be_sparse():
    with pytest.raises(ValueError, match="image"):
        fn.fit(small_net(), (sp.csr_array(X), Y), augment=fn.augment.Shift(1))
