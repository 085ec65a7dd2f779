"""Callbacks of scikit-learn, metadata routing and output settings around the estimators."""

import os

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import config_context
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn as fn
from fastnn.sklearn import CNNClassifier, MLPClassifier, MLPRegressor, NNClassifier

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer", "ignore:lbfgs failed")

X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]
TRAIN, VAL = slice(0, 300), slice(300, 400)
WEIGHT = np.random.default_rng(0).random(300)


class Log:
    """A callback of scikit-learn that records the tasks, and stops after an epoch."""

    max_propagation_depth = None

    def __init__(self, last_epoch=100):
        self.last_epoch = last_epoch
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.events.append(("end", context.task_name, context.task_id))
        if fitted_estimator is not None:  # a search has none until its end
            self.score = fitted_estimator.score(X, y)
            self.fitted = fitted_estimator
        return context.task_name == "epoch" and context.task_id == self.last_epoch


@pytest.fixture
def callback():
    pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks from 1.9 on")
    return Log


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, NNClassifier, CNNClassifier])
def test_callbacks_see_the_fit_and_each_epoch(callback, kind):
    log = callback()
    model = kind(max_iter=2, random_state=0).set_callbacks(log).fit(X, Y)
    epochs = [(event, "epoch", epoch) for epoch in range(2) for event in ("begin", "end")]
    assert log.events == ["setup", ("begin", "fit", 0), *epochs, ("end", "fit", 0), "teardown"]
    assert log.score == model.score(X, Y)


def test_a_callback_ends_the_training_and_keeps_its_own_model(callback):
    log = callback(last_epoch=2)
    model = MLPClassifier(max_iter=20, random_state=0).set_callbacks(log).fit(X, Y)
    assert model.n_iter_ == 3
    kept = log.fitted
    before = kept.predict_proba(X[:5])
    model.partial_fit(X, Y)
    np.testing.assert_array_equal(kept.predict_proba(X[:5]), before)


@pytest.mark.parametrize(
    ("method", "options", "epochs"), [("partial_fit", {}, 1), ("fit", {"solver": "lbfgs"}, 0)]
)
def test_callbacks_of_other_trainings(callback, method, options, epochs):
    log = callback()
    model = MLPClassifier(max_iter=3, **options).set_callbacks(log)
    getattr(model, method)(X, Y)
    assert [event[1] for event in log.events if event[0] == "end"] == ["epoch"] * epochs + ["fit"]


def test_callbacks_are_torn_down_if_fit_raises(callback):
    log = callback()
    with pytest.raises(ValueError, match="non-finite"):
        MLPRegressor(max_iter=2, solver="sgd").set_callbacks(log).fit(X * 1e200, Y)
    assert log.events[-1] == "teardown"


def test_callbacks_of_a_search_reach_the_estimators(callback):
    log = callback()
    search = GridSearchCV(MLPClassifier(max_iter=2), {"alpha": [1e-4, 1e-2]}, cv=2).set_callbacks(log)
    search.fit(X, Y)
    assert sum(event[:2] == ("end", "epoch") for event in log.events) == 2 * (2 * 2 + 1)


def test_validation_data_and_weights_are_routed_through_a_pipeline():
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(max_iter=3, random_state=0, early_stopping=True)
        model.set_fit_request(X_val=True, y_val=True, sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = Pipeline([("scaler", scaler), ("model", model)], transform_input=["X_val"])
        pipeline.fit(X[TRAIN], Y[TRAIN], X_val=X[VAL], y_val=Y[VAL], sample_weight=WEIGHT)
    scaler = StandardScaler().fit(X[TRAIN])
    alone = MLPClassifier(max_iter=3, random_state=0, early_stopping=True)
    alone.fit(scaler.transform(X[TRAIN]), Y[TRAIN], WEIGHT, X_val=scaler.transform(X[VAL]), y_val=Y[VAL])
    assert pipeline[-1].validation_loss_curve_ == alone.validation_loss_curve_
    assert pipeline[-1].validation_scores_ == alone.validation_scores_


def test_validation_data_and_weights_are_routed_through_a_search():
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(max_iter=2, random_state=0)
        model.set_fit_request(X_val=True, y_val=True, sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"alpha": [1e-4, 1.0]}, cv=2)
        search.fit(X[TRAIN], Y[TRAIN], X_val=X[VAL], y_val=Y[VAL], sample_weight=WEIGHT)
        scores = cross_validate(
            model.set_fit_request(X_val=None, y_val=None),
            X[TRAIN],
            Y[TRAIN],
            cv=2,
            params={"sample_weight": WEIGHT},
        )["test_score"]
    alone = MLPClassifier(max_iter=2, random_state=0, **search.best_params_)
    alone.fit(X[TRAIN], Y[TRAIN], WEIGHT, X_val=X[VAL], y_val=Y[VAL])
    assert search.best_estimator_.validation_loss_curve_ == alone.validation_loss_curve_
    assert scores.shape == (2,)


def test_metadata_that_was_not_requested_is_refused():
    with config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="X_val"):
        make_pipeline(StandardScaler(), MLPClassifier()).fit(X, Y, X_val=X, y_val=Y)


def test_pandas_output_of_the_steps_before_names_the_features():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=[f"pixel{index}" for index in range(64)])
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=2)).set_output(transform="pandas")
    pipeline.fit(table, Y)
    assert list(pipeline[-1].feature_names_in_) == list(table.columns)
    assert type(pipeline.predict_proba(table)) is np.ndarray


def test_the_workers_of_a_search_share_the_cores():
    counted = cross_validate(
        MLPClassifier(max_iter=1), X, Y, cv=2, n_jobs=2, scoring=lambda model, x, y: fn.get_num_threads()
    )["test_score"]
    assert max(counted) <= max(1, os.cpu_count() // 2)
