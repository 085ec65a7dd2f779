"""Targets that a loss would misread are refused, with the loss that was probably meant."""

import numpy as np
import pytest

import fastnn as fn

LOGITS = np.random.default_rng(0).normal(size=(2, 3))


@pytest.mark.parametrize("loss", [fn.cross_entropy, fn.focal])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([[1, 0, 0], [255, 0, 0]], r"row 1 of y is \[255, 0, 0\]"),
        ([[0, 255, 0], [255, 0, 0]], r"row 0 of y is \[0, 255, 0\]: divide y by 255"),
        ([[255, 255, 0], [255, 0, 0]], r'several classes, .* use loss="binary_cross_entropy"'),
        ([[1, 0, 0], [-1, 2, 0]], r'row 1 of y is \[-1, 2, 0\]: for real targets use loss="squared_error"'),
        ([[1, 1, 0], [0, 1, 0]], r'row 0 of y is \[1, 1, 0\]: if several .* loss="binary_cross_entropy"'),
        ([[0, 0, 0], [0, 1, 0]], r'row 0 of y is \[0, 0, 0\]: if several classes, or none, .*="binary_cross'),
        ([[0.2, 0.2, 0.2]] * 2, r"divide y by 0\.(6|59)"),
        ([[1.5, -0.5, 0.0]] * 2, 'for real targets use loss="squared_error"'),
    ],
)
def test_rows_that_are_no_distribution_are_refused(loss, target, message):
    for dtype in (float, np.float32, np.float16):
        with pytest.raises(ValueError, match="or rows of probabilities that sum to 1, .*" + message):
            loss(LOGITS, np.array(target, dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounded_probabilities_are_taken(dtype):
    soft = np.random.default_rng(0).dirichlet(np.ones(100), 20).astype(dtype)
    fn.cross_entropy(np.zeros((20, 100)), soft)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
@pytest.mark.parametrize("y", [[0, 1, 1, 0], [[0], [1], [1], [0]], [[0.0], [1], [1], [0]], [0, 0, 0, 0]])
def test_one_output_has_no_classes(loss, y):
    """The softmax of one output is 1 whatever it is: the loss would be 0 for ever."""
    x, model = np.ones((4, 2)), fn.Linear(2, 1)
    message = f'{loss} needs one output per class, .* "binary_cross_entropy" .* "squared_error"'.replace(
        ' "', '.*"'
    )
    for use in (
        lambda: fn.fit(model, (x, y), loss=loss),
        lambda: fn.Trainer(model, loss=loss).step(x, y),
        lambda: fn.evaluate(model, (x, y), loss=loss),
        lambda: getattr(fn, loss)(np.zeros((4, 1)), y),
    ):
        with pytest.raises(ValueError, match=message):
            use()


@pytest.mark.parametrize(
    ("loss", "outputs", "target", "message"),
    [
        (fn.cross_entropy, 3, [[0], [1]], r"got \(2, 1\): use np.ravel\(y\)"),
        (
            fn.binary_cross_entropy,
            3,
            [0, 2],
            r'for labels use fn.data.one_hot\(y, 3\), or loss="cross_entropy"',
        ),
        (fn.squared_error, 3, [0, 2], r'for labels use fn.data.one_hot\(y, 3\), or loss="cross_entropy"'),
        (fn.squared_error, 3, [0.5, 2], "the model needs one output, as there is one target per sample"),
        (fn.squared_error, 3, [[0.5], [2]], "the model needs one output, as there is one target per sample"),
        (fn.squared_error, 1, [[0.5, 1], [2, 3]], "the model needs 2 outputs, or pass the column y"),
        (fn.binary_cross_entropy, 1, [[0, 1], [1, 0]], r"2 outputs, or pass the column y\[:, 1\]"),
        (fn.binary_cross_entropy, 1, [0, 2], r"got values from 0 to 2: use \(y == 2\)"),
        (fn.binary_cross_entropy, 1, [-1, 1], r"got values from -1 to 1: use \(y == 1\)"),
        (fn.dice, 1, [0, 255], r"got values from 0 to 255: use \(y == 255\)"),
        (fn.binary_focal, 1, [0.5, 3.7], 'for real targets use loss="squared_error"'),
    ],
)
def test_shape_or_range_of_another_loss_names_it(loss, outputs, target, message):
    with pytest.raises(ValueError, match=message):
        loss(np.zeros((2, outputs)), target)


def test_more_than_two_labels_for_one_output_name_the_cross_entropy():
    with pytest.raises(
        ValueError, match='for 3 classes use loss="cross_entropy" and a model with one output per'
    ):
        fn.binary_cross_entropy(np.zeros((3, 1)), [0, 1, 2])


@pytest.mark.parametrize(
    ("loss", "good", "bad"),
    [
        ("cross_entropy", [[1.0, 0], [0, 1]], [[1.0, 1], [0, 1]]),
        ("focal", [[1.0, 0], [0, 1]], [[2.0, -1], [0, 1]]),
        ("binary_cross_entropy", [[1.0, 0], [0, 1]], [[1.0, 2], [0, 1]]),
        ("dice", [[1.0, 0], [0, 1]], [[-1.0, 1], [0, 1]]),
    ],
)
def test_recorded_steps_check_the_targets_of_every_batch(loss, good, bad, unchanged):
    x, model = np.ones((2, 3), np.float32), fn.Linear(3, 2)
    good, bad = np.array(good, np.float32), np.array(bad, np.float32)
    trainer = fn.Trainer(model, loss=loss)
    for _ in range(3):
        trainer.step(x, good)
    with unchanged(model), pytest.raises(ValueError, match="expects"):
        trainer.step(x, bad)
    trainer.step(x, good)


def test_recorded_steps_check_counts_of_every_batch(unchanged):
    x, model = np.ones((2, 3), np.float32), fn.Linear(3, 1)
    trainer = fn.Trainer(model, loss="poisson")
    good = np.array([[3], [0]], np.float32)
    for _ in range(3):
        trainer.step(x, good)
    with unchanged(model), pytest.raises(ValueError, match="at least 0, such as counts, got -1"):
        trainer.step(x, -good / 3)
    trainer.step(x, good * 1e9)


def test_nan_targets_are_reported_as_such_in_recorded_steps(unchanged):
    x, model = np.ones((2, 3), np.float32), fn.Linear(3, 1)
    trainer = fn.Trainer(model, loss="binary_cross_entropy")
    for _ in range(3):
        trainer.step(x, np.array([[1], [0]], np.float32))
    with unchanged(model), pytest.raises(fn.NonFiniteError, match="NaN"):
        trainer.step(x, np.array([[np.nan], [1]], np.float32))


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("loss", [fn.CrossEntropy, fn.Focal])
def test_class_weights_of_0_are_named_as_the_cause_of_nan(loss, plan, unchanged):
    x, y = np.ones((12, 3), np.float32), np.arange(12) % 3
    y[4:8] = 2, 1, 1, 2
    model, weighted = fn.Linear(3, 3), loss(weight=[1, 0, 0])
    message = r"the loss is nan at update {}: the weights of all classes in the batch \(1, 2\) are 0"
    with pytest.raises(fn.NonFiniteError, match=message.format(2)):
        fn.fit(model, (x, y), loss=weighted, batch_size=4, shuffle=False, plan=plan)
    trainer = fn.Trainer(model, loss=weighted, plan=plan)
    for _ in range(3):
        trainer.step(x[:4], y[:4])
    with unchanged(model), pytest.raises(fn.NonFiniteError, match=message.format(4)):
        trainer.step(x[4:8], y[4:8])


@pytest.mark.parametrize("weight", [{0: 1.0, 1: 2.0}, "balanced", [[1, 2]], [1, -2]])
def test_class_weights_must_be_a_list(weight):
    with pytest.raises(ValueError, match="must be a list of finite numbers, at least 0, one per class, not"):
        fn.CrossEntropy(weight=weight)
