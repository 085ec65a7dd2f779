"""Which folders are private enough to load compiled code from: owners and modes up to the root."""

import os
import stat
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn.kernels.jit import numba_cache, private_folder
from fastnn.kernels.jit.private_folder import is_private

pwd = pytest.importorskip("pwd", reason="folders of Windows have no owners in numbers")
grp = pytest.importorskip("grp")

ME, ROOT, OTHER = 1000, 0, 1001
OWN_GROUP, SHARED_GROUP = 1000, 100


@pytest.fixture
def folder(tmp_path):
    """A folder three levels below one whose parents are private, whatever runs the tests."""
    folder = tmp_path / "home" / "cache" / "fastnn"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def owned(folder, monkeypatch):
    """A function: is the folder private if the last folders have these (owner, mode, group)?

    The files are not touched: tests need not run as root. All other parents belong to root.
    """
    original = os.lstat
    user = SimpleNamespace(pw_name="me", pw_gid=OWN_GROUP)
    groups = {
        OWN_GROUP: SimpleNamespace(gr_name="me", gr_gid=OWN_GROUP, gr_mem=[]),
        SHARED_GROUP: SimpleNamespace(gr_name="users", gr_gid=SHARED_GROUP, gr_mem=["me", "other"]),
    }
    monkeypatch.setattr(os, "getuid", lambda: ME)
    monkeypatch.setattr(pwd, "getpwuid", lambda user_id: user)
    monkeypatch.setattr(grp, "getgrgid", groups.__getitem__)

    def private(*folders, kind=stat.S_IFDIR):
        fakes = dict(zip((folder, *folder.parents), reversed(folders), strict=False))

        def lstat(path):
            status = original(path)
            owner, mode, group = (*fakes.get(path, (ROOT, 0o755)), OWN_GROUP)[:3]
            kind_of_path = kind if path == folder.parent else stat.S_IFDIR
            return os.stat_result((kind_of_path | mode, *status[1:4], owner, group, *status[6:]))

        monkeypatch.setattr(os, "lstat", lstat)
        return is_private(folder)

    return private


@pytest.mark.parametrize(
    ("folders", "private"),
    [
        ([(ME, 0o700)], True),
        ([(ME, 0o755)], True),
        ([(ME, 0o770)], False),
        ([(ME, 0o707)], False),
        ([(ME, 0o1777)], False),  # others could add files
        ([(ROOT, 0o755)], False),  # not ours: nothing can be written
        ([(OTHER, 0o700)], False),
        ([(ME, 0o700), (ME, 0o700)], True),
        ([(OTHER, 0o755), (ME, 0o700)], False),  # its owner can rename our folder
        ([(OTHER, 0o1777), (ME, 0o700)], False),  # so can the owner of a sticky folder
        ([(ROOT, 0o1777), (ME, 0o700)], True),  # such as /tmp
        ([(ME, 0o1777), (ME, 0o700)], True),
        ([(ROOT, 0o777), (ME, 0o700)], False),
        ([(ME, 0o777), (ME, 0o700)], False),
        ([(ROOT, 0o1777), (OTHER, 0o755), (ME, 0o700)], False),
        ([(ROOT, 0o777), (ME, 0o700), (ME, 0o700)], False),
        ([(ME, 0o777), (ME, 0o700), (ME, 0o700), (ME, 0o700)], False),
        ([(ME, 0o775), (ME, 0o700)], True),  # the umask 002 with a group for each user
        ([(ME, 0o775, SHARED_GROUP), (ME, 0o700)], False),
        ([(ME, 0o777, OWN_GROUP), (ME, 0o700)], False),
        ([(ME, 0o775, 12345), (ME, 0o700)], False),  # a group without a name
    ],
)
def test_owners_and_modes_of_all_parents_are_checked(owned, folders, private):
    assert owned(*folders) == private


def test_own_group_with_other_members_may_not_write(owned, monkeypatch):
    group = SimpleNamespace(gr_name="me", gr_gid=OWN_GROUP, gr_mem=["me", "other"])
    monkeypatch.setattr(grp, "getgrgid", lambda group_id: group)
    assert not owned((ME, 0o775), (ME, 0o700))


