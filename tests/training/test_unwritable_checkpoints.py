"""A disk that fails during a training costs a checkpoint, not the training."""

import errno
import os
import signal

import numpy as np
import pytest

import fastnn as fn

CODES = [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint"


@pytest.fixture
def disk(monkeypatch):
    """A disk whose calls `fsync` fail with the error `code`, where that is not None."""

    class Disk:
        code, tries = None, 0

    synchronize = os.fsync

    def fsync(file):
        if Disk.code is not None:
            Disk.tries += 1
            raise OSError(Disk.code, os.strerror(Disk.code))
        synchronize(file)

    monkeypatch.setattr(os, "fsync", fsync)
    return Disk


@pytest.fixture
def train(make_model, blobs, path):
    """A function: train 3 epochs of 4 updates, with a checkpoint after each; returns the weights."""

    def run(*callbacks, seconds=0, **options):
        model = make_model(rate=0.2)
        checkpoint = fn.Checkpoint(path, seconds=seconds) if callbacks else None
        settings = {
            "batch_size": 16,
            "epochs": 3,
            "seed": 0,
            "callbacks": callbacks,
            "checkpoint": checkpoint,
        }
        fn.fit(model, blobs, optimizer=fn.Adam(lr=0.01), **settings | options)
        return [param.value for param in model.parameters()]

    return run


class At(fn.Callback):
    """Calls a function after some update."""

    def __init__(self, update, function):
        self.update, self.function = update, function

    def on_update(self, training, loss):
        if training.updates == self.update:
            self.function()


def break_from(disk, update, code=errno.ENOSPC):
    return At(update, lambda: setattr(disk, "code", code))


@pytest.mark.parametrize("code", CODES)
def test_the_training_goes_on_and_the_last_checkpoint_stays(train, path, disk, code):
    whole = train()
    with pytest.warns(UserWarning, match="cannot write the checkpoint") as warned:
        weights = train(break_from(disk, 6, code))
    first, last = (str(warning.message) for warning in warned)
    state = "it still holds the state after update 5. The model in memory is not affected"
    assert first == f"cannot write the checkpoint {path} after update 6: {os.strerror(code)}; {state}"
    assert f"{path} after update 12: {os.strerror(code)}; {state}" in last
    assert disk.tries == 10  # after updates 6 to 12, two epochs, and at the end
    np.testing.assert_equal(weights, whole)
    assert os.listdir(path.parent) == [path.name]
    disk.code = None
    np.testing.assert_equal(train(At(0, None), resume=True), whole)


def test_a_disk_that_recovers_leaves_the_last_state(train, path, disk):
    whole = train()
    mend = At(8, lambda: setattr(disk, "code", None))
    with pytest.warns(UserWarning, match="after update 6: No space left on device; it still") as warned:
        weights = train(break_from(disk, 6), mend)
    assert len(warned) == 1
    np.testing.assert_equal(weights, whole)
    np.testing.assert_equal(train(At(0, None), resume=True), whole)


def test_a_failed_checkpoint_is_tried_again_after_its_seconds_only(train, disk):
    with pytest.warns(UserWarning, match="after update 12: No space left on device; there is no checkpoint"):
        train(break_from(disk, 1), seconds=60)
    assert disk.tries == 1


@pytest.mark.parametrize("code", CODES)
def test_a_checkpoint_that_cannot_be_written_at_the_start_is_an_error(train, path, disk, code):
    updates = []
    disk.code = code
    with pytest.raises(OSError, match=f"{os.strerror(code)}: '{path}'"):
        train(At(1, lambda: updates.append(1)))
    assert (updates, os.listdir(path.parent)) == ([], [])


def test_a_disk_that_is_too_small_is_noticed_at_the_start(train, path, full_disk):
    with full_disk(1000), pytest.raises(OSError, match=f"File too large: '{path}'"):
        train(At(1, lambda: pytest.fail("trained")))
    assert os.listdir(path.parent) == []


def test_ctrl_c_on_a_full_disk_is_ctrl_c(train, path, disk):
    with (
        pytest.warns(UserWarning, match="after update 6: No space left on device; it still holds .* 5"),
        pytest.raises(KeyboardInterrupt),
    ):
        train(break_from(disk, 6), At(6, lambda: signal.raise_signal(signal.SIGINT)))
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_vanishes_is_reported(train, path):
    with pytest.warns(UserWarning, match="there is no such folder"):
        train(At(6, lambda: (path.unlink(), path.parent.rmdir())))
