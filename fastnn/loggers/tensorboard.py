"""`TensorBoard`: writes event files that TensorBoard shows.

tensorboardX makes the records. They are written here, once per epoch: its own writer has a thread, in which a
full disk is an error that nobody sees, until its queue is full and the training waits for ever.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from fastnn._validation import Array, positive_int
from fastnn.files import user_path
from fastnn.loggers.appending import Complaints, append_whole
from fastnn.loggers.model_graph import graph_of
from fastnn.param import Param
from fastnn.training.callbacks import Callback, Training
from fastnn.training.watch import gradients_on, spread
from fastnn.viz._drawing import columns_for, tiled

BINS = 64
GRADIENT_SAMPLES = 256
MOST_FILTERS = 64
SMALLEST_SIDE = 4  # pixels, of the images of a dense layer's units


class TensorBoard(Callback):
    """Writes an event file that TensorBoard shows: `tensorboard --logdir folder`.

    After every epoch it writes the values of the history and the learning rate; after every `every` epochs
    also histograms of all weights and of their gradients (for 256 training samples), and images of the
    filters of convolutions with 1 or 3 channels, and of the units of a first dense layer whose inputs form a
    square. The graph shows the layers with the shapes of their outputs, as does the text "model". The step of
    a value is the number of its epoch, from 1.

    Single updates cost nothing. A new training in the same folder hides the one before; one that resumes from
    a checkpoint continues it: TensorBoard drops the epochs that are repeated. If the disk is full, a warning
    says so, and the training goes on.

    >>> fn.fit(model, (x, y), callbacks=fn.TensorBoard("runs/first"))

    Args:
        folder: The folder of the run, created if it is missing. Each training has a file of its own there.
        every: Write histograms and images after so many epochs.
        histograms: Whether to write histograms.
        images: Whether to write images.

    Raises:
        ValueError: If `every` is below 1.
        ImportError: If tensorboardX, or Pillow for images, is not installed: the extra `tensorboard`.
    """

    in_first_process_only = True

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        every: int = 1,
        histograms: bool = True,
        images: bool = True,
    ) -> None:
        try:
            for name in ["tensorboardX"] + ["PIL"] * images:
                import_module(name)
        except ImportError as error:
            raise ImportError(
                f"{error.name} is not installed: pip install tensorboardX pillow (the extra 'tensorboard')"
            ) from error
        self._folder = user_path(os.fspath(folder))
        self._every = positive_int(every, "every")
        self._histograms, self._images = histograms, images

    def on_train_begin(self, training: Training) -> None:
        from tensorboardX import summary
        from tensorboardX.proto import event_pb2

        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = _new_file(self._folder)
        self._complaints = Complaints(self._file)
        self._validated: dict[str, float] = {}  # within the epoch
        # TensorBoard drops what older files of the folder have from this step on.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        step = training.epoch + 1 if training.updates else 0
        graph = graph_of(training.model, training.samples.x.shape[1:])
        layers = "\n".join(f"    {layer!r}" for layer in training.model._stages())
        self._waiting = b"".join(
            (
                _record(file_version="brain.Event:2"),
                _record(step, session_log=start),
                _record(step, graph_def=graph.SerializeToString()),
                _record(step, summary=summary.text("model", layers)),
            )
        )
        append_whole(self._file, self._waiting)  # raises, before the training
        self._waiting = b""

    def on_validation(self, training: Training, values: Mapping[str, float]) -> None:
        self._validated = dict(values)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        from tensorboardX import summary

        step = training.epoch + 1
        rates = training.history.updates.get("lr")
        scalars = {**self._validated, **values, "lr": rates[-1] if rates else training.optimizer.lr}
        self._validated = {}
        made = [summary.scalar(name, float(value)) for name, value in scalars.items()]
        if step % self._every == 0:
            made += [*self._made_histograms(training), *self._made_images(training)]
        # What could not be written waits for the next epoch.
        self._waiting += b"".join(_record(step, summary=each) for each in made)
        try:
            append_whole(self._file, self._waiting)
            self._waiting = b""
        except OSError as error:
            self._complaints.tell(error)

    def _made_histograms(self, training: Training) -> Iterator[Any]:
        from tensorboardX import summary

        if not self._histograms:
            return
        weights = {f"weights/{name}": param.value for name, param in training.model.named_parameters()}
        with gradients_on(training, spread(training.samples, GRADIENT_SAMPLES)) as gradients:
            named = weights | {f"gradients/{name}": gradient for name, gradient in gradients.items()}
            for name, array in named.items():
                finite = array[np.isfinite(array)]
                if finite.size:
                    yield summary.histogram(name, finite, BINS)

    def _made_images(self, training: Training) -> Iterator[Any]:
        from tensorboardX import summary

        if not self._images:
            return
        for place, (name, param) in enumerate(training.model.named_parameters()):
            images = _images_of(param, is_first=place == 0)
            if images is not None:
                yield summary.image(f"filters/{name}", images, dataformats="HWC")

    def __repr__(self) -> str:
        return f"TensorBoard({os.fspath(self._folder)!r})"


def _new_file(folder: Path) -> Path:
    """A name that TensorBoard takes for an event file; names sort by time."""
    return folder / f"events.out.tfevents.{time.time_ns():020d}.{socket.gethostname()}.{os.getpid()}"


def _record(step: int = 0, **content: Any) -> bytes:
    """An event in the format of TFRecord: length, its checksum, content, its checksum."""
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import masked_crc32c

    event = event_pb2.Event(wall_time=time.time(), step=step, **content).SerializeToString()
    length = struct.pack("<Q", len(event))
    checks = [struct.pack("<I", masked_crc32c(each)) for each in (length, event)]
    return b"".join((length, checks[0], event, checks[1]))


def _images_of(param: Param, *, is_first: bool) -> Array | None:
    """The filters or units of a layer side by side, uint8 (height, width, channels); None without images.

    All share one scale: black is the smallest weight, white the largest.
    """
    weights = param.value
    if weights.ndim == 4 and weights.shape[2] in (1, 3):
        images = weights.transpose(3, 0, 1, 2)
    else:
        side = round(weights.shape[0] ** 0.5)
        if not is_first or weights.ndim != 2 or side * side != weights.shape[0] or side < SMALLEST_SIDE:
            return None
        images = weights.T.reshape(-1, side, side, 1)
    images = images[:MOST_FILTERS].astype(np.float64)
    if not np.isfinite(images).all():
        return None
    low, high = images.min(), images.max()
    shades = (images - low) / (high - low if high > low else 1) * 255
    columns = columns_for(len(images))
    rows = -(-len(images) // columns)
    planes = [tiled(shades[..., plane], rows, columns, 1, 1) for plane in range(shades.shape[3])]
    picture: Array = np.nan_to_num(np.stack(planes, axis=-1)).astype(np.uint8)
    return picture
