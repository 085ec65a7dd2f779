"""Load the AT&T faces, 400 grey pictures of 40 people (Samaria and Harter 1994), from a local folder."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastnn.data.errors import DatasetNotFoundError
from fastnn.data.folders import default_folder
from fastnn.data.images import image_folder

SIZE = (112, 92)  # of the files
PEOPLE = [f"s{number}" for number in range(1, 41)]


def att_faces(
    folder: str | os.PathLike[str] | None = None, *, size: tuple[int, int] = SIZE
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Load the AT&T faces: 10 pictures of each of 40 people.

    Args:
        folder: Folder with the sub-folders s1 to s40 of .pgm files. Default: $FASTNN_DATA/att_faces, or else
            fastnn/att_faces in the user's cache folder.
        size: (H, W) to resize the pictures to. Default: their own size.

    Returns:
        (x, y): pictures x, uint8 (400, H, W), and people y, int64 (400,), from 0 to 39.

    Raises:
        DatasetNotFoundError: If a sub-folder is missing.
        DatasetError: If a picture is damaged.
        ValueError: If `size` is invalid.
        ImportError: If Pillow is missing.
    """
    source = default_folder("att_faces") if folder is None else Path(folder)
    if missing := [name for name in PEOPLE if not (source / name).is_dir()]:
        raise DatasetNotFoundError(
            f"the AT&T faces are not in {source}: there is no folder {missing[0]}. Unpack att_faces.zip "
            "(https://cam-orl.co.uk/facedatabase.html) there, or set FASTNN_DATA to the folder "
            "that has the files in att_faces/"
        )
    x, y, _ = image_folder(source, size=size, classes=PEOPLE, grey=True, progress=False)
    return x, y
