"""Labels of any kind: a model learns its classes in its first training, and predicts labels of that kind."""

import copy
import pickle

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastnn as fn
from fastnn.naive import central_differences
from fastnn.weights import RECORD

RNG = np.random.default_rng(0)
NUMBERS = np.arange(60) % 3
X = (RNG.normal(size=(60, 4)) + 2 * np.eye(4)[NUMBERS]).astype(np.float32)
NAMES = np.array(["cat", "dog", "owl"])


class Categorical:
    """A pandas categorical, as far as labels need one."""

    def __init__(self, codes, categories):
        self.codes, self.categories = np.asarray(codes, np.int8), categories
        self.dtype = self

    def __len__(self):
        return len(self.codes)

    def __array__(self, dtype=None, copy=None):
        return np.array([None if code < 0 else self.categories[code] for code in self.codes], object)


LABELS = {
    "text": (NAMES[NUMBERS], NAMES),
    "list of text": (NAMES[NUMBERS].tolist(), NAMES),
    "objects": (NAMES[NUMBERS].astype(object), NAMES),
    "StringDType": (NAMES[NUMBERS].astype(np.dtypes.StringDType()), NAMES),
    "counted from 1": (NUMBERS + 1, [1, 2, 3]),
    "any integers": (np.array([-7, 5, 2**40])[NUMBERS], [-7, 5, 2**40]),
    "bytes": (np.array([10, 20, 30], np.uint8)[NUMBERS], [10, 20, 30]),
    "integer objects": ((NUMBERS + 1).astype(object), [1, 2, 3]),
    "categorical": (Categorical(NUMBERS, ["small", "large", "huge"]), ["small", "large", "huge"]),
    "numbers": (NUMBERS, [0, 1, 2]),
}


def new_model(outputs=3):
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(4, 8), fn.ReLU(), fn.Linear(8, outputs))


def trained_on(y, outputs=3, **options):
    model = new_model(outputs)
    fn.fit(model, (X, y), seed=0, epochs=3, batch_size=8, optimizer=fn.SGD(lr=0.1), **options)
    return model


def weights(model):
    return [param.value.tolist() for param in model.parameters()]


@pytest.mark.parametrize("kind", LABELS)
def test_training_is_the_same_as_on_numbers_and_predictions_are_labels(kind):
    y, classes = LABELS[kind]
    model, plain = trained_on(y), trained_on(NUMBERS)
    assert weights(model) == weights(plain)
    assert model.classes.tolist() == list(classes)
    found = model.predict_classes(X)
    assert found.tolist() == model.classes[plain.predict_classes(X)].tolist()
    assert found.dtype.kind == model.classes.dtype.kind


