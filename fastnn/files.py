"""Atomic file writes."""

from __future__ import annotations

import glob
import os
import threading
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a crash leaves either the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote `path`."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*-*.tmp"):
        process = temporary.name.removeprefix(f".{path.name}.").partition("-")[0]
        if process.isdecimal() and not _runs(int(process)):
            temporary.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, but belongs to another user
        pass
    return True


def cache_folder() -> Path:
    """Return fastnn's folder in the user's cache folder. Raises ValueError if the user has no home folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fastnn")
    except RuntimeError:  # neither HOME nor an entry in the password file
        raise ValueError("this user has no home folder: set HOME or XDG_CACHE_HOME") from None
