"""Labels that are no numbers of classes, such as customer numbers, make no arrays of their size."""

import numpy as np
import pytest

import fastnn as fn

Y = np.array([0, 1, 10**9])
P = np.array([0, 1, 2])
SCORES = np.eye(3) + 0.1

CALLS = {
    "confusion": lambda: fn.metrics.confusion(P, Y),
    "predicted": lambda: fn.metrics.confusion(Y, P),
    "scores": lambda: fn.metrics.confusion(SCORES, Y),
    "f1": lambda: fn.metrics.f1(P, Y),
    "precision": lambda: fn.metrics.precision(P, Y),
    "recall": lambda: fn.metrics.recall(P, Y),
    "kappa": lambda: fn.metrics.cohen_kappa(P, Y),
    "report": lambda: fn.metrics.report(P, Y),
    "one_hot": lambda: fn.data.one_hot(Y),
    "weights": lambda: fn.data.balanced_class_weights(Y),
    "largest": lambda: fn.data.balanced_class_weights(np.array([0, 2**63 - 1])),
    "unsigned": lambda: fn.data.one_hot(np.array([0, 2**64 - 1], np.uint64)),
    "picture": lambda: fn.viz.save_confusion(P, Y, "confusion.png"),
    "classes": lambda: fn.metrics.confusion(P, P, classes=10**9),
    "classes of one_hot": lambda: fn.data.one_hot(P, classes=10**9),
    "classes of a picture": lambda: fn.viz.save_confusion(P, P, "confusion.png", classes=10**9),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_huge_label_is_an_error_that_says_how_to_number(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"makes [\d,]+ classes, but at most .* np.unique\(y, return_inverse"
    ):
        call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [0, -1, 2.5, True, "3", 1e9])
@pytest.mark.parametrize("call", [fn.metrics.confusion, fn.data.one_hot, fn.data.balanced_class_weights])
def test_a_number_of_classes_is_a_positive_integer(call, classes):
    arguments = (P, P) if call is fn.metrics.confusion else (P,)
    with pytest.raises(ValueError, match="classes must be an integer of at least 1, not"):
        call(*arguments, classes=classes)


def test_labels_beyond_the_outputs_are_named():
    with pytest.raises(ValueError, match="labels must be from 0 to 2, not from 0 to 1000000000"):
        fn.metrics.top_k(2)(SCORES, Y)


def test_unsigned_labels_do_not_wrap_around():
    with pytest.raises(
        ValueError, match=r"labels must be below 2\^63, but targets contain 18446744073709551615"
    ):
        fn.metrics.confusion(P, np.array([0, 1, 2**64 - 1], np.uint64))


def test_endless_classes_of_a_model_are_rejected():
    with pytest.raises(ValueError, match="classes must be at most 1,048,576 labels"):
        fn.Linear(2, 3).classes = range(10**12)


def test_huge_labels_can_be_numbered_and_compared():
    assert fn.metrics.accuracy(P, Y) == pytest.approx(2 / 3)
    numbered = np.unique(Y, return_inverse=True)[1]
    assert (fn.metrics.confusion(P, numbered) == np.eye(3)).all()
