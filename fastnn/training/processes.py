"""The processes that train one model together: what they tell each other, and how all learn of a failure.

All processes make the same collective calls in the same order. There are two kinds:

- `gather` collects a small object of each process. Before a training, it is the only kind.
- Sums of arrays. `add_up` sums the gradients of an update, `add_up_moments` the statistics of batch norm in
  the middle of one. While there are such arrays (`flat`), every collective call begins with the same one
  (`first`), and a few counts in it tell what each process is about to do.

So a process that fails can always join the next call of the others, whatever it is, and tell them: `joined`
does that for a block of code. Otherwise they would wait for it forever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from fastnn._validation import Array
from fastnn.training.differences import differences
from fastnn.training.finite import NonFiniteError
from fastnn.training.launchers import launched

T = TypeVar("T")

# What each process adds to the counts of a sum.
FAILED, STEPPING, NORMALISING, VALIDATING, ROWS, LOSS, CORRECT = range(7)
COUNTS = 7

# Rows are counted modulo this number, so that their sum over 4,096 processes is exact in float32.
ROWS_MODULUS = 4096

# Names in descriptions, and what to do about a difference there.
DATA, WEIGHTS, BATCH, INSTRUCTION_SET = "data", "weights", "batch", "instruction set"
HINTS = {
    DATA: "pass all data in each process, which takes its share of every batch",
    WEIGHTS: "call fn.manual_seed(0) before the model is built, or load its weights",
    BATCH: "pass the whole batch in each process, which takes its share",
    INSTRUCTION_SET: "set the environment variable FASTNN_ISA to the lower one in all processes",
}


class ProcessError(RuntimeError):
    """Another process of a training failed, differs from this one, or cannot be reached."""


class StoppedElsewhere(Exception):  # noqa: N818 (no error: the training ends here, too)
    """Another process has ended the training; the message is its reason."""


class Communicator(Protocol):
    """The methods of mpi4py's communicators that a training calls."""

    def Get_rank(self) -> int: ...  # noqa: N802
    def Get_size(self) -> int: ...  # noqa: N802
    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None: ...  # noqa: N802
    def allgather(self, sendobj: Any) -> list[Any]: ...


class Flat(Protocol):
    """The flat arrays that hold everything to sum.

    Every collective call begins with the sum of `first`, whose last `COUNTS` elements are `counts`. In front
    of them are the gradients, or, if moments must be summed in the middle of an update, room for these; the
    gradients are then in `rest`, which an update sums after `first`. Otherwise `rest` is empty.
    """

    first: Array
    rest: Array
    counts: Array


class _Report(NamedTuple):
    """What a process tells the others about its error."""

    is_nonfinite: bool
    text: str

    @classmethod
    def of(cls, error: BaseException) -> _Report:
        if isinstance(error, NonFiniteError):
            return cls(True, str(error))
        return cls(False, f"{type(error).__name__}: {error}".removesuffix(": "))


class Processes:
    """One process alone: nobody to tell, and nothing to sum. `SeveralProcesses` is the other case."""

    rank, size = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, count: int) -> tuple[int, int]:
        """The first of `count` rows that belongs to this process, and the one after its last."""
        each, more = divmod(count, self.size)
        start = self.rank * each + min(self.rank, more)
        return start, start + each + (self.rank < more)

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Tell the other processes if the `with` block raises: then they raise, too."""
        yield

    @contextmanager
    def training(self) -> Iterator[None]:
        """`joined` for a whole training, after which there is nothing to sum any more."""
        yield

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank. Raises `ProcessError` if one of them has failed."""
        return [value]

    def from_first(self, function: Callable[[], T]) -> T:
        """What `function` returns in process 0. Raises in all processes if it raises there."""
        return function()

    def compare(self, description: Mapping[str, Any]) -> None:
        """Raise `ProcessError`, which names the differences, unless all processes pass the same."""

    def begin(self, flat: Flat) -> None:
        """Sum in this array from now on."""

    def meet(self, *, validating: bool = False, reason: str | None = None) -> None:
        """Wait for all processes, without an update.

        Those that are about to make one are told that this process has ended the training, for this `reason`.
        """

    def end(self, reason: str | None) -> str | None:
        """Wait until all processes have ended the training; returns the first reason that one of them has."""
        return reason

    def add_up(self, loss: float, correct: int, rows: int) -> tuple[float, int]:
        """Sum the gradients, the losses and the numbers of correct outputs of all processes.

        `rows` is the size of the mini-batch that they share. Raises `StoppedElsewhere` if another process has
        ended the training, and `ProcessError` if the mini-batches of the processes differ in size.
        """
        return loss, correct

    def add_up_moments(self, moments: Array) -> Array:
        """The sums of this array of moments over all processes, in the middle of an update.

        Raises what `add_up` raises, and `ProcessError` unless all processes sum moments now.
        """
        return moments


