"""Paths that users pass, the user's cache folder, and the atomic write that all writers of fastnn use."""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# The name of a temporary file has 30 more characters, and most file systems accept 255 bytes.
LONGEST_PREFIX = 200

# Windows has no owners and modes of files as POSIX has: a new file inherits the rights of its folder.
IS_WINDOWS = os.name == "nt"


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user passed, with a leading `~` or `~name` expanded as in a shell.

    "./~" is the file `~`; `~name` is a file, too, if there is no such user. Raises FileNotFoundError for `~`
    if the user has no home folder.
    """
    given = os.fsdecode(path)
    expanded = os.path.expanduser(given)
    if expanded == given and given.partition(os.sep)[0] == "~":
        raise FileNotFoundError(errno.ENOENT, "the user has no home folder", given)
    return Path(expanded)


def cache_folder() -> Path:
    """Return fastnn's folder in the user's cache: $XDG_CACHE_HOME/fastnn, or else ~/.cache/fastnn.

    Raises FileNotFoundError if the user has no home folder: no HOME, and no entry in the password database.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # unset, or relative, which the XDG specification calls invalid
        base = user_path("~/.cache")
    return base / "fastnn"


def write_atomic(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to the file `path` as `atomic_file` does."""
    with atomic_file(path) as file:
        file.write(content)


def check_space(path: str | os.PathLike[str], content: bytes) -> None:
    """Raise the OSError that `write_atomic` would raise now, and leave the file as it is."""

    class DiscardedError(Exception):
        """Makes `atomic_file` remove its temporary file."""

    with suppress(DiscardedError), atomic_file(path) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # a network file system may report a full disk only now
        raise DiscardedError


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing. A crash, a power cut or an exception leaves the old file or the new one.

    The content goes to a temporary file in the same folder, which is synchronized with the disk and renamed
    at the end of the `with` block. Then the folder is synchronized: otherwise a power cut can undo the
    rename.

    - Symbolic links stay, and their target is replaced. It is created if it does not exist.
    - An existing file keeps its mode and, where the system allows it, its owner and group. A new file has the
      usual permissions. A read-only file raises PermissionError.
    - Other hard links to the file keep the old content: one name cannot be renamed over all of them.
    - A FIFO or a character device, such as /dev/stdout, is written directly and never replaced.

    Raises OSError, which names `path` and not the temporary file: IsADirectoryError for a folder,
    FileNotFoundError, which names the folder, if that is missing, and OSError for a block device.
    """
    target = user_path(path)
    if os.fsdecode(path).endswith((os.sep, os.altsep or os.sep)):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
    try:
        old: os.stat_result | None = target.stat()
    except FileNotFoundError:
        old = None
    target = _followed(target)
    temporary = target.parent / f"{_prefix(target)}{os.getpid()}-{os.urandom(4).hex()}.tmp"
    try:
        with _direct(target) if _is_direct(target, old) else _replacing(target, temporary, old) as file:
            yield file
    except OSError as error:
        # Errors of other files, which the caller uses in the same `with` block, keep their names.
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, os.fsdecode(path)) from error


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote `path`."""
    target = _followed(path)
    prefix = _prefix(target)
    for temporary in target.parent.glob(f"{glob.escape(prefix)}*-*.tmp"):
        process = temporary.name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not is_running(int(process)):
            with suppress(OSError):  # Windows does not remove a file that another process has open
                temporary.unlink()


def _prefix(target: Path) -> str:
    """The beginning of the names of temporary files for `target`."""
    return f".{os.fsencode(target.name)[:LONGEST_PREFIX].decode(errors='ignore')}."


def _followed(path: Path) -> Path:
    """Follow symbolic links of `path` to the name that a rename must replace; it need not exist.

    The links of open files, such as /proc/self/fd/1, to which /dev/stdout points, are not followed: replacing
    their target would not change the open file.
    """
    while path.is_symlink() and not os.path.realpath(path.parent).startswith("/proc/"):
        path = path.parent / os.readlink(path)
    return path


def _is_direct(target: Path, old: os.stat_result | None) -> bool:
    """Whether `target`, without links, is written directly. Raises OSError if it must not be written."""
    if old is None:
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
        return False
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if stat.S_ISBLK(old.st_mode):
        raise OSError(errno.ENOTSUP, "block devices are not written to", str(target))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return target.is_symlink() or not stat.S_ISREG(old.st_mode)


def _direct(target: Path) -> BinaryIO:
    """Open for writing without creating or truncating: `fastnn ... > log` keeps what the log holds."""
    binary = getattr(os, "O_BINARY", 0)  # Windows would write "\r\n" for "\n"
    return os.fdopen(os.open(target, os.O_WRONLY | os.O_APPEND | binary), "wb")


@contextmanager
def _replacing(target: Path, temporary: Path, old: os.stat_result | None) -> Iterator[BinaryIO]:
    """Open `temporary`, and rename it to `target` at the end; remove it if anything is raised before."""
    try:
        with open(temporary, "xb") as file:  # "x" follows no link that another user may have put there
            if old is not None and not IS_WINDOWS:
                _copy_owner_and_mode(old, file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _synchronize_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _copy_owner_and_mode(old: os.stat_result, file: int) -> None:
    """Give an open file the owner and group of another one, as far as the user may, and its permissions."""
    new, mode = os.fstat(file), old.st_mode & 0o777
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(OSError):
            os.fchown(file, old.st_uid, old.st_gid)
    if stat.S_IMODE(new.st_mode) != mode:  # some file systems have one mode for all files
        os.fchmod(file, mode)


def _synchronize_folder(folder: Path) -> None:
    """Write the names in a folder to the disk, if its file system can; PostgreSQL ignores the same errors."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # the folder can be written, but not read
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL):
            raise
    finally:
        os.close(opened)


def is_running(process: int) -> bool:
    """Whether the process runs; on Windows, where signal 0 is Ctrl-C, False: it protects its open files."""
    if IS_WINDOWS:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, but belongs to another user
        pass
    except OverflowError:  # no number of a process
        return False
    return True
