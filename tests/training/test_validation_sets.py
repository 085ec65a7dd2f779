"""Several validation sets, and validation within epochs: `fit(validation={...}, validate_every=...)`."""

import csv
import signal

import numpy as np
import pytest

import fastnn as fn

COUNT, BATCH, EPOCHS = 60, 10, 3  # 6 updates per epoch


def make(count, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 5), np.float32), rng.integers(0, 3, count)


DATA, VALID, TEST = make(COUNT, 0), make(31, 1), make(17, 2)
SETS = {"valid": VALID, "test": TEST}


def net():
    fn.manual_seed(0)
    return fn.Sequential(fn.Linear(5, 8), fn.ReLU(), fn.Dropout(0.2), fn.Linear(8, 3))


def fit(model=None, data=DATA, **options):
    options = {"validation": SETS, "epochs": EPOCHS, "seed": 0, "progress": False, "watch": False} | options
    if data is DATA:
        options.setdefault("batch_size", BATCH)
    return fn.fit(net() if model is None else model, data, **options)


def weights(model):
    return [p.value.tobytes() for p in model.parameters()]


def batches():
    for start in range(0, COUNT, BATCH):
        yield DATA[0][start : start + BATCH], DATA[1][start : start + BATCH]


def test_each_set_has_curves_of_its_own():
    model = net()
    history = fit(model, metrics=["f1"])
    names = ["loss", "accuracy", "f1"]
    assert [*history] == ["loss", "accuracy", *(f"{name}_{each}" for name in SETS for each in names)]
    for name, data in SETS.items():
        for each, value in fn.evaluate(model, data, metrics=["f1"]).items():
            assert history[f"{name}_{each}"][-1] == value
            assert history.epochs_of(f"{name}_{each}") == [1, 2, 3]


def test_a_single_set_is_named_val():
    alone, named = fit(validation=VALID), fit(validation={"val": VALID})
    assert alone.as_dict() == named.as_dict()
    assert [*alone] == ["loss", "accuracy", "val_loss", "val_accuracy"]


def test_one_set_may_be_a_fraction_of_the_data():
    history, alone = fit(validation={"test": TEST, "valid": 0.2}), fit(validation=0.2)
    assert history["valid_loss"] == alone["val_loss"]
    assert history["loss"] == alone["loss"]


@pytest.mark.parametrize("data", [DATA, batches], ids=["arrays", "stream"])
def test_validation_every_4_updates_carries_updates_and_epochs(data):
    history = fit(data=data, validate_every=4)
    updates = [4, 8, 12, 16, 18]  # the end of epoch 2 is one of them; the last update always is
    for name in ("valid_loss", "valid_accuracy", "test_loss", "test_accuracy"):
        assert history.updates_of(name) == updates
        np.testing.assert_allclose(history.epochs_of(name), np.array(updates) / 6, rtol=1e-12)
    assert history.epochs_of("loss") == [1, 2, 3]
    assert history.updates_of("running_accuracy") == updates[:-1]
    assert history.epochs == EPOCHS


def test_stream_without_a_length_may_end_with_a_validation():
    history = fit(data=batches, validate_every=3)
    assert history.updates_of("valid_loss") == [3, 6, 9, 12, 15, 18]
    assert history.epochs_of("valid_loss") == [0.5, 1, 1.5, 2, 2.5, 3]
    assert history.epochs_of("loss") == [1, 2, 3]


@pytest.mark.parametrize("plan", [True, False])
def test_validation_does_not_change_the_training(plan):
    class EachUpdate(fn.Callback):
        def on_update(self, training, loss):
            pass

    model = net()
    losses = fit(model, validation=None, plan=plan).updates["loss"]
    curves = []
    for callbacks in ([], [EachUpdate()]):
        other = net()
        history = fit(other, validate_every=4, plan=plan, callbacks=callbacks)
        assert history.updates["loss"] == losses
        assert weights(other) == weights(model)
        curves.append(history.as_dict())
    assert curves[0] == curves[1]


def test_results_are_those_of_the_weights_at_that_update():
    class Compare(fn.Callback):
        compared = 0

        def on_validation(self, training, values):
            expected = fn.evaluate(training.model, TEST)
            assert values["test_loss"] == training.history["test_loss"][-1] == expected["loss"]
            self.compared += 1

        def on_epoch_end(self, training, values):
            assert ("test_loss" in values) == (training.updates == 12)

    compare = Compare()
    fit(validate_every=4, callbacks=[compare])
    assert compare.compared == 4


