"""Appends to log files: a killed process leaves whole lines, a full disk leaves the file as it was."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fastnn._validation import warn


def append_whole(path: Path, content: bytes) -> None:
    """Append `content` to a file by one write. Raises OSError; the file is as before then."""
    with open(path, "ab", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:  # Ctrl-C, too
            with suppress(OSError):
                file.truncate(size)
            raise


class Complaints:
    """Warns of the first error of a log file: a log must not end a training, nor fill the terminal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_told = False

    def tell(self, error: OSError) -> None:
        if not self._is_told:
            self._is_told = True
            warn(
                f"{self._path} cannot be written: {error}. The training goes on; what is missing is written "
                "after the next epoch, if that is possible"
            )