USES = {
    "evaluate": lambda model, y: fn.evaluate(model, (X, y), metrics=["f1", fn.metrics.recall]),
    "gradients": lambda model, y: fn.gradients(model, (X, y)),
    "numerical gradients": lambda model, y: central_differences(model, (X[:3], y[:3]))["0.weight"].tolist(),
    "step": lambda model, y: [
        step(X[:9], y[:9]) for step in [fn.Trainer(model, seed=0).step] for _ in range(4)
    ],
    "eager step": lambda model, y: fn.Trainer(model, plan=False, seed=0).step(X, y),
    "fit": lambda model, y: fn.fit(model, (X, y), seed=0).updates["loss"],
    "validation": lambda model, y: fn.fit(model, (X, y), validation=(X, y), seed=0)["val_accuracy"],
    "order": lambda model, y: fn.fit(model, (X, y), order="balanced", seed=0).updates["loss"],
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", ["text", "counted from 1", "any integers", "objects"])
def test_every_use_of_a_trained_model_takes_its_labels(kind, use):
    y, _ = LABELS[kind]
    assert USES[use](trained_on(y), y) == USES[use](trained_on(NUMBERS), NUMBERS)


@pytest.mark.parametrize("use", [use for use in USES if use != "numerical gradients"])
def test_unknown_labels_are_named_and_change_nothing(use):
    model, y = trained_on(NAMES[NUMBERS]), np.append(NAMES[NUMBERS[:-1]], "emu")
    y[2] = "emu"
    before = weights(model)
    with pytest.raises(
        ValueError, match=r"no classes of the model: 'emu', first in row 2; .* 'cat', 'dog', 'owl'"
    ):
        USES[use](model, y)
    assert weights(model) == before
    assert model.classes.tolist() == NAMES.tolist()


def test_unknown_labels_of_the_validation_data_are_named_before_the_training():
    model = new_model()
    with pytest.raises(ValueError, match=r"validation data: y has labels that are no classes .*: 'emu'"):
        fn.fit(model, (X, NAMES[NUMBERS]), validation=(X[:2], ["cat", "emu"]))
    assert model.classes is None


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (NAMES[NUMBERS], NUMBERS, r"labels must be text, .*\('cat', 'dog', 'owl'\), not integers such as 0"),
        (NUMBERS, NAMES[NUMBERS], r"labels must be integers, .*\(0, 1, 2\), not text such as 'cat'"),
        (NUMBERS + 1, NUMBERS == 1, r"labels must be integers, .*, not bools such as False"),
        (NAMES[NUMBERS], NUMBERS + 0.5, "labels must be integers, not float64: for real targets use"),
    ],
)
@pytest.mark.parametrize("use", ["evaluate", "step", "fit"])
def test_labels_of_another_kind_are_rejected(first, then, message, use):
    with pytest.raises(TypeError, match=message):
        USES[use](trained_on(first), then)


def test_labels_are_never_shifted_after_a_training_on_numbers():
    model = trained_on(NUMBERS)
    for use in ("fit", "step", "evaluate"):
        with pytest.raises(
            ValueError, match=r"labels must lie in 0\.\.2 .* a label 3: are the labels counted"
        ):
            USES[use](model, NUMBERS + 1)


def test_integers_within_the_outputs_stay_numbers_even_if_some_are_missing():
    model = new_model(outputs=4)
    fn.fit(model, (X, NUMBERS + 1))
    assert model.classes.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.array(["a", "b"])[NUMBERS % 2], ValueError, "y has 2 classes, 'a', 'b', but .* decide between 3"),
        (np.arange(60), ValueError, r"labels must lie in 0\.\.2"),
        (NUMBERS * 2.0, TypeError, "labels must be integers, not float64"),
        (NUMBERS == 1, ValueError, "y has 2 classes, False, True"),
        (["a", None, "b"] * 20, TypeError, "must be all text, but None in row 1 is missing"),
        (["a", np.nan, "b"] * 20, TypeError, "must be all text, but nan in row 1 is missing"),
        (np.array(["a", 1, "b"] * 20, object), TypeError, "must be all text, but 1 in row 1"),
        (NAMES[NUMBERS].astype("S"), TypeError, "labels must be integers, not [|]S3"),
        (Categorical([0, 1, -1] * 20, ["a", "b", "c"]), TypeError, "label in row 2 of y is missing"),
        (Categorical(NUMBERS, [0.5, 1.5, 2.5]), TypeError, "categories of y must be text, integers or bools"),
        (Categorical(NUMBERS, list("abcd")), ValueError, "y has 4 classes.*remove_unused_categories"),
        (np.array([2**63, 1, 2], np.uint64)[NUMBERS], ValueError, "labels must lie in"),
    ],
)
def test_labels_that_cannot_be_classes_are_rejected(y, error, message):
    model = new_model()
    with pytest.raises(error, match=message):
        fn.fit(model, (X, y))
    assert model.classes is None


@pytest.mark.parametrize("use", ["evaluate", "step", "gradients"])
def test_text_labels_of_a_model_without_classes_are_rejected_outside_fit(use):
    with pytest.raises(ValueError, match=r"does not know its classes yet: name them"):
        USES[use](new_model(), NAMES[NUMBERS])