@pytest.mark.parametrize("drop_last", [False, True])
def test_running_accuracy_is_that_of_the_updates_since_the_last_validation(drop_last):
    x, y = make(COUNT + 5, 3)
    y[::7] = -100  # ignored by the loss
    model = fn.Sequential(fn.Linear(5, 3))
    loss = fn.CrossEntropy(ignore_index=-100)
    options = {"loss": loss, "order": "fixed", "optimizer": fn.SGD(1e-30), "drop_last": drop_last}
    history = fit(model, (x, y), batch_size=BATCH, validate_every=4, epochs=2, **options)
    right = model.predict(x).argmax(axis=1) == y
    per_epoch = 6 if drop_last else 7
    for value, update in zip(
        history["running_accuracy"], history.updates_of("running_accuracy"), strict=True
    ):
        stop = (update - 1) % per_epoch + 1
        rows = slice(max(0, stop - 4) * BATCH, stop * BATCH)
        assert value == right[rows].sum() / (y[rows] >= 0).sum()


class Interrupt(fn.Callback):
    """Sends Ctrl-C after an update, or after the first validation that follows it."""

    def __init__(self, update, event):
        self.update, self.event = update, event

    def on_update(self, training, loss):
        if training.updates == self.update and self.event == "update":
            signal.raise_signal(signal.SIGINT)

    def on_validation(self, training, values):
        if training.updates >= self.update and self.event == "validation":
            signal.raise_signal(signal.SIGINT)


def monitored():
    """Options whose state depends on every validation."""
    return {
        "callbacks": [fn.EarlyStopping("test_loss", patience=3)],
        "schedule": fn.schedules.Plateau("valid_accuracy", gamma=0.5, patience=0),
        "optimizer": fn.SGD(0.3, momentum=0.9),
    }


@pytest.mark.parametrize("event", ["update", "validation"])
@pytest.mark.parametrize("data", [DATA, batches], ids=["arrays", "stream"])
def test_a_resumed_training_has_the_same_validations(data, event, tmp_path):
    model = net()
    history = fit(model, data, validate_every=4, **monitored())
    for update in (2, 4, 5, 8):
        options, path = monitored(), tmp_path / str(update)
        options["callbacks"].append(Interrupt(update, event))
        with pytest.raises(KeyboardInterrupt):
            fit(data=data, validate_every=4, **options, checkpoint=path)
        resumed = net()
        found = fit(resumed, data, validate_every=4, **monitored(), checkpoint=path, resume=True)
        assert found.as_dict() == history.as_dict()
        assert weights(resumed) == weights(model)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_validation_that_was_interrupted_is_repeated(at, tmp_path):
    calls = []

    def metric(outputs, targets):
        calls.append(1)
        if len(calls) == 2 * at + 2:  # `fit` tries each metric on each set first
            raise KeyboardInterrupt
        return float(outputs.sum())

    model = net()
    history = fit(model, validate_every=4, metrics={"sum": lambda outputs, targets: float(outputs.sum())})
    path, resumed = tmp_path / "checkpoint", net()
    with pytest.raises(KeyboardInterrupt):
        fit(net(), validate_every=4, metrics={"sum": metric}, checkpoint=path)
    found = fit(resumed, validate_every=4, metrics={"sum": metric}, checkpoint=path, resume=True)
    assert found.as_dict() == history.as_dict()
    assert weights(resumed) == weights(model)


def test_more_epochs_from_a_checkpoint_equal_one_training(tmp_path):
    """The validation after the last update of the shorter training is not one of the longer training."""
    options = {"validate_every": 5, "optimizer": fn.SGD(0.1)}
    callbacks = {"callbacks": [fn.EarlyStopping("test_loss", patience=4)]}
    whole = fit(epochs=3, **options, **callbacks)
    path = tmp_path / "checkpoint"
    first = fit(epochs=1, **options, **callbacks, checkpoint=path)
    assert first.updates_of("test_loss") == [5, 6]
    options["optimizer"] = fn.SGD(0.1)
    assert fit(epochs=3, **options, **callbacks, checkpoint=path).as_dict() == whole.as_dict()


def test_checkpoint_of_another_interval_is_rejected(tmp_path):
    fit(validate_every=4, checkpoint=tmp_path / "a")
    with pytest.raises(fn.CheckpointError, match="validate_every was 4, is 5"):
        fit(validate_every=5, checkpoint=tmp_path / "a")
    with pytest.raises(fn.CheckpointError, match=r"validation\.test\.x was .*, is missing"):
        fit(validate_every=4, checkpoint=tmp_path / "a", validation={"valid": VALID})


def test_early_stopping_counts_validations():
    class Falling:
        """A metric that is best at its third validation."""

        values = iter([0.0, 3, 2, 1, 2, 3, 4, 5, 6])  # the first one is a trial

        def __call__(self, outputs, targets):
            return next(self.values)

    stopping = fn.EarlyStopping("test_score", mode="min", patience=2)
    history = fit(
        validation={"test": TEST}, validate_every=2, metrics={"score": Falling()}, callbacks=[stopping]
    )
    assert history["test_score"] == [3, 2, 1, 2, 3]
    assert history.stopped.startswith("test_score has not improved for 2 validations; its best value is 1")
    assert len(history.updates["loss"]) == 10