ALONE = Processes()


class SeveralProcesses(Processes):
    """The processes of a communicator."""

    def __init__(self, communicator: Communicator) -> None:
        self._communicator = communicator
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self._flat: Flat | None = None
        self._is_failure_known = False

    # A copy of a trainer belongs to the same processes. One that is read from a file trains alone.
    def __deepcopy__(self, memo: dict[int, Any]) -> SeveralProcesses:
        return self

    def __reduce__(self) -> tuple[type[Processes], tuple[()]]:
        return Processes, ()

    @contextmanager
    def joined(self) -> Iterator[None]:
        self._is_failure_known = False
        try:
            yield
        except StoppedElsewhere:
            raise
        except BaseException as error:
            if self._is_failure_known:
                raise
            if self._flat is not None:
                self._flat.first.fill(0)
                self._sum({FAILED: 1})
            self._gather(None, error)

    @contextmanager
    def training(self) -> Iterator[None]:
        try:
            with self.joined():
                yield
        finally:
            self._flat = None

    def gather(self, value: T) -> list[T]:
        return self._gather(value, None)

    def from_first(self, function: Callable[[], T]) -> T:
        return self.gather(function() if self.is_first else None)[0]  # type: ignore[return-value]

    def compare(self, description: Mapping[str, Any]) -> None:
        text = json.dumps(description, sort_keys=True)
        if len(set(self.gather(hashlib.sha256(text.encode()).hexdigest()))) == 1:
            return
        texts = self.gather(text)
        other = next(rank for rank, each in enumerate(texts) if each != texts[0])
        words = "is", f"but in process {other} it is"
        found = differences(json.loads(texts[0]), json.loads(texts[other]), words=words)
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        self._is_failure_known = True
        raise ProcessError(
            f"the processes must train the same model on the same data with the same settings, but process "
            f"{other} differs from process 0: {'; '.join(found[:3])}{more}{_hint(found[:3])}"
        )

    def begin(self, flat: Flat) -> None:
        self._flat = flat

    def meet(self, *, validating: bool = False, reason: str | None = None) -> None:
        assert self._flat is not None
        while True:
            self._flat.first.fill(0)
            counts = self._sum({VALIDATING: int(validating)})
            if counts[FAILED]:
                self.gather(None)
            if not counts[STEPPING]:
                break
            self.gather((True, reason))
        if counts[VALIDATING] not in (0, self.size):
            raise ProcessError(
                f"{counts[VALIDATING]:.0f} of {self.size} processes validate, but the others have ended the "
                "training: callbacks must decide alike in all processes"
            )

    def end(self, reason: str | None) -> str | None:
        self.meet(reason=reason)
        return next((each for each in self.gather(reason) if each is not None), None)

    def add_up(self, loss: float, correct: int, rows: int) -> tuple[float, int]:
        assert self._flat is not None
        rows_told = rows % ROWS_MODULUS
        counts = self._sum({STEPPING: 1, ROWS: rows_told, LOSS: loss, CORRECT: correct})
        self._check_that_all_step(counts)
        if (rest := self._flat.rest).size:
            self._sum_in_place(rest)
        # After `rest`, which a process that sees no difference, since its rows are the mean, would sum alone.
        if counts[ROWS] != self.size * rows_told:
            raise ProcessError(
                f"the processes share a mini-batch of {rows} rows in process {self.rank} of {self.size}, but "
                f"of another number in others: {HINTS[BATCH]}"
            )
        return float(counts[LOSS]), round(float(counts[CORRECT]))

    def add_up_moments(self, moments: Array) -> Array:
        assert self._flat is not None
        if moments.size > len(self._flat.first) - COUNTS:
            raise ValueError(
                f"sync_batch_norm=True: a batch norm layer with {moments.shape[1]} channels is not among the "
                "layers that the model knows: assign it to an attribute of the layer that calls it"
            )
        self._flat.first.fill(0)
        place = self._flat.first[: moments.size].reshape(moments.shape)
        place[...] = moments
        self._check_that_all_step(self._sum({STEPPING: 1, NORMALISING: 1}))
        return place.copy()

    def _check_that_all_step(self, counts: Array) -> None:
        """Raise an error unless all processes are at the same point of an update; `counts` are the sums.

        Raises `StoppedElsewhere` if a process has ended the training for a reason.
        """
        if counts[FAILED]:
            self.gather(None)
        if counts[STEPPING] < self.size:
            answers = enumerate(self.gather((False, None)))
            rank, reason = next((rank, reason) for rank, (has_ended, reason) in answers if has_ended)
            if reason is None:
                raise ProcessError(
                    f"process {rank} of {self.size} makes no more updates, but process {self.rank} makes "
                    "one: pass the same batches, and make the same number of updates, in all processes"
                )
            raise StoppedElsewhere(reason)
        if counts[NORMALISING] not in (0, self.size):
            raise ProcessError(
                "sync_batch_norm=True needs the same batch norm layers in all processes, but in this update "
                "some processes ran more of them than others: does a layer of yours skip its batch norm?"
            )

    def _sum(self, counts: Mapping[int, float]) -> Array:
        """Sum the first array, with these counts, over all processes; returns the sums of the counts."""
        assert self._flat is not None
        flat = self._flat
        flat.counts[:] = 0
        with np.errstate(over="ignore"):  # a float64 loss may be inf as float32
            for place, value in counts.items():
                flat.counts[place] = value
        self._sum_in_place(flat.first)
        self._is_failure_known = False
        return flat.counts

    def _sum_in_place(self, array: Array) -> None:
        self._call(lambda: self._communicator.Allreduce(None, array))  # None: in place

    def _gather(self, value: T, error: BaseException | None) -> list[T]:
        """The values of all processes; raises in all of them if one passes an error."""
        told = value, None if error is None else _Report.of(error)
        values = self._call(lambda: self._communicator.allgather(told))
        reports = {rank: report for rank, (_, report) in enumerate(values) if report is not None}
        self._is_failure_known = bool(reports)
        if reports:
            agreed = self._error_of(error, reports)
            raise agreed from (error if agreed is not error else agreed.__cause__)
        return [each for each, _ in values]

    def _error_of(self, own: BaseException | None, reports: Mapping[int, _Report]) -> BaseException:
        """What this process raises, where processes failed: its own error, or one that names the first.

        A loss that is not finite may end the training without an error (`on_nonfinite`), so it must be the
        only problem, and the same in all processes.
        """
        others = [(rank, report) for rank, report in reports.items() if not report.is_nonfinite]
        if not others:
            return own or NonFiniteError(next(iter(reports.values())).text)
        if own is not None and not isinstance(own, NonFiniteError):
            return own
        rank, first = others[0]
        return ProcessError(f"process {rank} of {self.size} failed: {first.text}")

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except Exception as error:  # of MPI: nobody can be told any more
            self._is_failure_known = True
            raise ProcessError(
                f"process {self.rank} of {self.size} can no longer reach the others ({error}): one of "
                "them has ended, or makes another call. Start all of them again; with checkpoint=path, a "
                "training resumes"
            ) from error


