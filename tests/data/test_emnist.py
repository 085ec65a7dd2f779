"""`fn.data.emnist`: names of files and folders, upright images, labels from 1."""

import gzip

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import DatasetError, DatasetNotFoundError, emnist, write_idx

X = np.random.default_rng(0).integers(0, 256, (52, 28, 28), np.uint8)
Y = (np.arange(52) % 26 + 1).astype(np.uint8)


def write(folder, split="letters", y=Y, packed=False):
    folder.mkdir(exist_ok=True, parents=True)
    for role in ("train", "test"):
        for name, array in (("images-idx3", X.transpose(0, 2, 1)), ("labels-idx1", y)):
            file = folder / f"emnist-{split}-{role}-{name}-ubyte"
            write_idx(file, np.ascontiguousarray(array))
            if packed:
                file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
                file.unlink()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", [".", "gzip"])
def test_a_split_loads_upright_from_the_folder_or_its_folder_gzip(packed, place, tmp_path, monkeypatch):
    write(tmp_path / "emnist" / place, packed=packed)
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    for parts in (emnist("letters"), emnist("letters", tmp_path / "emnist")):
        for x, y in parts:
            np.testing.assert_array_equal(x, X)
            np.testing.assert_array_equal(y, Y)
            assert (x.dtype, y.dtype, x.flags.c_contiguous) == (np.uint8, np.int64, True)


def test_letters_counted_from_1_train_a_model_of_26_outputs(tmp_path):
    write(tmp_path)
    (x, y), _ = emnist("letters", tmp_path)
    model = fn.Sequential(fn.Flatten(), fn.Linear(784, 26))
    fn.fit(model, (x, y))
    assert model.classes.tolist() == list(range(1, 27))


def test_missing_files_and_unknown_splits_are_named(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="emnist-balanced-train-images-idx3-ubyte is missing"):
        emnist(path=tmp_path)
    with pytest.raises(ValueError, match="unknown split 'letter': choose one of balanced, byclass"):
        emnist("letter", tmp_path)


def test_labels_beyond_the_split_are_rejected(tmp_path):
    write(tmp_path, "digits")
    with pytest.raises(DatasetError, match="labels must be from 0 to 9, not 26"):
        emnist("digits", tmp_path)