def test_validation_added_later_and_a_continued_history_keep_their_updates():
    model = net()
    history = fit(model, validation=None)
    fit(model, validate_every=4, epochs=1, history=history)
    fit(model, epochs=1, history=history)
    assert history.updates_of("test_loss") == [18 + 4, 18 + 6, 18 + 12]
    assert history.epochs_of("test_loss") == [3 + 4 / 6, 4, 5]
    assert history.epochs_of("loss") == [1, 2, 3, 4, 5]


def test_full_batch_training_validates_between_epochs():
    history = fit(batch_size=COUNT, epochs=25, validate_every=10)
    assert history.updates_of("test_loss") == history.epochs_of("test_loss") == [10, 20, 25]
    assert history["running_accuracy"] == [history["accuracy"][9], history["accuracy"][19]]


def test_averaged_weights_are_validated_within_epochs():
    model, ema = net(), fn.EMA(0.5)
    history = fit(model, validate_every=4, epochs=1, ema=ema)
    assert history["test_loss"][-1] != fn.evaluate(model, TEST)["loss"]
    ema.copy_to(model)
    assert history["test_loss"][-1] == fn.evaluate(model, TEST)["loss"]


def test_loggers_have_the_last_validation_of_each_epoch(tmp_path):
    history = fit(validate_every=4, callbacks=fn.CSVLogger(tmp_path / "log.csv"))
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert [float(row["test_loss"]) for row in rows] == [history["test_loss"][i] for i in (0, 2, 3)]


def test_progress_shows_every_set(capsys):
    fit(validate_every=4, epochs=1, progress=True)
    line = capsys.readouterr().err
    assert "valid_loss" in line
    assert "test_accuracy" in line


@pytest.mark.parametrize("data", [DATA, batches], ids=["arrays", "stream"])
@pytest.mark.parametrize("weight", [None, [1.0, 5.0, 0.5]], ids=["plain", "class weights"])
def test_a_summed_loss_has_its_mean(data, weight):
    loss = fn.CrossEntropy(reduction="sum", weight=weight)
    stopping, model = fn.EarlyStopping("test_loss_mean", restore_best=False), net()
    options = {"optimizer": fn.SGD(1e-30), "loss": loss, "callbacks": stopping}
    history = fit(model, data, **options)
    mean = fn.CrossEntropy(weight=weight)
    for name, samples in {"test_": TEST, "valid_": VALID}.items():
        expected = fn.evaluate(model, samples, loss=mean)["loss"]
        assert history[f"{name}loss_mean"][-1] == pytest.approx(expected, rel=1e-6)
        assert history[f"{name}loss"][-1] == fn.evaluate(model, samples, loss=loss)["loss"]
    divisor = COUNT if weight is None else np.array(weight)[DATA[1]].sum()
    np.testing.assert_allclose(history["loss_mean"], np.array(history["loss"]) / divisor, rtol=1e-12)
    assert "loss_mean" not in fit()


class ReadsEveryEpoch(fn.Callback):
    monitor = "test_loss"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"validation": {}}, ValueError, "an empty dict"),
        ({"validation": {"": TEST}}, ValueError, "must have a name"),
        ({"validation": {1: TEST}}, TypeError, "must be text, such as 'test', not 1"),
        ({"validation": {"a": 0.1, "b": 0.2}}, ValueError, "'a', 'b' are all fractions"),
        ({"validation": {"test": (TEST[0][:, :4], TEST[1])}}, ValueError, "validation data 'test': "),
        (
            {"validation": {"a": TEST, "a_b": TEST}, "metrics": {"b_loss": lambda y, t: 0.0}},
            ValueError,
            "two results would be named 'a_b_loss'",
        ),
        ({"validate_every": 0}, ValueError, "validate_every must be an integer of at least 1, not 0"),
        ({"validate_every": 2.5}, ValueError, "must be an integer of at least 1, not 2.5"),
        ({"validate_every": "update"}, ValueError, "a number of updates, or \"epoch\", not 'update'"),
        ({"validate_every": 5, "validation": None}, ValueError, "needs data to validate on"),
        (
            {"callbacks": fn.EarlyStopping("train_loss")},
            ValueError,
            "has only loss, accuracy, valid_loss, valid_accuracy, test_loss, test_accuracy",
        ),
        ({"validate_every": 4, "callbacks": ReadsEveryEpoch()}, ValueError, "override on_validation"),
        (
            {"validate_every": 4, "validation": {"test": iter([TEST])}},
            ValueError,
            "the validation data 'test': .* can be read only once, but each validation reads it",
        ),
    ],
)
def test_invalid_validation_is_rejected_before_anything_changes(options, error, message):
    model = net()
    before = weights(model)
    with pytest.raises(error, match=message):
        fit(model, **options)
    assert weights(model) == before