def _hint(found: list[str]) -> str:
    """What to do about the first of these differences that has a hint, after a colon; empty if none has."""
    for difference in found:
        for name, hint in HINTS.items():
            if difference.startswith((f"{name}.", f"{name} ")):
                return f": {hint}"
    return ""


def processes_of(communicator: Communicator | Processes | None) -> Processes:
    """The processes of a communicator of mpi4py; `ALONE` for None, and for a communicator of one process.

    Raises TypeError for anything else, and `ProcessError` if the launcher belongs to another MPI library than
    mpi4py.
    """
    if communicator is None:
        return ALONE
    if isinstance(communicator, Processes):
        return communicator
    if not all(hasattr(communicator, name) for name in ("Get_rank", "Get_size", "Allreduce", "allgather")):
        raise TypeError(
            "communicator must be one of mpi4py, such as MPI.COMM_WORLD after `from mpi4py import MPI`, not "
            f"{communicator!r:.100}"
        )
    if not communicator:
        raise ValueError(
            "communicator is MPI.COMM_NULL, to which no process belongs: let only the processes of a group "
            "train with the communicator of that group"
        )
    if communicator.Get_size() > 1:
        return SeveralProcesses(communicator)
    check_launcher()
    return ALONE


def check_launcher() -> None:
    """Raise `ProcessError` if several processes were started by another MPI library than that of mpi4py.

    Then each process is alone in its world, or ends when MPI starts in it, which has not yet happened if
    `mpi4py.rc.initialize` is False.
    """
    started = launched()
    if started.size == 1:
        return
    from mpi4py import MPI

    library, version = MPI.get_vendor()
    is_foreign = "Open MPI" in (library, started.launcher) and started.launcher not in (library, "SLURM")
    if is_foreign or (MPI.Is_initialized() and MPI.COMM_WORLD.Get_size() == 1):
        used = f"{library} {'.'.join(map(str, version))}"
        raise ProcessError(
            f"mpirun of {started.launcher} started {started.size} processes, but mpi4py uses another MPI "
            f"library, {used}: use the mpirun of {library}, or let mpi4py use the other library "
            "(docs: guide/mpi)"
        )
