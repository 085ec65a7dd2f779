"""The estimators: scikit-learn's checks, agreement with its networks, and what ours add."""

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.neural_network import MLPRegressor as SklearnRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastnn as fn
from fastnn.kernels import core, cpu
from fastnn.sklearn import CNNClassifier, MLPClassifier, MLPRegressor, NNClassifier, NNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [
    MLPClassifier(max_iter=100),
    MLPClassifier(solver="lbfgs", max_iter=100),
    MLPRegressor(max_iter=100),
    NNClassifier(max_iter=50),
    NNRegressor(max_iter=50),
    CNNClassifier(max_iter=20),
]


@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return MinMaxScaler().fit_transform(x), y


def pairs(solver, **options):
    """The same network here and in scikit-learn, with the same first weights and no shuffling."""
    options = {
        "solver": solver,
        "shuffle": False,
        "random_state": 3,
        "max_iter": 5,
        "hidden_layer_sizes": (20, 10),
    } | options
    return MLPClassifier(**options), SklearnClassifier(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "sgd", "learning_rate_init": 0.1},
        {"solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
        {"solver": "sgd", "momentum": 0, "learning_rate": "invscaling", "learning_rate_init": 0.1},
        {"solver": "adam"},
        {"solver": "adam", "activation": "tanh", "alpha": 0.1},
        {"solver": "sgd", "activation": "logistic", "alpha": 1.0, "learning_rate_init": 0.1},
        {"solver": "lbfgs"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("classes", [2, 5])
def test_weights_equal_those_of_scikit_learn(options, classes):
    # Our Adam adds epsilon to the bias-corrected root (Kingma & Ba, algorithm 1), scikit-learn's before the
    # correction (their section 2): steps differ where gradients are near 0.
    atol = 2e-3 if options["solver"] == "adam" else 1e-6
    x, y = make_classification(200, 12, n_informative=8, n_classes=classes, random_state=0)
    ours, theirs = pairs(batch_size=50, **options)
    ours.fit(x, y)
    theirs.fit(x, y)
    for mine, other in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=atol)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-4, atol=atol)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=0.02)  # theirs has the penalty before each update


def test_outputs_of_a_multi_output_regressor_equal_those_of_scikit_learn():
    x, y = make_regression(100, 8, n_targets=3, random_state=0)
    options = {
        "solver": "sgd",
        "learning_rate_init": 1e-4,
        "shuffle": False,
        "random_state": 0,
        "max_iter": 10,
        "batch_size": 50,
    }
    ours, theirs = MLPRegressor(**options).fit(x, y), SklearnRegressor(**options).fit(x, y)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_sample_weights_are_those_of_scikit_learn(digits, solver):
    x, y = digits[0][:200], digits[1][:200]
    weight = np.random.default_rng(0).integers(0, 4, 200).astype(float)
    ours, theirs = pairs(solver, batch_size=50)
    try:
        theirs.fit(x, y, sample_weight=weight)
    except TypeError:
        pytest.skip("scikit-learn has sample weights in its networks from 1.7 on")
    ours.fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=0.02, atol=1e-3)


def test_a_weight_of_two_is_a_sample_that_comes_twice(digits):
    x, y = digits[0][:60], digits[1][:60]
    options = {"random_state": 0, "max_iter": 20}  # all samples are one batch
    weighted = MLPClassifier(**options).fit(x, y, sample_weight=np.full(60, 2.0))
    twice = MLPClassifier(**options).fit(np.repeat(x, 2, axis=0), np.repeat(y, 2))
    np.testing.assert_allclose(weighted.predict_proba(x), twice.predict_proba(x), rtol=1e-9)


def test_labels_of_any_type_come_back(digits):
    x, y = digits[0][:300], digits[1][:300]
    for labels in (y.astype(str), y * 10 - 7, y > 4, np.array(list("abcdefghij"), dtype=object)[y]):
        model = MLPClassifier(random_state=0, max_iter=60, learning_rate_init=0.01).fit(x, labels)
        assert set(model.predict(x)) <= set(labels)
        assert model.score(x, labels) > 0.9
        assert list(model.classes_) == sorted(set(labels))


def test_multi_label_targets():
    x, y = make_multilabel_classification(300, random_state=0)
    model = MLPClassifier(random_state=0, max_iter=300, learning_rate_init=0.01).fit(x, y)
    assert model.predict(x).shape == y.shape
    assert model.predict_proba(x).shape == y.shape
    assert model.score(x, y) > 0.9
    assert model.out_activation_ == "logistic"


