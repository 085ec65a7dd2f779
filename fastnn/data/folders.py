"""Locate the default folder of a data set."""

import os
from pathlib import Path

from fastnn.data.errors import DatasetNotFoundError
from fastnn.files import cache_folder, user_path


def default_folder(name: str) -> Path:
    """Return $FASTNN_DATA/<name>, or else fastnn/<name> in the user's cache folder.

    Raises DatasetNotFoundError if there is neither, because the user has no home folder.
    """
    if data := os.environ.get("FASTNN_DATA"):
        return user_path(data) / name
    try:
        return cache_folder() / name
    except FileNotFoundError as error:
        raise DatasetNotFoundError(
            f"the data set {name} has no default folder, because the user has no home folder: pass its "
            "folder, or set FASTNN_DATA or XDG_CACHE_HOME"
        ) from error
