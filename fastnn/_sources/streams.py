"""Mini-batches that come one after the other: iterators, generator functions, PyTorch's `DataLoader`.

A thread reads the next mini-batch while the last one is in use, so at most two are in memory, and whatever
the source itself keeps.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from queue import Queue, SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._arrays import Array, as_array
from fastnn._sources.base import Source
from fastnn._sources.items import has_items, is_hugging_face, part_of, parts_of
from fastnn._sources.rows import feature_rows
from fastnn._waiting import next_of

# After an error, wait at most this long (seconds) for a source that is in the middle of a mini-batch.
WAIT_AFTER_ERROR = 1.0

Streamed = Iterable[Any] | Callable[[], Iterable[Any]]


class Batch(NamedTuple):
    """A mini-batch that shares no memory with its source, which may use its arrays again."""

    x: Array
    y: npt.ArrayLike  # None without targets
    weight: Array | None


class Stream:
    """The source of mini-batches.

    An iterator can be read once. A function that returns an iterator, and any other iterable, is started
    again for each pass. Samples (`gives_samples`) are collected into mini-batches of `batch_size`; with
    `drop_last`, a smaller last one is left out. Without `has_targets`, items may be features alone, and what
    comes with them is ignored.
    """

    def __init__(
        self, data: Any, batch_size: int, *, drop_last: bool = False, has_targets: bool = True
    ) -> None:
        self._data = data
        self._batch_size, self._drop_last = batch_size, drop_last
        self._parts = parts_of if has_targets else _features_of
        self.gives_samples = _gives_samples(data)
        self.is_restartable = not isinstance(data, Iterator)
        self.name = name_of(data)

    @property
    def length(self) -> int | None:
        """The number of mini-batches of a pass; None if the source does not know it."""
        try:
            count = len(self._data)
        except (TypeError, NotImplementedError):
            return None
        if not self.gives_samples:
            return count
        return count // self._batch_size if self._drop_last else -(-count // self._batch_size)

    def start(self) -> Iterator[Any]:
        """Begin a pass. Raises TypeError if a function returns something else than an iterable."""
        items = self._data if isinstance(self._data, Iterable) else self._data()
        if not isinstance(items, Iterable):
            raise TypeError(f"{self.name} must return an iterator of batches, not {name_of(items)}")
        return iter(items)

    def take(self, items: Iterator[Any]) -> list[Any]:
        """The next item, or the samples of the next mini-batch; empty at the end of the pass."""
        count = self._batch_size if self.gives_samples else 1
        taken = list(islice(items, count))
        return [] if self._drop_last and len(taken) < count else taken

    def batch(self, taken: list[Any]) -> Batch:
        """The mini-batch of what `take` returned. Raises TypeError or ValueError for anything else."""
        if not self.gives_samples:
            return _batch(*self._parts(taken[0], "a batch"))
        x, y, weight = zip(*(self._parts(sample, "a sample") for sample in taken), strict=True)
        return _batch(_stacked(x, "x"), _stacked(y, "y"), _stacked(weight, "sample_weight"))


class _Failure(NamedTuple):
    """What went wrong in the thread, and whether the source itself has raised it."""

    error: BaseException
    raised_by_source: bool


class Reader:
    """Reads mini-batches of a stream in a thread, at most one ahead of the one that `read` returned last.

    With `repeat`, a stream that ends and can be started again goes on with its next pass. No more than
    `limit` mini-batches are taken from the stream (None: all), so that the rest of an iterator is not lost.
    A context manager, which ends the thread.
    """

    def __init__(self, stream: Stream, *, limit: int | None = None, repeat: bool = False) -> None:
        self.stream = stream
        self._unrequested = limit
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._results: Queue[Batch | _Failure | None] = Queue()
        self._is_reading = False
        self._thread = threading.Thread(
            target=_serve,
            args=(stream, repeat, self._requests, self._results),
            name="fastnn-read",
            daemon=True,  # a source that never returns must not keep the program from ending
        )
        self._thread.start()
        self._request()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._requests.put(False)
        self._thread.join(None if kind is None else WAIT_AFTER_ERROR)

    def _request(self) -> None:
        self._is_reading = self._unrequested != 0
        if self._is_reading:
            self._requests.put(True)
            if self._unrequested is not None:
                self._unrequested -= 1

    def read(self, where: str, check: Callable[[], None] = lambda: None) -> Batch | None:
        """The next mini-batch; None at the end, also after an error. `check` is called while waiting.

        `where` names the mini-batch in errors: those of the source get it as a note. Raises TypeError or
        ValueError for what is no mini-batch.
        """
        if not self._is_reading:
            return None
        result = next_of(self._results, check)
        if isinstance(result, Batch):
            self._request()
            return result
        self._is_reading = False
        if result is None:
            return None
        if result.raised_by_source:
            result.error.add_note(f"raised by {self.stream.name} for {where}")
        else:
            result.error.args = (f"{where}, from {self.stream.name}: {result.error}",)
        raise result.error


def _serve(
    stream: Stream,
    repeat: bool,
    requests: SimpleQueue[bool],
    results: Queue[Batch | _Failure | None],
) -> None:
    """Answer each request with the next mini-batch, None at the end, or a failure. Runs in the thread."""
    items: Iterator[Any] | None = None
    while requests.get():
        try:
            starts = items is None
            items = stream.start() if items is None else items
            taken = stream.take(items)
            if not taken and repeat and stream.is_restartable and not starts:
                items = stream.start()
                taken = stream.take(items)
        except BaseException as error:
            results.put(_Failure(error, raised_by_source=True))
            continue
        try:
            results.put(stream.batch(taken) if taken else None)
        except BaseException as error:  # also of a user's `__array__`, which may raise anything
            ours = isinstance(error, (TypeError, ValueError))
            results.put(_Failure(error, raised_by_source=not ours))
        del taken  # the memory is free while the next mini-batch is computed
    close = getattr(items, "close", None)
    if stream.is_restartable and close is not None:  # an iterator of ours: leave its `with` blocks
        close()


def is_stream(data: object) -> bool:
    """Whether `data` gives mini-batches, or samples, one after the other: an iterable that is no array."""
    if _gives_samples(data):
        return True
    if isinstance(data, (np.ndarray, Source, tuple, list, str, bytes, range, Mapping, type)):
        return False
    try:
        if any(hasattr(data, name) for name in ("shape", "isna", "columns", "__array__", "__dlpack__")):
            return False
    except Exception:  # a data set of a closed h5py file raises RuntimeError; reading it says why
        return False
    return not has_items(data) and (isinstance(data, Iterable) or callable(data))


def _gives_samples(data: object) -> bool:
    """Whether `data` is an iterable data set of PyTorch or Hugging Face, which gives single samples."""
    torch_data = sys.modules.get("torch.utils.data")
    if torch_data is not None and isinstance(data, torch_data.IterableDataset):
        return True
    return is_hugging_face(data) and not hasattr(data, "__len__")


def name_of(data: object) -> str:
    """The name of a source of mini-batches in messages, such as "the generator 'batches'"."""
    kind = "function" if callable(data) and not isinstance(data, Iterable) else type(data).__name__
    own = getattr(data, "__name__", None)
    return f"the {kind} {own!r}" if isinstance(own, str) else f"the {kind}"


def _features_of(item: Any, what: str) -> tuple[Any, Any, Any]:
    """The features of an item, which may be these alone, or a pair or dict that `parts_of` takes."""
    if isinstance(item, Mapping):
        return part_of(item, "x", what), None, None
    if isinstance(item, (tuple, list)) and len(item) == 1 and hasattr(item[0], "shape"):
        return item[0], None, None  # as PyTorch's TensorDataset gives features
    if isinstance(item, tuple):
        return parts_of(item, what)[0], None, None
    # A list of arrays is (x, y) if the second one has fewer axes, and otherwise the samples of a batch.
    if isinstance(item, list) and item and hasattr(item[0], "shape"):
        is_pair = len(item) in (2, 3) and np.ndim(item[0]) > np.ndim(item[1])
        return parts_of(item, what)[0] if is_pair else np.stack(item), None, None
    return item, None, None


def _batch(x: Any, y: Any, weight: Any) -> Batch:
    """A mini-batch of copies. Text in y stays as it is, since labels know best what is missing."""
    rows = feature_rows(x, "x")
    if isinstance(rows, Source):
        rows = rows[:]  # dense; rows of a sparse matrix are new arrays
    elif not isinstance(x, (list, tuple)):  # of which `rows` is a new array
        rows = rows.copy()
    targets = y
    if y is not None and not hasattr(y, "cat") and not hasattr(y, "codes"):
        array = as_array(y, "y")
        targets = list(y) if isinstance(y, (list, tuple)) and array.dtype.kind in "UO" else array.copy()
    return Batch(rows, targets, None if weight is None else as_array(weight, "sample_weight").copy())


def _stacked(values: tuple[Any, ...], name: str) -> Any:
    """The values of one part of the samples as an array (N, ...); None if no sample has it."""
    if all(value is None for value in values):
        return None
    arrays = [as_array(value, name) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"{name} of the samples must have one shape, got {sorted(shapes)}")
    return np.stack(arrays)
