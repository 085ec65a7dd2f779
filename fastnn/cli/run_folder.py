"""Lock the folder of a run, write its results in the order of their worth, and print without failing."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock, so that no other run writes into it.

    The operating system releases the lock when the process ends, however it ends. Where nothing can be locked
    (some network file systems), nothing is locked.

    Raises FileExistsError if another run holds the lock, and NotADirectoryError if `folder` is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder} is a file: choose a folder as --out") from None
    with _lock(folder) if fcntl is not None else _lock_of_windows(folder) as is_free:
        if not is_free:
            raise FileExistsError(
                f"another run is writing to {folder}: wait for its end, or choose another --out"
            )
        yield


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Lock the folder itself. Yields whether it is locked now, or cannot be."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_free = True
        except OSError as error:  # BlockingIOError, or the file system has no locks
            is_free = not isinstance(error, BlockingIOError)
        yield is_free
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _lock_of_windows(folder: Path) -> Iterator[bool]:
    """Lock a file in the folder, as Windows does not open folders. Yields what `_lock` yields."""
    msvcrt = importlib.import_module("msvcrt")
    path = folder / ".lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            is_free = True
        except OSError as error:  # PermissionError, or the file system has no locks
            is_free = not isinstance(error, PermissionError)
        yield is_free
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # Windows does not remove a file that another run has open
            path.unlink()


class Results:
    """The files that a run writes: one that cannot be written does not stop the others."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: list[str] = []
        self._failed: list[str] = []

    def write(self, name: str, writer: Callable[[Path], object]) -> None:
        """Call `writer` with the path of a result; `finish` raises its OSError."""
        path = self._folder / name
        try:
            writer(path)
            self._written.append(name)
        except OSError as error:
            self._failed.append(f"cannot write {path}: {error.strerror or error}")

    def decorate(self, name: str, writer: Callable[[Path], object]) -> None:
        """Call `writer` with the path of a picture. Whatever it raises is a warning on stderr."""
        path = self._folder / name
        try:
            writer(path)
            self._written.append(name)
        except Exception as error:  # no matplotlib, an unknown MPLBACKEND, a full disk, ...
            first = (str(error).splitlines() or [""])[0]
            print(f"fastnn: warning: no {path}: {first or type(error).__name__}", file=sys.stderr)

    def finish(self, advice: str = "") -> None:
        """Print what was written. Raises OSError, with the names and the advice, if a result is missing."""
        print(f"written to {self._folder}: {', '.join(sorted(self._written))}", flush=True)
        if self._failed:
            raise OSError("; ".join(self._failed) + advice)


class Output:
    """A stream that never raises: what cannot be written is lost.

    Characters outside its encoding are escaped. `error` is the first OSError, except that of a reader who
    has gone away (`| head -1`), which is no error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            return self._lost(error, len(text))

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lost(error, 0)

    def _lost(self, error: OSError, count: int) -> int:
        if not isinstance(error, BrokenPipeError) and self.error is None:
            self.error = error
        with contextlib.suppress(OSError, ValueError):  # else Python reports what is left in the buffer
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
        return count


@contextlib.contextmanager
def silent_unless(speaks: bool) -> Iterator[None]:
    """Print nothing in the `with` block, unless `speaks`: the first of several processes speaks for all."""
    if speaks:
        yield
        return
    with (
        open(os.devnull, "w", encoding="utf-8") as null,
        contextlib.redirect_stdout(null),
        contextlib.redirect_stderr(null),
    ):
        yield


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings as lines "fastnn: warning: ...", without the place in the code."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *place: f"fastnn: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextlib.contextmanager
def lenient_output() -> Iterator[list[Output]]:
    """Let printing never raise, and yield the streams (stdout and stderr, those that are open)."""
    before = sys.stdout, sys.stderr
    outputs = [Output(stream) for stream in before if stream is not None]
    if len(outputs) == 2:
        sys.stdout, sys.stderr = outputs
    try:
        yield outputs
    finally:
        for output in outputs:
            output.flush()
        sys.stdout, sys.stderr = before