def test_named_classes_serve_steps_and_may_be_forgotten():
    model = new_model()
    model.classes = ["owl", "cat", "dog"]
    assert model.predict_classes(X[:1])[0] in NAMES
    fn.Trainer(model).step(X[:2], ["owl", "cat"])
    model.classes = None
    assert model.predict_classes(X).dtype == np.int64
    fn.fit(model, (X, NUMBERS + 1))
    assert model.classes.tolist() == [1, 2, 3]


def test_classes_named_between_steps_are_followed():
    trainer = fn.Trainer(new_model(), seed=0, optimizer=fn.SGD(lr=0.1))
    for _ in range(3):
        trainer.step(X, NUMBERS)
    trainer.model.classes = [2, 1, 0]
    twin = copy.deepcopy(trainer)
    twin.model.classes = None
    for _ in range(3):
        assert trainer.step(X, NUMBERS) == twin.step(X, 2 - NUMBERS)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("abc", TypeError, "classes must be a list of at least 2 labels"),
        (3, TypeError, "at least 2 labels"),
        (["a"], TypeError, "at least 2 labels"),
        (["a", 1], TypeError, "must be all text, but 1"),
        ([0.5, 1.5], TypeError, "all text, all integers or all bools"),
        (["a", "b", "a"], ValueError, "must differ: 'a' occurs twice"),
    ],
)
def test_invalid_classes_are_rejected(labels, error, message):
    model = trained_on(NAMES[NUMBERS])
    with pytest.raises(error, match=message):
        model.classes = labels
    assert model.classes.tolist() == NAMES.tolist()


def test_the_wrong_number_of_classes_is_an_error():
    model = new_model()
    model.classes = ["a", "b"]
    with pytest.raises(
        ValueError, match=r"decide between 3 classes, but model.classes has 2 labels: 'a', 'b'"
    ):
        model.predict_classes(X)
    with pytest.raises(ValueError, match=r"Set model.classes to 3 labels, or to None"):
        fn.fit(model, (X, NUMBERS))


YES = NUMBERS == 1
BINARY = {
    "bools": (YES, [False, True]),
    "text": (np.where(YES, "yes", "no"), ["no", "yes"]),
    "1 and 2": (1 + YES, [1, 2]),
    "-1 and 1": (np.where(YES, 1, -1), [-1, 1]),
    "0 and 1": (YES.astype(int), [0, 1]),
    "floats": (YES.astype(float), [0, 1]),
}


@pytest.mark.parametrize("kind", BINARY)
def test_a_single_output_decides_between_two_labels(kind):
    y, classes = BINARY[kind]
    model = trained_on(y, outputs=1, loss="binary_cross_entropy")
    plain = trained_on(YES.astype(int), outputs=1, loss="binary_cross_entropy")
    assert weights(model) == weights(plain)
    assert fn.evaluate(model, (X, y)) == fn.evaluate(plain, (X, YES.astype(int)))
    assert model.classes.tolist() == classes
    assert model.predict_classes(X).tolist() == [classes[k] for k in plain.predict_classes(X)]


def test_bools_and_two_outputs_also_if_all_labels_are_true():
    model = trained_on(np.ones(60, bool), outputs=2)
    assert model.classes.tolist() == [False, True]
    assert model.predict_classes(X).all()
    assert fn.evaluate(model, (X, np.ones(60, int)))["accuracy"] == 1


def test_a_regression_learns_no_classes():
    model = trained_on(NUMBERS.astype(float), outputs=1, loss="squared_error")
    assert model.classes is None


def test_several_labels_per_sample_stay_zeros_and_ones():
    model = trained_on(np.eye(3)[NUMBERS], loss="binary_cross_entropy")
    assert model.classes is None
    assert set(np.unique(model.predict_classes(X, multi_label=True))) <= {0, 1}


