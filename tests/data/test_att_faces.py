"""`fn.data.att_faces`: the real files if present, and a folder that lacks some."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastnn as fn


def test_the_real_files_load():
    if "FASTNN_DATA" not in os.environ or not Path(os.environ["FASTNN_DATA"], "att_faces").is_dir():
        pytest.skip("the AT&T faces are looked for in $FASTNN_DATA/att_faces only")
    x, y = fn.data.att_faces()
    assert (x.shape, x.dtype, y.dtype) == ((400, 112, 92), np.uint8, np.int64)
    assert np.bincount(y).tolist() == [10] * 40


def test_people_are_numbered_by_their_folders(tmp_path):
    for number in range(40, 0, -1):
        (tmp_path / f"s{number}").mkdir()
        Image.new("L", (4, 6), number).save(tmp_path / f"s{number}" / "1.pgm")
    x, y = fn.data.att_faces(tmp_path, size=(3, 2))
    assert x.shape == (40, 3, 2)
    assert x[:, 0, 0].tolist() == list(range(1, 41))
    assert y.tolist() == list(range(40))
    (tmp_path / "s7" / "1.pgm").unlink()
    (tmp_path / "s7").rmdir()
    with pytest.raises(fn.DatasetNotFoundError, match=rf"not in {tmp_path}: there is no folder s7\. Unpack"):
        fn.data.att_faces(tmp_path)
