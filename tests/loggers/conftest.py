"""Trainings that log, and a disk that is full."""

import errno

import pytest

import fastnn as fn
from fastnn.loggers import epoch_files, tensorboard


@pytest.fixture
def train(blobs, make_model):
    """A function that trains a small net for some epochs with callbacks."""

    def run(callbacks, epochs=3, **options):
        options = {"optimizer": fn.SGD(lr=0.1), "batch_size": 16, "seed": 0, "progress": False, **options}
        return fn.fit(make_model(), blobs, callbacks=callbacks, epochs=epochs, **options)

    return run


@pytest.fixture
def full_disk(monkeypatch):
    """A list; while it holds something, log files cannot be written."""
    is_full = []

    def refusing(function):
        def write(path, content):
            if is_full:
                raise OSError(errno.ENOSPC, "No space left on device")
            function(path, content)

        return write

    for module, name in (
        *((epoch_files, "append_whole"), (epoch_files, "write_atomic")),
        (tensorboard, "append_whole"),
    ):
        monkeypatch.setattr(module, name, refusing(getattr(module, name)))
    return is_full


class Stop(fn.Callback):
    """Ends the training like a kill: by an exception at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, training, values):
        if training.epoch + 1 == self.epoch:
            raise RuntimeError("killed")


@pytest.fixture
def stop():
    return Stop
