"""Show a running training on a page in the browser: the callback `fn.LivePage`."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastnn._validation import Array, warn
from fastnn.config import get_num_threads
from fastnn.history import History
from fastnn.measure import probe
from fastnn.measure.profile import flop_of
from fastnn.metrics import confusion, has_classes
from fastnn.training.callbacks import Callback, Training

if TYPE_CHECKING:
    from fastnn.board.server import Events, Reply, Routes

INTERVAL = 0.5  # seconds between two messages to a page
POINTS = 800  # of the loss curve: each is the mean of as many updates as needed
MOST_FILTERS, MOST_CLASSES, MOST_ROWS = 64, 60, 1000
# The part of the training time that pictures of the weights and the confusion matrix may take.
BUDGET = 0.004
PATIENCE = 2.0  # seconds that `close` waits for pages to receive the last message


class LivePage(Callback):
    """Serves a page that draws the training while it runs, with a button that stops it.

    The page shows the loss of the updates, the curves of the epochs, the learning rate, the throughput and
    its percentage of the machine's peak, the weights of the first layer, and the confusion matrix of the
    validation set (without one, of the first training samples). The button ends the training after the
    update; `history.stopped` says so, and everything is saved as usual.

    The page is at `url`, on this computer only, and the address holds a random token. It is served until
    `close`, or until the program ends, and shows the latest training. Reading a training takes less than 1 %
    of its time.

    Args:
        port: Port to listen on; 0 takes a free one.
        show_url: Whether to print the address when a training begins, on the error stream.

    Raises ValueError for a port outside 0 to 65535, OSError if it is in use.

    >>> page = fn.LivePage()
    >>> fn.fit(model, (x, y), epochs=10, callbacks=page)
    """

    in_first_process_only = True
    show_url: bool

    def __init__(self, port: int = 0, *, show_url: bool = True) -> None:
        from fastnn.board.server import PageServer  # which imports http.server: 10 ms

        self.show_url = show_url
        self._view = _View()
        self._server = PageServer(self._view.routes(), port)

    @property
    def url(self) -> str:
        """The address of the page."""
        return self._server.url

    def on_train_begin(self, training: Training) -> None:
        self._view.begin(training)
        if self.show_url and sys.stderr is not None:
            with suppress(OSError, ValueError):  # a closed stream must not end the training
                print(f"live page: {self.url}", file=sys.stderr, flush=True)

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        self._view.look_if_cheap(training)

    def on_train_end(self, training: Training) -> None:
        self._view.end(training, training.reason or "finished")

    def on_exception(self, training: Training, error: BaseException) -> None:
        self._view.end(training, str(error) or type(error).__name__)

    def close(self) -> None:
        """Send the last state to open pages, and stop the server."""
        self._view.close()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclass
class _Cursor:
    """How much of the training a page has received."""

    training: int = -1
    points: int = 0
    size: int = 0
    curves: dict[str, int] = field(default_factory=dict)
    pictures: int = 0
    ended: bool = False
    measured: tuple[float, int] = (0.0, 0)
    rate: float = 0.0

    def begin(self, training: int) -> None:
        """Start afresh, with nothing of this training received."""
        vars(self).update(vars(_Cursor(training)))


class _View:
    """What pages show. The threads of the server read it while the training goes on.

    They read Python numbers and lists that the training only appends to; everything taken from arrays is
    copied by the training's own thread, in `look`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._training: Training | None = None
        self._number = 0  # of the training
        self._reason: str | None = None
        self._started = self._ended = 0.0
        self._pictures: dict[str, Any] = {}
        self._looks, self._spent = 0, 0.0
        self._peak = self._flop = 0.0
        self._pages = 0
        self._closing = False

    def routes(self) -> Routes:
        """Return the function that answers the requests of a page."""
        from fastnn.board.server import Reply, static

        def answer(method: str, path: str) -> Reply | Events | None:
            if method == "POST":
                if path != "stop":
                    return None
                self._stop()
                return Reply(b"{}", "json")
            if path == "events":
                return self._events()
            return static(path or "live.html")

        return answer

    def begin(self, training: Training) -> None:
        with self._changed:
            self._training, self._reason = training, None
            self._number += 1
            self._started = time.perf_counter()
            self._pictures, self._looks, self._spent, self._flop = {}, 0, 0.0, 0.0
            self._changed.notify_all()
        if not self._peak:
            self._peak = probe.fma_gflops(get_num_threads(), repeats=3) * 1e9

    def end(self, training: Training, reason: str) -> None:
        with suppress(Exception):  # a picture of a broken model must not hide the error that broke it
            self.look(training)
        with self._changed:
            self._ended, self._reason = time.perf_counter(), reason
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._pages == 0, PATIENCE)

    def look_if_cheap(self, training: Training) -> None:
        """Take new pictures if somebody is watching and they stay within the budget."""
        allowed = BUDGET * (time.perf_counter() - self._started)
        expected = self._spent / self._looks if self._looks else 0.0
        if self._pages and (self._spent + expected < allowed):
            try:
                self.look(training)
            except Exception as error:  # of a layer of the user's, perhaps: the training must go on
                self._spent = math.inf
                warn(f"the live page has no pictures of this training: {type(error).__name__}: {error}")

    def look(self, training: Training) -> None:
        """Copy the weights of the first layer and count the confusion matrix."""
        started = time.perf_counter()
        pictures = {"filters": _filters(training), "confusion": _confusion(training)}
        plan = training.trainer.last_plan
        with self._changed:
            # Unknown (0) if an update has several plans, one for each size of its pieces.
            self._flop = flop_of(plan.plan) if plan is not None and plan.makes_update else 0.0
            self._pictures, self._looks = pictures, self._looks + 1
            self._spent += time.perf_counter() - started

    def _stop(self) -> None:
        training = self._training
        if training is not None and self._reason is None:
            training.stop("stopped on the live page")

    def _events(self) -> Iterator[dict[str, Any]]:
        """Yield what is new every INTERVAL, until the end: first everything, then the differences."""
        cursor = _Cursor()
        with self._changed:
            self._pages += 1
        try:
            while True:
                is_last = self._closing  # asked before the news, which then hold the last state
                yield self._news(cursor)
                if is_last:
                    return
                with self._changed:
                    if not self._closing:
                        self._changed.wait(INTERVAL)
        finally:
            with self._changed:
                self._pages -= 1
                self._changed.notify_all()

    def _news(self, cursor: _Cursor) -> dict[str, Any]:
        with self._changed:
            training, number, reason = self._training, self._number, self._reason
            pictures, looks = self._pictures, self._looks
        if training is None:
            return {"status": "waiting"}
        news: dict[str, Any] = {"status": "training" if reason is None else "ended", "reason": reason}
        if cursor.training != number:
            cursor.begin(number)
            news["reset"] = _title(training)
        history = training.history
        news |= {
            "epoch": training.epoch,
            "epochs": training.epochs,
            "updates": training.updates,
            "total": training.total_updates,
            "lr": training.optimizer.lr,
            **self._speed(training, cursor, reason is None),
            "loss": _new_points(history.updates["loss"], cursor, reason is not None),
            "curves": _new_values(history, cursor),
        }
        if cursor.pictures != looks:
            cursor.pictures = looks
            news |= pictures
        return news

    def _speed(self, training: Training, cursor: _Cursor, is_running: bool) -> dict[str, Any]:
        """Seconds so far, and the rate of the updates since the last message (at the end: of all)."""
        now, updates = time.perf_counter() if is_running else self._ended, training.updates
        since, before = cursor.measured
        if not is_running:
            since, before = self._started, 0
        if since and now > since and (updates > before or now - since > 4 * INTERVAL):
            cursor.rate = (updates - before) / (now - since)
        if updates > before or not since:
            cursor.measured = (now, updates)
        per_update: float = len(training.samples)
        if not training.is_stream:
            per_update *= training.epochs / (training.total_updates or math.inf)
        return {
            "seconds": now - self._started,
            "updates_per_second": cursor.rate,
            "samples_per_second": cursor.rate * per_update or None,
            "of_peak": self._flop * cursor.rate / self._peak if self._flop and self._peak else None,
        }


