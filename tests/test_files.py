"""Atomic writes, paths of users and the cache folder: what is replaced, and what survives a failure."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fastnn import files
from fastnn.files import atomic_file, cache_folder, remove_leftovers, user_path, write_atomic
from tests.systems import needs_pipes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# --- links ---


def test_symbolic_link_stays_and_its_target_is_replaced(tmp_path, path):
    (tmp_path / "deep").mkdir()
    target = tmp_path / "deep" / "target"
    target.write_bytes(b"old")
    (tmp_path / "second").symlink_to(target)
    path.symlink_to("second")  # relative to the folder of the link, not to the current one
    write_atomic(path, b"new")
    assert path.is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert not target.is_symlink()
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["target"]


def test_dangling_link_creates_its_target(tmp_path, path):
    path.symlink_to("target")
    write_atomic(path, b"new")
    assert path.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_dangling_link_into_a_missing_folder_names_that_folder(tmp_path, path):
    path.symlink_to(tmp_path / "missing" / "target")
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: '.*/missing'"):
        write_atomic(path, b"new")
    assert names(tmp_path) == [path.name]


def test_loop_of_links_raises_and_names_the_path(tmp_path, path):
    path.symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(path)
    with pytest.raises(OSError, match=path.name) as error:
        write_atomic(path, b"new")
    assert error.value.errno == errno.ELOOP
    assert names(tmp_path) == [path.name, "other"]


def test_folder_behind_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write_atomic(tmp_path / "link" / "a", b"new")
    assert names(tmp_path / "real") == ["a"]


def test_other_hard_links_keep_the_old_content(tmp_path, path):
    path.write_bytes(b"old")
    os.link(path, tmp_path / "other")
    write_atomic(path, b"new")
    assert (tmp_path / "other").read_bytes() == b"old"
    assert path.read_bytes() == b"new"


# --- files that are not regular ---


@needs_pipes
@pytest.mark.parametrize("linked", [False, True])
def test_fifo_is_written_and_not_replaced(tmp_path, path, linked):
    fifo = tmp_path / "fifo" if linked else path
    os.mkfifo(fifo)
    if linked:
        path.symlink_to(fifo)
    got = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    write_atomic(path, b"new" * 100_000)
    reader.join()
    assert got == [b"new" * 100_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert len(names(tmp_path)) == 1 + linked


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1", "/dev/fd/1"])
@pytest.mark.parametrize("to", ["file", "pipe"])
def test_standard_output_is_written_to(tmp_path, name, to):
    """Also where it was redirected to a file, which must not be replaced behind the back of the shell."""
    code = f"from fastnn.files import write_atomic; print(1, flush=True); write_atomic({name!r}, b'new')"
    log = tmp_path / "log"
    with log.open("wb") as file:
        inode = log.stat().st_ino
        output = file if to == "file" else subprocess.PIPE
        done = subprocess.run([sys.executable, "-c", code], stdout=output, check=True)
    assert (log.read_bytes() if to == "file" else done.stdout) == b"1\nnew"
    assert log.stat().st_ino == inode
    assert names(tmp_path) == ["log"]


def test_block_device_is_refused(path, monkeypatch):
    path.write_bytes(b"old")
    original = Path.stat

    def as_block_device(self, **options):
        status = original(self, **options)
        return os.stat_result((stat.S_IFBLK | 0o600, *status[1:])) if self == path else status

    monkeypatch.setattr(Path, "stat", as_block_device)
    with pytest.raises(OSError, match=r"block devices are not written to: '.*net.safetensors'"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("name", ["folder", "folder/", "new/", ".", ""])
def test_folder_as_a_file_raises(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(name, b"new")
    assert names(tmp_path) == ["folder"]


# --- owner and mode ---


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_new_file_honours_the_umask(path, umask):
    previous = os.umask(umask)
    try:
        write_atomic(path, b"new")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666])
def test_existing_file_keeps_its_mode(path, mode):
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomic(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_content_of_a_private_file_is_never_readable_by_others(path):
    path.write_bytes(b"old")
    path.chmod(0o600)
    with atomic_file(path):
        (temporary,) = set(path.parent.iterdir()) - {path}
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


@pytest.mark.parametrize("allowed", [True, False])
def test_owner_is_kept_where_the_system_allows_it(path, monkeypatch, allowed):
    path.write_bytes(b"old")
    original, calls = os.fstat, []

    def of_another_user(file):
        status = original(file)
        return os.stat_result((*status[:4], status.st_uid + 1, *status[5:]))

    def fchown(file, user, group):
        calls.append((user, group))
        if not allowed:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fstat", of_another_user)
    monkeypatch.setattr(os, "fchown", fchown)
    status = path.stat()
    write_atomic(path, b"new")
    assert calls == [(status.st_uid, status.st_gid)]
    assert path.read_bytes() == b"new"


def test_read_only_file_is_not_replaced(path, monkeypatch):
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda name, mode: mode != os.W_OK)  # root may write to any file
    with pytest.raises(PermissionError, match=r"Permission denied: '.*net.safetensors'"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


# --- failures ---


def error_of(code):
    return OSError(code, os.strerror(code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize(
    ("call", "existed"),
    [("fsync", True), ("fsync", False), ("replace", True), ("replace", False), ("fchmod", True)],
)
def test_failure_keeps_the_old_file_and_names_the_path(path, monkeypatch, call, code, existed):
    def fail(*arguments):
        raise error_of(code)

    if existed:
        path.write_bytes(b"old")
        path.chmod(0o600)
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=rf"{os.strerror(code)}: '{path}'$") as error:
        write_atomic(path, b"new")
    assert error.value.errno == code
    assert names(path.parent) == [path.name] * existed
    assert not existed or path.read_bytes() == b"old"


@pytest.mark.parametrize("size", [0, 1000, 100_000])
def test_disk_that_fills_up_keeps_the_old_file(path, size, full_disk):
    path.write_bytes(b"old")
    with full_disk(size), pytest.raises(OSError, match=rf"File too large: '{path}'$"):
        write_atomic(path, bytes(200_000))
    assert path.read_bytes() == b"old"
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_folder_that_cannot_be_written(path, monkeypatch, code):
    path.write_bytes(b"old")

    def fail(name, *arguments, **options):
        raise OSError(code, os.strerror(code), str(name))

    monkeypatch.setattr(files, "open", fail, raising=False)
    with pytest.raises(OSError, match=rf"{os.strerror(code)}: '{path}'$"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"


def copy(source, path):
    with atomic_file(path) as file:
        file.write(b"half")
        file.write(source.read_bytes())


def test_exception_in_the_block_keeps_the_old_file_and_its_own_name(path):
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError, match="another"):
        copy(path.with_name("another"), path)
    assert path.read_bytes() == b"old"
    assert names(path.parent) == [path.name]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no such folder: '.*/missing'$"):
        write_atomic(tmp_path / "missing" / "net.safetensors", b"new")
    assert names(tmp_path) == []


def test_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"file/net\.safetensors'$"):
        write_atomic(tmp_path / "file" / "net.safetensors", b"new")


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "a b%s{}*?[x]"])
def test_any_name_that_the_file_system_accepts(tmp_path, name):
    write_atomic(tmp_path / name, b"old")
    write_atomic(tmp_path / name, b"new")
    assert names(tmp_path) == [name]
    leftover = tmp_path / f"{files._prefix(tmp_path / name)}{2**22 + 1}-ab.tmp"  # no such process
    leftover.touch()
    remove_leftovers(tmp_path / name)
    assert not leftover.exists()


def test_leftovers_beside_the_target_of_a_link_are_removed(tmp_path, path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / f".target.{2**22 + 1}-ab.tmp").touch()
    path.symlink_to("deep/target")
    remove_leftovers(path)
    assert names(tmp_path / "deep") == []


# --- the folder is synchronized ---


@pytest.fixture
def synchronized(monkeypatch):
    """What `os.fsync` and `os.replace` were called with: "file", "folder" or "replace"."""
    events, fsync, replace = [], os.fsync, os.replace

    def noted_fsync(file):
        events.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    def noted_replace(old, new):
        events.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return events


def test_file_and_then_folder_are_synchronized(path, synchronized):
    write_atomic(path, b"new")
    assert synchronized == ["file", "replace", "folder"]


def fail_for_folders(monkeypatch, code):
    original = os.fsync

    def fsync(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise error_of(code)
        original(file)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EBADF])
def test_file_systems_without_synchronization_of_folders(path, monkeypatch, code):
    fail_for_folders(monkeypatch, code)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_failed_synchronization_of_the_folder_raises(path, monkeypatch):
    path.write_bytes(b"old")
    fail_for_folders(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=rf"Input/output error: '{path}'$"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"new"  # complete, but perhaps not after a power cut
    assert names(path.parent) == [path.name]


def test_folder_that_cannot_be_read(path, monkeypatch):
    original = os.open

    def refuse_folders(name, *arguments):
        if Path(name).is_dir():
            raise error_of(errno.EACCES)
        return original(name, *arguments)

    monkeypatch.setattr(os, "open", refuse_folders)
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


# --- paths of users and the cache folder ---


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_atomic("~/a", b"new")
    write_atomic(Path("~", "b"), b"new")
    write_atomic("./~", b"new")
    write_atomic("~nobody-has-this-name", b"new")
    assert names(tmp_path) == ["a", "b", "~", "~nobody-has-this-name"]


@pytest.mark.parametrize("name", ["~", "~/net.safetensors"])
def test_home_of_a_user_without_home(homeless, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"the user has no home folder: '{name}'"):
        user_path(name)
    with pytest.raises(FileNotFoundError, match="no home folder"):
        write_atomic(name, b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("value", [None, "", "not/absolute"])
def test_cache_folder_is_below_home_by_default(tmp_path, monkeypatch, value):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert cache_folder() == tmp_path / ".cache" / "fastnn"


def test_cache_folder_of_a_user_without_home(homeless, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no home folder"):
        cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "fastnn"
