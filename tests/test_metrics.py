"""Metrics: compared with scikit-learn on random cases, else with values computed by hand."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as theirs

import fastnn as fn
from fastnn import metrics

PAIRS = (
    (metrics.precision, theirs.precision_score),
    (metrics.recall, theirs.recall_score),
    (metrics.f1, theirs.f1_score),
    (metrics.iou, theirs.jaccard_score),
)


def random_cases(count=60):
    rng = np.random.default_rng(0)
    for _ in range(count):
        classes, samples = int(rng.integers(2, 7)), int(rng.integers(1, 40))
        yield rng.standard_normal((samples, classes)), rng.integers(0, classes, samples)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_precision_recall_and_f1_equal_scikit_learn(average, zero_division):
    """Few samples, many classes: some classes are never predicted, never a target, or neither."""
    for outputs, labels in random_cases():
        predicted = outputs.argmax(axis=1)
        for ours, other in PAIRS:
            wanted = other(labels, predicted, average=average, zero_division=zero_division)
            for given in (outputs, predicted):
                got = ours(given, labels, average=average, zero_division=zero_division)
                assert got == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "precision", "recall", "f1", "iou", "cohen_kappa"])
def test_pixels_of_masks_count_like_samples(metric):
    ours, rng = getattr(metrics, metric), np.random.default_rng(0)
    outputs, labels = rng.standard_normal((5, 3, 4, 3)), rng.integers(0, 3, (5, 3, 4))
    expected = ours(outputs.reshape(-1, 3), labels.reshape(-1))
    assert ours(outputs, labels) == ours(outputs.argmax(axis=-1), labels) == expected
    assert ours(outputs.reshape(5, 12, 3), labels.reshape(5, 12)) == expected
    weight = [0, 2, 1, 0, 3]
    index = np.repeat(np.arange(5), weight)
    repeated = ours(outputs[index], labels[index])
    assert ours(outputs, labels, sample_weight=weight) == pytest.approx(repeated, rel=1e-12)
    logits, mask = outputs[..., :1], (labels > 0)[..., None]
    assert ours(logits, mask) == ours(logits.reshape(-1, 1), mask.reshape(-1))


def test_values_per_class_equal_scikit_learn():
    for outputs, labels in random_cases():
        predicted, classes = outputs.argmax(axis=1), outputs.shape[1]
        wanted = theirs.precision_recall_fscore_support(
            labels, predicted, labels=np.arange(classes), zero_division=0.0
        )
        for ours, numbers in zip((metrics.precision, metrics.recall, metrics.f1), wanted, strict=False):
            np.testing.assert_allclose(ours(outputs, labels, average="none"), numbers, atol=1e-12)


def test_accuracy_and_confusion_equal_scikit_learn():
    for outputs, labels in random_cases():
        predicted, classes = outputs.argmax(axis=1), outputs.shape[1]
        one_hot = np.eye(classes)[labels]
        for targets in (labels, one_hot):
            assert metrics.accuracy(outputs, targets) == theirs.accuracy_score(labels, predicted)
            table = metrics.confusion(outputs, targets)
            wanted = theirs.confusion_matrix(labels, predicted, labels=np.arange(classes))
            assert np.array_equal(table, wanted)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "none"])
def test_scores_of_several_labels_equal_scikit_learn(average, zero_division):
    rng = np.random.default_rng(1)
    for _ in range(60):
        shape = int(rng.integers(1, 20)), int(rng.integers(3, 6))
        logits, targets = rng.standard_normal(shape), (rng.random(shape) < rng.random()).astype(int)
        targets[0, 1:] = 1  # not all rows are one-hot
        if rng.random() < 0.5:  # a label that is never true and never predicted
            targets[:, 0], logits[:, 0] = 0, -1
        for ours, other in PAIRS:
            wanted = other(
                targets,
                (logits > 0).astype(int),
                average=None if average == "none" else average,
                zero_division=zero_division,
            )
            for outputs in (logits, (logits > 0).astype(int), logits > 0):
                got = ours(outputs, targets.astype(np.float32), average=average, zero_division=zero_division)
                assert got == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("zero_division", [0.0, 1.0])
@pytest.mark.parametrize("average", [None, "binary", "macro", "micro", "weighted"])
def test_scores_of_one_output_equal_scikit_learn(average, zero_division):
    rng = np.random.default_rng(2)
    for _ in range(60):
        logits = rng.standard_normal((int(rng.integers(1, 12)), 1))
        labels = rng.integers(0, 2, len(logits))
        predicted = (logits[:, 0] > 0).astype(int)
        for ours, other in PAIRS:
            wanted = other(labels, predicted, average=average or "binary", zero_division=zero_division)
            for targets in (labels, labels[:, None].astype(np.float32), labels.astype(bool)):
                got = ours(logits, targets, average=average, zero_division=zero_division)
                assert got == pytest.approx(wanted, abs=1e-12)
        assert metrics.accuracy(logits, labels) == theirs.accuracy_score(labels, predicted)
        assert np.array_equal(
            metrics.confusion(logits, labels), theirs.confusion_matrix(labels, predicted, labels=[0, 1])
        )


def test_scores_of_a_binary_model_in_evaluate():
    x = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    labels = (x[:, 0] + 0.3 * x[:, 1] > 0).astype(int)
    one, three = fn.Linear(3, 1), fn.Linear(3, 3)
    values = fn.evaluate(one, (x, labels), loss="binary_cross_entropy", metrics=[metrics.f1])
    assert values["f1"] == pytest.approx(theirs.f1_score(labels, one.predict(x)[:, 0] > 0))
    several = (x > 0).astype(int)
    values = fn.evaluate(three, (x, several), loss="binary_cross_entropy", metrics=[metrics.f1])
    assert values["f1"] == pytest.approx(theirs.f1_score(several, three.predict(x) > 0, average="macro"))


def test_probabilities_in_the_place_of_logits_warn():
    with pytest.warns(UserWarning, match=r"look like probabilities, .* pass \(outputs > 0.5\).astype\(int\)"):
        metrics.f1(np.linspace(0, 1, 10)[:, None], np.arange(10) % 2)


SEVERAL = [[1, 1, 0], [0, 1, 1]]
LOGITS = [[5, -5, -5], [-5, 5, -5]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(LOGITS, SEVERAL), r"several labels .* ambiguous: use fn.metrics.f1"),
        (lambda: metrics.confusion(LOGITS, SEVERAL), "have no confusion matrix: use fn.metrics.precision"),
        (lambda: metrics.report(LOGITS, SEVERAL), "have no confusion matrix"),
        (lambda: metrics.top_k(1)(LOGITS, SEVERAL), "must be one-hot, or probabilities"),
        (lambda: metrics.f1(LOGITS, [[255, 0, 0], [0, 255, 0]]), "must be one-hot, or probabilities"),
        (lambda: metrics.f1(LOGITS, [[-1, 2, 0], [0, 1, 0]]), "must be one-hot, or probabilities"),
        (lambda: metrics.f1([0, 1], SEVERAL), r"must have the shape of the targets, \(2, 3\)"),
        (lambda: metrics.f1(LOGITS, [[1, 0], [0, 1]]), r"3 outputs per sample for targets of shape \(2, 2\)"),
        (lambda: metrics.f1([[1.0], [2.0]], [0, 2]), r"one output decides between 0 and 1, .* from 0 to 2"),
        (lambda: metrics.f1([[1.0], [2.0]], [[0, 1], [1, 0]]), r"shape \(N,\) or \(N, 1\), got \(2, 2\)"),
        (lambda: metrics.f1(LOGITS, SEVERAL, average="binary"), 'average="binary" needs the classes 0 and 1'),
    ],
)
def test_targets_of_another_kind_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_top_k_equals_scikit_learn():
    for outputs, labels in random_cases():
        for k in range(1, outputs.shape[1]):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn warns if k is the number of classes or more
                wanted = theirs.top_k_accuracy_score(
                    labels,
                    outputs if outputs.shape[1] > 2 else outputs[:, 1] - outputs[:, 0],
                    k=k,
                    labels=np.arange(outputs.shape[1]),
                )
            if outputs.shape[1] > 2:
                assert metrics.top_k(k)(outputs, labels) == pytest.approx(wanted, abs=1e-12)
        assert metrics.top_k(outputs.shape[1])(outputs, labels) == 1


def test_top_k_of_constant_outputs_is_chance():
    assert metrics.top_k(1)(np.zeros((3, 3)), [0, 1, 2]) == pytest.approx(1 / 3)


def test_report_lists_every_class_the_means_and_accuracy():
    text = metrics.report([0, 0, 1, 1], [0, 1, 1, 1], names=["ant", "bee"])
    assert text.splitlines() == [
        "          precision  recall      F1  samples",
        "ant          0.5000  1.0000  0.6667        1",
        "bee          1.0000  0.6667  0.8000        3",
        "mean         0.7500  0.8333  0.7333        4",
        "accuracy     0.7500",
    ]


def test_fit_records_metrics_in_the_history():
    x, y = np.random.default_rng(0).random((30, 4), np.float32), np.arange(30) % 3
    history = fn.fit(
        fn.Linear(4, 3), (x, y), validation=(x, y), metrics=[metrics.f1, metrics.top_k(2)], progress=False
    )
    assert 0 <= history["val_f1"][0] <= 1
    assert history["val_top2"][0] >= history["val_accuracy"][0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy([], []), "outputs must have shape"),
        (lambda: metrics.accuracy([0, 1], [0]), "2 outputs for 1 targets"),
        (lambda: metrics.accuracy([0, -1], [0, 1]), "must be at least 0, but outputs contain -1"),
        (lambda: metrics.confusion([0, 3], [0, 1], classes=2), "a class 3, but classes=2"),
        (lambda: metrics.f1([0], [0], average="mean"), "unknown average"),
        (lambda: metrics.top_k(0), "k must be"),
        (lambda: metrics.top_k(1)([0, 1], [0, 1]), r"outputs must have shape \(2, C\)"),
        (lambda: metrics.report([0, 1], [0, 1], names=["a"]), "1 names for 2 classes"),
    ],
)
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float_labels_are_rejected():
    with pytest.raises(TypeError, match="labels must be integers"):
        metrics.accuracy([0.5], [1])


@pytest.mark.parametrize("form", [np.asarray, list, lambda labels: np.array(labels, object)])
def test_text_labels_have_the_metrics_of_their_numbers(form, tmp_path):
    true, predicted = np.arange(40) % 4, np.arange(40) % 7 % 4
    names = np.array(["ant", "bee", "cat", "dog"])
    text = form(names[predicted].tolist()), form(names[true].tolist())
    for metric in (fn.metrics.accuracy, fn.metrics.f1, fn.metrics.precision, fn.metrics.recall):
        assert metric(*text) == metric(predicted, true)
    np.testing.assert_array_equal(fn.metrics.confusion(*text), fn.metrics.confusion(predicted, true))
    assert fn.metrics.report(*text) == fn.metrics.report(predicted, true, names=names.tolist())
    assert fn.viz.save_confusion(text[1], text[0], tmp_path / "confusion.png").exists()


def test_text_targets_of_scores_are_rejected():
    with pytest.raises(TypeError, match="targets must hold real numbers"):
        fn.metrics.f1(np.zeros((2, 2)), ["a", "b"])