def test_a_loss_that_converts_its_own_labels_gets_them_as_they_are():
    class CountedFromOne(fn.CrossEntropy):
        def targets(self, target, outputs, dtype):
            return super().targets(np.asarray(target) - 1, outputs, dtype)

    model = trained_on(NUMBERS + 1, loss=CountedFromOne())
    assert weights(model) == weights(trained_on(NUMBERS))
    assert model.classes is None


def test_a_new_output_layer_learns_its_own_classes():
    model = trained_on(NAMES[NUMBERS])
    model = fn.Sequential(*list(model)[:2], fn.Linear(8, 2))
    assert model.classes is None
    fn.fit(model, (X, np.where(YES, "yes", "no")))
    assert model.classes.tolist() == ["no", "yes"]


def test_a_failed_first_step_is_not_remembered():
    model = new_model()
    with pytest.raises(fn.NonFiniteError):
        fn.fit(model, (np.full((60, 4), 1e30), NAMES[NUMBERS]), optimizer=fn.SGD(lr=1e30))
    assert model.classes is None or fn.evaluate(model, (X, NAMES[NUMBERS]))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("kind", ["text", "counted from 1", "numbers"])
def test_copies_keep_the_classes(copied, kind):
    model = trained_on(LABELS[kind][0])
    assert copied(model).predict_classes(X).tolist() == model.predict_classes(X).tolist()
    assert USES["step"](copied(model), LABELS[kind][0]) == USES["step"](model, LABELS[kind][0])


@pytest.mark.parametrize("kind", LABELS)
def test_weight_files_keep_the_classes(kind, tmp_path):
    model, loaded = trained_on(LABELS[kind][0]), new_model()
    fn.save(model, tmp_path / "model.safetensors")
    fn.load(loaded, tmp_path / "model.safetensors")
    assert loaded.classes.tolist() == model.classes.tolist()
    assert loaded.predict_classes(X).tolist() == model.predict_classes(X).tolist()


@pytest.mark.parametrize(
    "record", ["[", "3", '["a"]', '["a", "a"]', '["a", 1]', "[0.5, 1.5]", "{}", "[1e400, 2]"]
)
def test_damaged_classes_in_a_weight_file_are_an_error(record, tmp_path):
    path, model = tmp_path / "model.safetensors", trained_on(NAMES[NUMBERS])
    fn.save(model, path)
    save_file(load_file(path), path, {RECORD: f'{{"classes": {record}}}'})
    with pytest.raises(fn.CheckpointError, match="is damaged"):
        fn.load(model, path)
    assert model.classes.tolist() == NAMES.tolist()


def test_a_resumed_training_has_the_same_classes_and_rejects_others(tmp_path):
    def fit(y, epochs, checkpoint):
        model = new_model()
        fn.fit(model, (X, y), epochs=epochs, seed=0, checkpoint=checkpoint)
        return model

    fit(NAMES[NUMBERS], 2, tmp_path / "half")
    resumed, whole = fit(NAMES[NUMBERS], 4, tmp_path / "half"), fit(NAMES[NUMBERS], 4, tmp_path / "whole")
    assert weights(resumed) == weights(whole)
    assert resumed.classes.tolist() == NAMES.tolist()
    with pytest.raises(fn.CheckpointError, match="classes"):
        fit(np.array(["a", "b", "c"])[NUMBERS], 6, tmp_path / "half")


def test_pandas_labels():
    pd = pytest.importorskip("pandas")
    for y in (
        pd.Series(NAMES[NUMBERS]),
        pd.Series(NAMES[NUMBERS], dtype="string"),
        pd.array(NUMBERS + 1, "Int64"),
    ):
        assert len(trained_on(y).classes) == 3
    for y in (pd.Categorical(NAMES[NUMBERS]), pd.Series(NAMES[NUMBERS]).astype("category")):
        assert trained_on(y).classes.tolist() == NAMES.tolist()
    ordered = pd.Categorical(NAMES[NUMBERS], ["owl", "cat", "dog"])
    assert trained_on(ordered).classes.tolist() == ["owl", "cat", "dog"]
