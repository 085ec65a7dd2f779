"""Locate the default folder of a data set."""

import os
from pathlib import Path

from fastnn.files import cache_folder


def default_folder(name: str) -> Path:
    """Return $FASTNN_DATA/<name>, or else fastnn/<name> in the user's cache folder."""
    if data := os.environ.get("FASTNN_DATA"):
        return Path(data, name)
    return cache_folder() / name