def test_user_without_an_entry_in_the_password_database(owned, monkeypatch):
    def missing(user_id):
        raise KeyError(user_id)

    monkeypatch.setattr(pwd, "getpwuid", missing)
    assert owned((ME, 0o700))
    assert not owned((ME, 0o775), (ME, 0o700))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFREG])
def test_parent_that_became_a_link_or_a_file(owned, kind):
    assert not owned((ME, 0o700), (ME, 0o700), kind=kind)


def test_the_profile_of_the_user_is_private_on_windows(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(private_folder, "IS_WINDOWS", True)
    monkeypatch.setattr(private_folder, "pwd", None)
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert is_private(folder)
    assert not is_private(tmp_path / "home2")
    (folder / "entry").write_bytes(b"")
    assert private_folder.is_own_file(folder / "entry")
    assert not private_folder.is_own_file(folder)


def test_missing_folder_is_not_private(folder):
    assert not is_private(folder / "missing")


def test_cache_folder_resolves_links(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "link"))
    assert numba_cache.cache_folder().is_relative_to(tmp_path / "real")


def test_no_cache_folder_below_one_that_others_can_write_to(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a" / "b"))
    assert numba_cache.cache_folder() is not None
    (tmp_path / "a").chmod(0o777)
    assert numba_cache.cache_folder() is None
    (tmp_path / "a").chmod(0o1777)
    assert numba_cache.cache_folder() is not None


def double(x, y):
    for i in range(x.size):
        y[i] = x[i] + x[i]


def run():
    """Call a freshly decorated kernel. True if it came from the cache."""
    kernel = numba_cache.kernel()(double)
    x, y = np.ones(3), np.empty(3)
    kernel(x, y)
    assert (y == 2).all()
    return bool(kernel.stats.cache_hits)


@pytest.fixture
def numba_folder(folder, monkeypatch):
    folder.chmod(0o700)
    monkeypatch.setattr(numba_cache, "FOLDER", folder)
    return folder


def test_parent_that_others_can_replace_after_the_import_is_noticed_at_each_load(numba_folder):
    """The attack: swap a parent for a folder with other pickles after the check at import."""
    assert not run()
    assert run()
    parent = numba_folder.parent.parent
    parent.chmod(0o777)
    before = sorted(numba_folder.rglob("*"))
    assert not run()
    assert sorted(numba_folder.rglob("*")) == before  # nothing is deleted or saved
    parent.chmod(0o755)
    assert run()


def test_parent_that_was_swapped_for_a_link_is_not_read(numba_folder):
    run()
    parent = numba_folder.parent
    parent.rename(parent.with_name("moved"))
    parent.symlink_to("moved")
    assert not run()


def test_nothing_is_unpickled_from_a_folder_that_is_not_private(numba_folder, monkeypatch):
    """Not even the index, which saving reads."""
    run()
    for index in numba_folder.rglob("*.nbi"):
        index.write_bytes(b"not read")
    monkeypatch.setattr(private_folder.os, "getuid", lambda: numba_folder.stat().st_uid + 1)
    assert not run()
    assert [index.read_bytes() for index in numba_folder.rglob("*.nbi")] == [b"not read"]


def test_folder_of_the_entries_is_private_whatever_the_umask(numba_folder):
    previous = os.umask(0)
    try:
        run()
    finally:
        os.umask(previous)
    (entries,) = (path for path in numba_folder.iterdir() if path.is_dir())
    assert stat.S_IMODE(entries.stat().st_mode) == 0o700
    assert run()


@pytest.mark.parametrize("kind", ["foreign", "link"])
def test_file_of_another_user_is_deleted_unread(numba_folder, monkeypatch, kind):
    """It may be left from a time when the folder was open to others."""
    run()
    (index,) = numba_folder.rglob("*.nbi")
    if kind == "link":
        index.rename(numba_folder.parent / "elsewhere")
        index.symlink_to(numba_folder.parent / "elsewhere")
    else:
        lstat = os.lstat

        def foreign(path):
            status = lstat(path)
            owner = status.st_uid + (path == index)
            return SimpleNamespace(st_mode=status.st_mode, st_uid=owner, st_gid=status.st_gid)

        monkeypatch.setattr(private_folder.os, "lstat", foreign)
    assert not run()
    assert not index.is_symlink()
    assert run() == (kind == "link")  # a new file took its place
