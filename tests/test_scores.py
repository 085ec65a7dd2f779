"""Metrics that rank or score outputs, and sample weights of all metrics: compared with scikit-learn's."""

from functools import partial

import numpy as np
import pytest
from sklearn import metrics as theirs

import fastnn as fn
from fastnn import metrics

AVERAGES = ("macro", "weighted", "micro", "none")


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def weights(rng, samples):
    """None, or weights of which about a quarter are 0, but not the first ones."""
    if rng.random() < 0.3:
        return None
    weight = rng.integers(0, 4, samples).astype(float)
    weight[:12] = rng.random(12) + 0.1
    return weight


def class_cases(count=40):
    """Logits with ties, labels of which all classes occur, weights."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        classes, samples = int(rng.integers(3, 6)), int(rng.integers(12, 60))
        labels = rng.integers(0, classes, samples)
        labels[:classes] = np.arange(classes)
        yield rng.standard_normal((samples, classes)).round(1), labels, weights(rng, samples)


def binary_cases(count=40):
    rng = np.random.default_rng(1)
    for _ in range(count):
        samples = int(rng.integers(12, 60))
        labels = rng.integers(0, 2, samples)
        labels[:2] = 0, 1
        yield rng.standard_normal(samples).round(1), labels, weights(rng, samples)


def test_roc_auc_and_average_precision_of_one_output_equal_scikit_learn():
    for scores, labels, weight in binary_cases():
        for ours, other in (
            (metrics.roc_auc, theirs.roc_auc_score),
            (metrics.average_precision, theirs.average_precision_score),
        ):
            expected = pytest.approx(other(labels, scores, sample_weight=weight), abs=1e-12)
            for outputs, targets in ((scores, labels), (scores[:, None], labels[:, None].astype(float))):
                assert ours(outputs, targets, sample_weight=weight) == expected
            two = np.stack((-scores, 0 * scores), axis=1)  # logits of two classes with the same difference
            assert ours(two, labels, sample_weight=weight) == expected


@pytest.mark.parametrize("average", AVERAGES)
def test_roc_auc_of_classes_equals_scikit_learn(average):
    for outputs, labels, weight in class_cases():
        expected = theirs.roc_auc_score(
            np.eye(outputs.shape[1])[labels],
            softmax(outputs),
            average=None if average == "none" else average,
            sample_weight=weight,
        )
        for targets in (labels, np.eye(outputs.shape[1])[labels]):
            found = metrics.roc_auc(outputs, targets, average=average, sample_weight=weight)
            np.testing.assert_allclose(found, expected, atol=1e-12)
        if average in ("macro", "weighted"):
            same = partial(theirs.roc_auc_score, multi_class="ovr", average=average, sample_weight=weight)
            assert same(labels, softmax(outputs)) == pytest.approx(found, abs=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
def test_average_precision_of_classes_equals_scikit_learn(average):
    for outputs, labels, weight in class_cases():
        found = metrics.average_precision(outputs, labels, average=average, sample_weight=weight)
        expected = theirs.average_precision_score(
            np.eye(outputs.shape[1])[labels],
            softmax(outputs),
            average=None if average == "none" else average,
            sample_weight=weight,
        )
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("average", AVERAGES)
def test_ranking_of_several_labels_equals_scikit_learn(average):
    rng = np.random.default_rng(2)
    for _ in range(30):
        outputs, targets = rng.standard_normal((30, 4)).round(1), rng.integers(0, 2, (30, 4))
        targets[:2] = [[0] * 4, [1] * 4]
        for ours, other in (
            (metrics.roc_auc, theirs.roc_auc_score),
            (metrics.average_precision, theirs.average_precision_score),
        ):
            weight = weights(rng, 30)
            expected = other(
                targets, outputs, average=None if average == "none" else average, sample_weight=weight
            )
            found = ours(outputs, targets, average=average, sample_weight=weight)
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_log_loss_equals_scikit_learn():
    for outputs, labels, weight in class_cases():
        expected = theirs.log_loss(labels, softmax(outputs), sample_weight=weight)
        for targets in (labels, np.eye(outputs.shape[1])[labels]):
            assert metrics.log_loss(outputs, targets, sample_weight=weight) == pytest.approx(expected)
    for logits, labels, weight in binary_cases():
        expected = theirs.log_loss(labels, 1 / (1 + np.exp(-logits)), sample_weight=weight)
        for outputs in (logits, logits[:, None]):
            assert metrics.log_loss(outputs, labels, sample_weight=weight) == pytest.approx(expected)
    assert metrics.log_loss([[0.0, -np.inf], [800.0, 0.0]], [0, 0]) == 0


def test_log_loss_is_the_cross_entropy():
    rng = np.random.default_rng(3)
    outputs, rows = rng.standard_normal((20, 4)), rng.dirichlet(np.ones(4), 20)
    assert metrics.log_loss(outputs, rows) == pytest.approx(fn.cross_entropy(outputs, rows))


@pytest.mark.parametrize("weighting", [None, "linear", "quadratic"])
def test_cohen_kappa_equals_scikit_learn(weighting):
    for outputs, labels, weight in class_cases():
        expected = theirs.cohen_kappa_score(
            labels,
            outputs.argmax(axis=1),
            labels=np.arange(outputs.shape[1]),
            weights=weighting,
            sample_weight=weight,
        )
        found = metrics.cohen_kappa(outputs, labels, weights=weighting, sample_weight=weight)
        assert found == pytest.approx(expected, abs=1e-12)


def test_cohen_kappa_of_a_single_class_is_nan():
    assert np.isnan(metrics.cohen_kappa([1, 1], [1, 1]))
    assert metrics.cohen_kappa([1, 0], [1, 1]) == 0


def test_r2_and_mean_absolute_error_equal_scikit_learn():
    rng = np.random.default_rng(4)
    for _ in range(60):
        shape = (int(rng.integers(12, 30)), *([int(rng.integers(1, 4))] if rng.random() < 0.6 else []))
        outputs, targets = rng.standard_normal((2, *shape)).round(1)
        if rng.random() < 0.3:
            targets[:] = outputs if rng.random() < 0.5 else 1
        weight = weights(rng, len(targets))
        found = metrics.r2(outputs, targets, sample_weight=weight)
        assert found == pytest.approx(theirs.r2_score(targets, outputs, sample_weight=weight), abs=1e-9)
        found = metrics.r2(outputs, targets, average="none", sample_weight=weight)
        expected = theirs.r2_score(targets, outputs, multioutput="raw_values", sample_weight=weight)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        found = metrics.mean_absolute_error(outputs, targets, sample_weight=weight)
        assert found == pytest.approx(theirs.mean_absolute_error(targets, outputs, sample_weight=weight))


def test_a_column_is_compared_with_a_row_element_by_element():
    assert metrics.r2([[1.0], [2.0], [4.0]], [1, 2, 4]) == 1
    assert metrics.mean_absolute_error([1.0, 2.0], [[2.0], [3.0]]) == 1


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_sample_weights_of_decisions_equal_scikit_learn(average):
    for outputs, labels, weight in class_cases():
        predicted = outputs.argmax(axis=1)
        for ours, other in (
            (metrics.precision, theirs.precision_score),
            (metrics.recall, theirs.recall_score),
            (metrics.f1, theirs.f1_score),
        ):
            expected = other(labels, predicted, average=average, sample_weight=weight, zero_division=0)
            found = ours(outputs, labels, average=average, sample_weight=weight)
            assert found == pytest.approx(expected, abs=1e-12)
        assert metrics.accuracy(outputs, labels, sample_weight=weight) == pytest.approx(
            theirs.accuracy_score(labels, predicted, sample_weight=weight)
        )
        np.testing.assert_allclose(
            metrics.confusion(outputs, labels, sample_weight=weight),
            theirs.confusion_matrix(
                labels, predicted, labels=np.arange(outputs.shape[1]), sample_weight=weight
            ),
        )
        scores = outputs + 1e-9 * np.arange(outputs.shape[1])  # no ties
        found = metrics.top_k(2)(scores, labels, sample_weight=weight)
        assert found == pytest.approx(
            theirs.top_k_accuracy_score(labels, scores, k=2, sample_weight=weight), abs=1e-12
        )


def test_sample_weights_of_several_labels_equal_scikit_learn():
    rng = np.random.default_rng(5)
    outputs, targets, weight = rng.standard_normal((30, 4)), rng.integers(0, 2, (30, 4)), rng.random(30)
    for average in ("macro", "micro", "weighted"):
        expected = theirs.f1_score(targets, outputs > 0, average=average, sample_weight=weight)
        assert metrics.f1(outputs, targets, average=average, sample_weight=weight) == pytest.approx(expected)


Z = 2 * np.eye(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.roc_auc([0.1, 0.5], [1, 1]), "no sample outside class 1"),
        (lambda: metrics.roc_auc([0.1, 0.5], [0, 0]), "no sample of class 1"),
        (lambda: metrics.roc_auc([0.1, 0.5], [0, 1], sample_weight=[1, 0]), "no sample of class 1"),
        (lambda: metrics.roc_auc(Z, [0, 1, 1]), "no sample of class 2"),
        (lambda: metrics.average_precision(Z, [0, 1, 1]), "no sample of class 2"),
        (lambda: metrics.roc_auc([np.nan, 0.5], [0, 1]), "must not be NaN, but 1 are"),
        (lambda: metrics.roc_auc([0.1, 0.5], [1, 2]), r"targets must be 0 or 1"),
        (lambda: metrics.roc_auc(Z, [0, 1]), "one row per target"),
        (lambda: metrics.roc_auc(Z, [0, 1, 3]), "there is a class 3, but only 3 outputs"),
        (lambda: metrics.roc_auc(Z, np.eye(3)[:, :2]), "must have the shape of the outputs"),
        (lambda: metrics.roc_auc(Z, [0, 1, 2], average="mean"), "unknown average 'mean'"),
        (lambda: metrics.roc_auc(Z, [0, 1, 2], sample_weight=[1, 1]), r"must have shape \(3,\)"),
        (lambda: metrics.log_loss(Z, [[1, 1, 0], [0, 0, 0], [0, 1, 1]]), "ambiguous"),
        (lambda: metrics.log_loss(Z, [0, 1, -1]), "at least 0"),
        (lambda: metrics.cohen_kappa([1, 0], [1, 1], weights="cubic"), "unknown weights 'cubic'"),
        (lambda: metrics.r2([1.0], [1.0]), "at least 2 samples, got 1"),
        (lambda: metrics.r2([1.0, 2], [[1.0, 2]]), "must have the same shape"),
        (lambda: metrics.mean_absolute_error([], []), "at least 1 sample"),
        (lambda: metrics.accuracy([1, 0], [1, 1], sample_weight=[1, -1]), "at least 0"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_probabilities_in_the_place_of_logits_warn():
    probabilities = softmax(np.random.default_rng(0).standard_normal((6, 3)))
    labels = np.arange(6) % 3
    for metric in (metrics.roc_auc, metrics.log_loss):
        with pytest.warns(UserWarning, match="pass np.log"):
            metric(probabilities, labels)
    expected = theirs.log_loss(labels, probabilities)
    assert metrics.log_loss(np.log(probabilities), labels) == pytest.approx(expected)


def test_evaluate_takes_the_metrics_by_name():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((30, 4)), np.arange(30) % 3
    names = ["roc_auc", "average_precision", "log_loss", "cohen_kappa"]
    model = fn.Linear(4, 3)
    found = fn.evaluate(model, (x, labels), metrics=names)
    assert found["roc_auc"] == metrics.roc_auc(model.predict(x), labels)
    assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-5)
    names = ["r2", "mean_absolute_error"]
    found = fn.evaluate(fn.Linear(4, 2), (x, x[:, :2]), loss="absolute_error", metrics=names)
    assert found["mean_absolute_error"] == pytest.approx(found["loss"], rel=1e-5)
