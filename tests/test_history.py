"""`fn.History`: when each value of a curve was recorded."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

import fastnn as fn

BATCHES = 3  # per epoch of 64 samples


@pytest.fixture
def blobs():
    rng = np.random.default_rng(0)
    return rng.standard_normal((64, 5), np.float32), rng.integers(3, size=64)


def fit(blobs, history=None, model=None, **options):
    fn.manual_seed(0)
    model = fn.Sequential(fn.Linear(5, 3)) if model is None else model
    return fn.fit(model, blobs, batch_size=24, seed=0, history=history, **options)


def test_validation_that_starts_later_keeps_its_epochs(blobs):
    history = fit(blobs, epochs=2)
    fit(blobs, history, epochs=3, validation=blobs)
    fit(blobs, history, epochs=1)
    fit(blobs, history, epochs=1, validation=blobs)
    assert history.epochs == 7
    assert history.epochs_of("loss") == [1, 2, 3, 4, 5, 6, 7]
    assert history.updates_of("loss") == [3, 6, 9, 12, 15, 18, 21]
    assert history.epochs_of("val_loss") == history.epochs_of("val_accuracy") == [3, 4, 5, 7]
    assert history.updates_of("val_loss") == [9, 12, 15, 21]


class StopAt(fn.Callback):
    """Stops the training after this update."""

    def __init__(self, update):
        self.update = update

    def on_update(self, training, loss):
        if training.updates == self.update:
            training.stop()


def test_updates_of_an_unfinished_epoch_count(blobs):
    history = fit(blobs, epochs=5, callbacks=[StopAt(BATCHES + 1)])
    assert (history.epochs, len(history.updates["loss"])) == (1, BATCHES + 1)
    fit(blobs, history, epochs=1)
    assert history.epochs_of("loss") == [1, 2]
    assert history.updates_of("loss") == [BATCHES, 2 * BATCHES + 1]


def test_learning_rates_belong_to_their_updates(blobs):
    """A curve per update that starts late is NaN before; afterwards value n belongs to update n."""
    schedule = fn.schedules.Step(1)
    history = fit(blobs, epochs=1)
    fit(blobs, history, epochs=1, schedule=schedule, optimizer=fn.SGD(0.1))
    fit(blobs, history, epochs=1)
    fit(blobs, history, epochs=1, schedule=schedule, optimizer=fn.SGD(0.2))
    nan = [np.nan] * BATCHES
    np.testing.assert_array_equal(history.updates["lr"], [*nan, *[0.1] * BATCHES, *nan, *[0.2] * BATCHES])
    assert history.epochs_of("lr") == [2, 4]


@pytest.mark.parametrize(
    "restored",
    [
        lambda history: fn.History.from_dict(json.loads(json.dumps(history.as_dict()))),
        lambda history: pickle.loads(pickle.dumps(history)),
        copy.deepcopy,
    ],
    ids=["json", "pickle", "deepcopy"],
)
def test_copies_keep_the_epochs_and_can_be_continued(blobs, restored):
    history = fit(blobs, epochs=2)
    fit(blobs, history, epochs=1, validation=blobs)
    found = restored(history)
    assert type(found) is fn.History
    assert found.as_dict() == history.as_dict()
    fit(blobs, found, epochs=1, validation=blobs)
    assert (found.epochs_of("val_loss"), found.updates_of("val_loss")) == ([3, 4], [9, 12])
    assert history.epochs_of("val_loss") == [3]


def test_a_dictionary_without_moments_is_read(blobs):
    history = fit(blobs, epochs=4, validation=blobs)
    content = history.as_dict()
    old = fn.History.from_dict({name: content[name] for name in ("epochs", "updates", "stopped")})
    assert old.as_dict() == content


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"epochs": [1], "updates": [3]}, "an epoch and an update for each of its 2 values"),
        ({"epochs": [1, 2], "updates": [3]}, "an epoch and an update for each of its 2 values"),
        ({"epochs": [1, 2], "updates": [3, math.inf]}, "an epoch and an update for each of its 2 values"),
        ({"epochs": ["1", "2"], "updates": [3, 6]}, r"recorded\['loss'\]\.epochs must be a list of numbers"),
        ({"epochs": [1, 2]}, r"recorded\['loss'\]\.updates is missing"),
        (3, r"recorded\['loss'\] must be an object"),
    ],
)
def test_moments_that_do_not_fit_are_rejected_and_nothing_changes(blobs, moments, message):
    history = fit(blobs, epochs=2)
    before = history.as_dict()
    wrong = {**before, "epochs": {"loss": [1.0, 2.0]}, "recorded": {"loss": moments}}
    with pytest.raises(ValueError, match=message):
        history.load_dict(wrong)
    assert history.as_dict() == before


class InterruptSecondEpoch(fn.Callback):
    def on_epoch_begin(self, training):
        if training.epoch == 1:
            raise KeyboardInterrupt


def test_a_resumed_training_keeps_the_epochs_of_its_history(blobs, tmp_path):
    """The checkpoint holds the moments of the whole history, including those of earlier trainings."""
    history = fit(blobs, epochs=2)
    options = {"epochs": 3, "validation": blobs, "checkpoint": tmp_path / "checkpoint"}
    with pytest.raises(KeyboardInterrupt):
        fit(blobs, history, callbacks=[InterruptSecondEpoch()], **options)
    resumed = fit(blobs, **options)
    assert resumed.epochs_of("loss") == [1, 2, 3, 4, 5]
    assert resumed.epochs_of("val_loss") == [3, 4, 5]
    assert resumed.updates_of("val_loss") == [9, 12, 15]


def test_values_may_be_recorded_between_epochs():
    history = fn.History()
    for update in range(1, 401):
        history.add_updates({"loss": [1.0]})
        if update % 200 == 0:
            history.record({"val_loss": 1.0, "test_loss": 2.0}, epoch=update / 160)
        if update % 160 == 0:
            history.add_epoch({"loss": 1.0})
    assert history.epochs_of("val_loss") == history.epochs_of("test_loss") == [1.25, 2.5]
    assert history.updates_of("val_loss") == [200, 400]
    assert history.epochs_of("loss") == [1, 2]
    history.record({"final": 1.0})
    assert (history.epochs_of("final"), history.updates_of("final")) == ([2], [400])


def test_lists_changed_by_hand_count_from_the_first_epoch():
    history = fn.History()
    history["loss"] = [3.0, 2.0]
    assert (history.epochs, history.epochs_of("loss")) == (2, [1, 2])
    history.add_epoch({"loss": 1.0, "val_loss": 1.0})
    assert (history.epochs_of("loss"), history.epochs_of("val_loss")) == ([1, 2, 3], [3])
    history["loss"].append(0.5)
    assert history.epochs_of("loss") == [1, 2, 3, 4]
    history.clear()
    history.add_epoch({"loss": 1.0})
    assert history.epochs_of("loss") == [1]
    with pytest.raises(KeyError, match="auc"):
        history.epochs_of("auc")


def test_blocks_are_means_of_updates(blobs):
    history = fit(blobs, epochs=5)
    losses = np.array(history.updates["loss"])
    blocks = history.blocks("loss", 4)
    np.testing.assert_allclose(blocks, [losses[:4].mean(), losses[4:8].mean(), losses[8:12].mean()])
    assert blocks.dtype == np.float64
    np.testing.assert_array_equal(history.blocks("loss", 1), losses)
    assert history.blocks("loss", 16).shape == (0,)
    history.updates["lr"] = [np.nan] * 3 + [0.5]
    np.testing.assert_array_equal(history.blocks("lr", 2), [np.nan, 0.5])


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_invalid_block_sizes_are_rejected(blobs, size):
    with pytest.raises(ValueError, match="size must be an integer of at least 1"):
        fit(blobs).blocks("loss", size)
    with pytest.raises(KeyError, match="no curve 'val_loss' per update, only loss"):
        fit(blobs).blocks("val_loss", 2)


def test_a_saved_history_is_read_and_continued(blobs, tmp_path):
    history = fit(blobs, epochs=3, validation=blobs, validate_every=2)
    history.stopped, history.updates["loss"][0] = "early", math.inf
    assert history.save(tmp_path / "history.json") == tmp_path / "history.json"
    read = fn.History.load(tmp_path / "history.json")
    assert read.as_dict() == history.as_dict()
    fit(blobs, read, epochs=1)
    assert read.epochs_of("loss") == [1, 2, 3, 4]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"epochs": 3}', "[" * 100_000])
def test_other_files_are_no_histories(content, tmp_path):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match=r"other\.json is not a history: "):
        fn.History.load(tmp_path / "other.json")