def test_options_beyond_scikit_learn_train(digits):
    x, y = digits[0][:400], digits[1][:400]
    calls = []
    model = MLPClassifier(
        (32, 16),
        activation=["tanh", "gelu"],
        dropout=0.1,
        batch_norm=True,
        class_weight="balanced",
        loss="focal",
        optimizer=fn.AdamW(lr=0.01),
        schedule=fn.schedules.Cosine(),
        callbacks=lambda training: calls.append(training.epoch),
        precision="float32",
        n_threads=1,
        max_iter=30,
        random_state=0,
    ).fit(x, y)
    assert model.score(x, y) > 0.95
    assert model.coefs_[0].dtype == np.float32
    assert calls == list(range(30))


def test_bf16_rounds_the_operands_of_float32_networks(digits):
    x, y = digits[0][:400], digits[1][:400]
    models = {}
    with fn.backend("ref"):  # has bf16 on every machine
        for precision in ("float32", "bf16"):
            model = MLPClassifier((16,), precision=precision, max_iter=3, random_state=0)
            models[precision] = model.partial_fit(x, y).fit(x, y)
    exact, rounded = models["float32"].coefs_[0], models["bf16"].coefs_[0]
    assert rounded.dtype == exact.dtype == np.float32
    assert 2.0**-14 < np.abs(rounded - exact).max() < 2.0**-5
    assert models["bf16"].predict_proba(x).dtype == np.float32


def test_bf16_is_refused_before_anything_changes(digits):
    x, y = digits[0][:40], digits[1][:40]
    with pytest.raises(ValueError, match="precision='bf16' is for mini-batches, but solver='lbfgs'"):
        MLPClassifier(solver="lbfgs", precision="bf16").fit(x, y)
    model = MLPClassifier(max_iter=1).fit(x, y)
    before = model.coefs_[0].copy()
    with fn.backend("ref"), pytest.raises(ValueError, match="needs a float32 model"):
        model.set_params(precision="bf16").partial_fit(x, y)
    np.testing.assert_array_equal(model.coefs_[0], before)


def test_processor_without_bf16_is_named(digits):
    isa, lowest = core.isa(), cpu.supported()[-1]
    if lowest == "v4":
        pytest.skip("only v4 is built")
    model = NNClassifier(precision="bf16")
    core.select_isa(lowest)
    try:
        with fn.backend("aot"), pytest.raises(RuntimeError, match="bf16 needs a processor with AVX512_BF16"):
            model.fit(*digits)
    finally:
        core.select_isa(isa)
    assert not hasattr(model, "model_")


def test_pieces_of_a_mini_batch_give_its_update(digits):
    x, y = digits[0][:300], digits[1][:300]
    options = {"batch_size": 300, "max_iter": 2, "random_state": 0, "optimizer": "sgd"}
    sizes = []
    pieces = NNClassifier(micro_batch=70, callbacks=lambda t: sizes.append(t.trainer.micro_batch), **options)
    whole, cut = NNClassifier(**options).fit(x, y), pieces.fit(x, y)
    assert sizes == [70, 70]
    for one, other in zip(whole.model_.parameters(), cut.model_.parameters(), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-7, atol=1e-9)


def test_own_validation_data_stop_the_training(digits):
    x, y = digits
    model = MLPClassifier(random_state=0, early_stopping=True, n_iter_no_change=2, max_iter=200)
    model.fit(x[:1000], y[:1000], X_val=x[1000:], y_val=y[1000:])
    assert model.n_iter_ < 200
    assert len(model.validation_loss_curve_) == len(model.validation_scores_) == model.n_iter_
    assert model.best_validation_score_ == pytest.approx(model.score(x[1000:], y[1000:]))