def _title(training: Training) -> str:
    count = sum(param.size for param in training.model.parameters())
    data = f"{'batches of ' if training.is_stream else ''}{len(training.samples):,} samples"
    return f"{count:,} parameters, {data}, {training.optimizer}"


def _new_points(losses: list[float], cursor: _Cursor, is_last: bool) -> dict[str, Any]:
    """Return the new points of the loss curve: (number of updates, mean loss of so many updates).

    A point stands for a power of two of updates, so that the curve has at most POINTS; when this number
    doubles, all points are new.
    """
    count = len(losses)
    size = 1 << (max(count - 1, 0) // POINTS).bit_length()
    if size != cursor.size:
        cursor.size, cursor.points, cursor.ended = size, 0, False
    start = cursor.points * size
    bins = (count - start) // size
    stop = start + bins * size
    means = np.array(losses[start:stop]).reshape(bins, size).mean(axis=1)
    points = [(start + (number + 1) * size, float(mean)) for number, mean in enumerate(means)]
    if is_last and not cursor.ended:
        cursor.ended = True
        if count > stop:
            points.append((count, float(np.mean(losses[stop:count]))))
    cursor.points += bins
    return {"from_start": start == 0, "points": points}


def _new_values(history: History, cursor: _Cursor) -> dict[str, list[tuple[float, float, int]]]:
    """Return the new values of the curves per epoch: (epoch, value, update)."""
    news = {}
    for name in list(history):
        epochs, values, updates = history.epochs_of(name), list(history[name]), history.updates_of(name)
        first = cursor.curves.get(name, 0)
        if new := list(zip(epochs, values, updates, strict=False))[first:]:
            news[name] = new
            cursor.curves[name] = first + len(new)
    return news


def _filters(training: Training) -> dict[str, Any] | None:
    """Return the weights of the first layer as images of bytes around 128; None if they are no images."""
    weight = next((p.value for p in training.model.parameters() if p.value.ndim >= 2), None)
    images = None if weight is None else _images(weight, training.samples.x.shape[1:])
    if images is None or not np.isfinite(images).all():
        return None
    units, height, width = images[:MOST_FILTERS].shape
    # Every unit has a scale of its own: a unit with small weights would be grey.
    largest = np.abs(images[:MOST_FILTERS]).max(axis=(1, 2), keepdims=True)
    levels = np.rint(128 + 127 * images[:MOST_FILTERS] / np.maximum(largest, 1e-30)).astype(np.uint8)
    return {"units": units, "height": height, "width": width, "levels": levels.ravel().tolist()}


def _images(weight: Array, sample: tuple[int, ...]) -> Array | None:
    """Return the weights (R, S, C, O) or (inputs, units) as images (units, H, W), the mean of their channels.

    None if the inputs are not the pixels of a sample, or of a square.
    """
    if weight.ndim == 4:
        return np.asarray(np.moveaxis(weight.mean(axis=2), -1, 0))
    side = round(len(weight) ** 0.5)
    shape = sample[:2] if len(sample) >= 2 else (side, side)
    if weight.ndim != 2 or side < 4 or len(weight) % (shape[0] * shape[1]):
        return None
    channels = len(weight) // (shape[0] * shape[1])
    return np.asarray(np.moveaxis(weight.reshape(*shape, channels, -1).mean(axis=2), -1, 0))


def _words_for(name: str) -> str:
    return "validation" if name == "val" else name


def _confusion(training: Training) -> dict[str, Any] | None:
    """Count the confusion matrix of the first validation samples; None without classes."""
    samples = training.validation or training.samples
    outputs = training.model.output_shape(samples.x.shape[1:])
    if len(outputs) != 1 or not 2 <= outputs[0] <= MOST_CLASSES or not has_classes(samples.target):
        return None
    x, target = samples.batch(np.arange(min(MOST_ROWS, len(samples))))
    labels = target if target.ndim == 1 else target.argmax(axis=1)
    predicted = training.model.forward(x)[0].argmax(axis=1)
    counted = labels < outputs[0]  # the others are ignored
    counts = confusion(labels[counted], predicted[counted], classes=outputs[0])
    names = training.model.classes
    return {
        "of": _words_for(next(iter(training.validation_sets), "training")),
        "counts": counts.tolist(),
        "names": [str(name) for name in (range(outputs[0]) if names is None else names)],
    }
