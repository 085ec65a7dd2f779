"""Check that no other user can put files into a folder, or another folder in its place.

The rules are those of OpenSSH (StrictModes) and sudo, extended by sticky folders such as /tmp. Windows has
access control lists instead of owners and modes; by default only the user can write to the user's profile.
"""

import os
import stat
from pathlib import Path

try:
    import grp
    import pwd
except ImportError:  # Windows
    grp = pwd = None

IS_WINDOWS = os.name == "nt"

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH  # with POSIX ACLs, the group bits are the mask of all entries


def is_private(folder):
    """Return whether only this user and root can change what the absolute path `folder` leads to.

    The folder must belong to the user, and nobody else may write to it. Each parent up to the root must
    belong to the user or to root, because owners can rename its entries. Others may write to a parent only if
    it is sticky, so that they cannot rename the entry that leads to the folder, or if its group has no member
    but the user. Symbolic links are not followed: the path must be resolved. On Windows, the folder must be
    in the user's profile.
    """
    if IS_WINDOWS:
        return folder.is_relative_to(Path(os.path.expanduser("~")).resolve())
    try:
        folders = [os.lstat(path) for path in (folder, *folder.parents)]
    except OSError:
        return False
    me = os.getuid()
    if folders[0].st_uid != me or folders[0].st_mode & OTHERS_WRITE:
        return False
    return all(
        stat.S_ISDIR(status.st_mode)
        and status.st_uid in (0, me)
        and (not status.st_mode & OTHERS_WRITE or status.st_mode & stat.S_ISVTX or _only_own_group(status))
        for status in folders
    )


def is_own_file(path):
    """Return whether `path` is a regular file of this user, and no link.

    A file of another user may be left from a time when the folder was not private.
    """
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and (IS_WINDOWS or status.st_uid == os.getuid())


def _only_own_group(status):
    """Return whether just the group may write, and is the user's own: many systems make a group per user."""
    if status.st_mode & stat.S_IWOTH:
        return False
    try:
        user, group = pwd.getpwuid(os.getuid()), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    return (user.pw_gid, user.pw_name) == (group.gr_gid, group.gr_name) and set(group.gr_mem) <= {
        user.pw_name
    }