def test_partial_fit_keeps_the_state_of_the_optimizer(digits):
    x, y = digits[0][:200], digits[1][:200]
    options = {"random_state": 0, "shuffle": False, "batch_size": 100}
    whole = MLPClassifier(max_iter=5, **options).fit(x, y)
    parts = MLPClassifier(**options)
    for _ in range(5):
        parts.partial_fit(x, y, classes=np.arange(10))
    for one, other in zip(whole.coefs_, parts.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert parts.t_ == whole.t_ == 1000


def test_partial_fit_with_classes_that_a_batch_lacks_and_early_stopping(digits):
    x, y = digits
    model = MLPClassifier(random_state=0, early_stopping=True)
    for label in (*range(10), *range(10)):
        model.partial_fit(x[y == label], y[y == label], np.arange(10), X_val=x[:200], y_val=y[:200])
    assert len(model.validation_scores_) == 20
    assert model.best_validation_score_ == pytest.approx(model.score(x[:200], y[:200]))


def test_convolutional_classifier_learns_digits(digits):
    x, y = digits
    model = CNNClassifier(
        image_shape=(8, 8), max_iter=8, batch_size=32, random_state=0, augment=fn.augment.Shift(0.5)
    )
    assert model.fit(x[:1200], y[:1200]).score(x[1200:], y[1200:]) > 0.9


def two_layers(input_shape, outputs):
    return fn.nets.mlp([*input_shape, 16, 16, outputs])


# As if the user's script defined it: joblib's workers get its code, since they cannot import this module.
two_layers.__module__ = "__main__"


def test_any_model_in_a_grid_search_with_two_jobs(digits):
    x, y = digits[0][:300], digits[1][:300]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), NNClassifier(two_layers, max_iter=30, random_state=0)),
        {"nnclassifier__optimizer": [fn.Adam(lr=0.01), "sgd"]},
        cv=2,
        n_jobs=2,
    ).fit(x, y)
    assert search.best_params_["nnclassifier__optimizer"].lr == 0.01
    assert search.best_score_ > 0.7


def test_tools_of_scikit_learn(digits):
    x, y = digits[0][:300], digits[1][:300]
    model = MLPClassifier(random_state=0, max_iter=30, learning_rate_init=0.01)
    assert cross_val_score(model, x, y, cv=2, n_jobs=2).mean() > 0.8
    calibrated = CalibratedClassifierCV(clone(model), cv=2).fit(x, y)
    assert calibrated.predict_proba(x).sum() == pytest.approx(300)
    model.fit(x, y)
    assert permutation_importance(model, x[:50], y[:50], n_repeats=1).importances_mean.shape == (64,)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(x), model.predict_proba(x))
    copy.partial_fit(x, y)  # the state of the optimizer came along


def test_warm_start_continues_and_checks_the_classes(digits):
    x, y = digits[0][:200], digits[1][:200]
    model = MLPClassifier(random_state=0, max_iter=5, warm_start=True).fit(x, y)
    first = model.loss_
    assert model.fit(x, y).loss_ < first
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        model.fit(x, y + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": ["relu", "tanh"]}, "a list of 1 of them"),
        ({"solver": "newton"}, "'solver' parameter"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"precision": "float16"}, "'precision' parameter"),
        ({"precision": "bf16", "solver": "lbfgs"}, "needs all digits of float64"),
    ],
)
def test_invalid_parameters_raise(digits, options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**options).fit(digits[0][:20], digits[1][:20])


def test_invalid_data_raise(digits):
    x, y = digits[0][:40], digits[1][:40]
    with pytest.raises(ValueError, match="pass both X_val and y_val"):
        MLPClassifier().fit(x, y, X_val=x)
    with pytest.raises(ValueError, match="Negative values"):
        MLPClassifier().fit(x, y, sample_weight=-np.ones(40))
    with pytest.raises(ValueError, match=r"labels that are not in `self\.classes_`"):
        MLPClassifier(max_iter=1).partial_fit(x[:5], y[:5], classes=range(5)).partial_fit(x, y)
    with pytest.raises(ValueError, match="does not fit 64 features"):
        CNNClassifier(image_shape=(7, 7)).fit(x, y)
    with pytest.raises(TypeError, match="must return a fastnn model"):
        NNClassifier(lambda input_shape, outputs: None).fit(x, y)


def test_unconverged_training_warns(digits):
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        MLPClassifier(max_iter=2).fit(digits[0][:50], digits[1][:50])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(max_iter=2000, tol=0.1).fit(*make_classification(50, random_state=0))


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "poisson"])
def test_both_regressors_have_the_same_losses(loss):
    x = np.random.default_rng(0).uniform(0, 2, (200, 1))
    y = np.exp(x[:, 0])
    for kind in (MLPRegressor, NNRegressor):
        model = kind(loss=loss, max_iter=200, random_state=0, batch_size=20)
        assert model.fit(x, y).score(x, y) > 0.95
    with pytest.raises(ValueError, match="'loss' parameter"):
        NNRegressor(loss="cross_entropy").fit(x, y)
