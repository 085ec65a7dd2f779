"""`fn.data.mnist` with CSV, .npz and .mat files, recognized by content; damaged and ambiguous files."""

import gzip
import importlib
import sys
import tracemalloc
import zipfile
from functools import partial

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError, mnist, write_idx

SIZES = (30, 20)


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    monkeypatch.setattr(
        importlib.import_module("fastnn.data.mnist"), "MIRRORS", None
    )  # would raise TypeError


@pytest.fixture
def parts():
    """A small MNIST in which the classes alternate, so that each part has all of them."""
    rng = np.random.default_rng(0)
    return tuple((rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n) % 10) for n in SIZES)


def assert_same(found, parts):
    for (x, y), (expected_x, expected_y) in zip(found, parts, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert x.flags.c_contiguous


def write_csv(path, x, y, header="", delimiter=","):
    table = np.column_stack([y, x.reshape(len(x), -1)])
    text = "".join(delimiter.join(map(str, row)) + "\n" for row in table)
    data = (header + text).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def by_name(parts, names=("x_train", "y_train", "x_test", "y_test")):
    return dict(zip(names, (array for part in parts for array in part), strict=True))


def savez(path, arrays, save=np.savez):
    """Write an archive under exactly this name; given a path, NumPy would add `.npz`."""
    with path.open("wb") as file:
        save(file, **arrays)
    return path


def by_digit(parts):
    return {
        f"{role}{digit}": x[y == digit].reshape(-1, 784)
        for role, (x, y) in zip(("train", "test"), parts, strict=True)
        for digit in range(10)
    }


def sorted_by_class(parts):
    return tuple((x[np.argsort(y, kind="stable")], np.sort(y)) for x, y in parts)


def savemat(path, arrays, **options):
    pytest.importorskip("scipy.io").savemat(path, arrays, appendmat=False, **options)
    return path


# --- CSV ---


@pytest.mark.parametrize("names", [("mnist_test.csv", "mnist_train.csv"), ("a", "b.dat"), ("b.gz", "a.txt")])
def test_two_csv_files_are_ordered_by_name_or_size(tmp_path, parts, names):
    """The names tell which file is the training set, or else the larger file is."""
    small, large = names
    write_csv(tmp_path / small, *parts[1])
    write_csv(tmp_path / large, *parts[0])
    (tmp_path / "README.txt").write_text("not, a, table of MNIST\n1, 2, 3\n")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder.csv").mkdir()
    assert_same(mnist(tmp_path), parts)


def test_names_take_precedence_over_sizes(tmp_path, parts):
    write_csv(tmp_path / "train.csv", *parts[1])
    write_csv(tmp_path / "test.csv", *parts[0])
    assert_same(mnist(tmp_path), parts[::-1])


def test_a_pair_of_csv_files_is_training_and_test_set(tmp_path, parts):
    files = [write_csv(tmp_path / f"{i}", *part) for i, part in enumerate(parts)]
    assert_same(mnist(tuple(files)), parts)
    assert_same(mnist((str(files[1]), str(files[0]))), parts[::-1])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_files_may_have_a_header_and_other_delimiters(tmp_path, parts, delimiter):
    header = delimiter.join(["label", *(f"{r}x{s}" for r in range(1, 29) for s in range(1, 29))]) + "\r\n"
    files = [write_csv(tmp_path / f"{i}", *part, header, delimiter) for i, part in enumerate(parts)]
    assert_same(mnist(tuple(files)), parts)


def test_the_default_folder_may_have_csv_files(tmp_path, parts, monkeypatch):
    monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    for name, part in zip(("mnist_train.csv", "mnist_test.csv"), parts, strict=True):
        write_csv(tmp_path / "mnist" / name, *part)
    assert_same(mnist(), parts)


def test_idx_files_take_precedence(tmp_path, parts):
    write_csv(tmp_path / "a.csv", *parts[1])
    names = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"]
    names += [name.replace("train", "t10k") for name in names]
    for name, array in zip(names, by_name(parts).values(), strict=True):
        write_idx(tmp_path / name, array.astype(np.uint8))
    assert_same(mnist(tmp_path), parts)
    with pytest.raises(DatasetError, match=f"one of four files of MNIST: pass their folder, {tmp_path}$"):
        mnist(tmp_path / names[0])


def test_errors_name_the_bad_cell(tmp_path, parts):
    good = write_csv(tmp_path / "good", *parts[0])
    x, y = parts[1]
    lines = write_csv(tmp_path / "bad", x, y).read_text().splitlines()
    cells = lines[4].split(",")
    for column, cell, message in [
        (9, "256", "line 5, column 10: '256' is not an integer from 0 to 255"),
        (783, "x", "line 5, column 784: 'x' is not a number"),
        (0, "10", r"labels must be digits from 0 to 9, not 10 \(at index 4\)"),
        (0, "-1", "labels must be digits from 0 to 9, not -1"),
        (0, "1.5", "labels must be integers"),
    ]:
        changed = ",".join([*cells[:column], cell, *cells[column + 1 :]])
        (tmp_path / "bad").write_text("\n".join([*lines[:4], changed, *lines[5:]]))
        with pytest.raises(DatasetError, match=message) as info:
            mnist((good, tmp_path / "bad"))
        assert "bad" in str(info.value)


def test_files_with_other_contents_are_rejected(tmp_path, parts):
    good = write_csv(tmp_path / "good.csv", *parts[0])
    with pytest.raises(DatasetError, match=r"has one part of MNIST: pass both files, as mnist\("):
        mnist(good)
    with pytest.raises(DatasetNotFoundError, match="none: no such file"):
        mnist((good, tmp_path / "none"))
    with pytest.raises(ValueError, match=r"path must be a pair of files, .* not 3 files"):
        mnist((good, good, good))
    without_label = tmp_path / "kaggle"
    np.savetxt(without_label, parts[1][0].reshape(20, -1), fmt="%d", delimiter=",")
    with pytest.raises(DatasetError, match=r"kaggle: images must be .* not \(20, 783\)"):
        mnist((good, without_label))
    with pytest.raises(DatasetError, match="kaggle is not a file of MNIST"):
        mnist(without_label)
    both = savez(tmp_path / "both", by_name(parts))
    with pytest.raises(DatasetError, match=r"both is a \.npz file, which has both parts"):
        mnist((good, both))


def test_ambiguous_folders_are_rejected(tmp_path, parts):
    write_csv(tmp_path / "a.csv", *parts[0])
    with pytest.raises(DatasetError, match=r"has a\.csv: it must have one \.npz, .* or two CSV files"):
        mnist(tmp_path)
    write_csv(tmp_path / "b.csv", *parts[0])
    with pytest.raises(DatasetError, match="30 images each, so it is unclear which is the training set"):
        mnist(tmp_path)
    np.savez(tmp_path / "c.npz", **by_name(parts))
    with pytest.raises(DatasetError, match=r"has c\.npz, a\.csv, b\.csv: it must have one"):
        mnist(tmp_path)


# --- .npz ---

TURNED = ("x_test", "y_test", "x_train", "y_train")


@pytest.mark.parametrize(
    ("names", "swapped"),
    [
        (("x_train", "y_train", "x_test", "y_test"), False),
        (TURNED, True),  # names take precedence over sizes
        (("training_images", "training_labels", "test_images", "test_labels"), False),
        (("arr_0", "arr_1", "arr_2", "arr_3"), False),  # the larger part is the training set
        (("d", "c", "b", "a"), False),
    ],
)
@pytest.mark.parametrize("compressed", [False, True])
def test_npz_archives_with_any_names(tmp_path, parts, names, swapped, compressed):
    savez(tmp_path / "anything", by_name(parts, names), np.savez_compressed if compressed else np.savez)
    for path in (tmp_path / "anything", tmp_path):
        assert_same(mnist(path), parts[::-1] if swapped else parts)


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x.reshape(-1, 784), y.astype(np.uint8)),
        lambda x, y: (x[..., np.newaxis], y[:, np.newaxis]),
        lambda x, y: (x / np.float32(255), np.eye(10)[y]),
        lambda x, y: (x / 255, y.astype(float)),
        lambda x, y: (np.round(x / 255, 6), y),  # as if read from a text file
        lambda x, y: (x.astype(np.float32), y[np.newaxis]),
        lambda x, y: (x.astype(np.int32), y.astype(">i2")),
        lambda x, y: (np.asfortranarray(x), y),
    ],
)
def test_other_shapes_dtypes_and_scales_give_the_same_arrays(tmp_path, parts, change):
    np.savez(tmp_path / "a.npz", **by_name([change(*part) for part in parts]))
    assert_same(mnist(tmp_path), parts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a.pop("y_test"),
            r"must have x_train .* not x_train \(30, 28, 28\), y_train \(30,\), ",
        ),
        (lambda a: a.clear(), "not nothing"),
        (
            lambda a: a.update(y_train=a["y_train"][1:]),
            r"y_train: there must be one label for each of 30 images",
        ),
        (
            lambda a: a.update(y_train=np.arange(30)),
            r"y_train: labels must be digits .* not 10 \(at index 10\)",
        ),
        (lambda a: a.update(y_train=np.full(30, np.nan)), "y_train: labels must be digits .* not nan"),
        (lambda a: a.update(y_test=np.full(20, 2.5)), "y_test: labels must be digits .* not 2.5"),
        (lambda a: a.update(y_train=np.array(["7"] * 30)), "y_train: labels must be numbers, not <U1"),
        (lambda a: a.update(y_train=np.array([None] * 30)), "Object arrays cannot be loaded"),
        (
            lambda a: a.update(x_test=a["x_test"] * 1.001),
            "x_test: pixels must be from 0 to 255, not from",
        ),
        (lambda a: a.update(x_test=a["x_test"] / 300), "x_test: pixels must be integers"),
        (lambda a: a.update(x_test=a["x_test"].astype(int) - 1), "pixels must be from 0 to 255, not from -1"),
        (lambda a: a.update(x_train=a["x_train"] * np.float32("nan")), "pixels must be from 0 to 255, not"),
        (lambda a: a.update(x_train=a["x_train"].astype("S1")), "x_train: pixels must be numbers, not"),
    ],
)
def test_invalid_archives_are_rejected(tmp_path, parts, change, message):
    arrays = by_name(parts)
    change(arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DatasetError, match=message) as info:
        mnist(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(info.value)


def test_archives_with_ambiguous_parts_are_rejected(tmp_path, parts):
    np.savez(tmp_path / "a.npz", **by_name([parts[1], parts[1]], ("a", "b", "c", "d")))
    with pytest.raises(DatasetError, match="neither names nor lengths tell the training set"):
        mnist(tmp_path)
    np.savez(tmp_path / "a.npz", **by_name([parts[1], parts[1]]))
    assert_same(mnist(tmp_path), [parts[1], parts[1]])


@pytest.mark.parametrize("keep", [4, 100, 5000, -1])
def test_damaged_archives_are_rejected(tmp_path, parts, keep):
    path = tmp_path / "a.npz"
    np.savez(path, **by_name(parts))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"a\.npz"):
        mnist(path)


def test_other_zip_files_are_not_taken_for_npz(tmp_path, parts):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("notes.txt", "no arrays here")
    with pytest.raises(DatasetError, match=r"a\.zip is not a file of MNIST"):
        mnist(tmp_path / "a.zip")
    savez(tmp_path / "b.npz", by_name(parts))
    with zipfile.ZipFile(tmp_path / "b.npz", "a") as archive:
        archive.writestr("README", "where the digits come from")
    assert_same(mnist(tmp_path), parts)


def test_npz_archives_inside_gzip_load(tmp_path, parts):
    path = savez(tmp_path / "a.npz", by_name(parts))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert_same(mnist(path), parts)


@pytest.mark.parametrize(
    "save", [partial(savez, save=np.savez_compressed), partial(savemat, do_compression=True)]
)
def test_bombs_are_rejected_before_they_are_unpacked(tmp_path, parts, monkeypatch, save):
    """The limit is lowered to 1 MiB, so that the test needs little memory."""
    monkeypatch.setattr(importlib.import_module("fastnn.data.mnist_formats"), "LIMIT", 1 << 20)
    path = save(tmp_path / "a", by_name([(x.reshape(-1, 784), y) for x, y in parts]))
    assert_same(mnist(path), parts)
    save(path, {**by_name(parts), "x_train": np.zeros((30_000, 784), np.uint8)})
    content = path.read_bytes()
    for packed in (content, gzip.compress(content), gzip.compress(bytes(1 << 24))):
        path.write_bytes(packed)
        tracemalloc.start()
        with pytest.raises(DatasetError, match=r"more than 104|a is not a file of MNIST"):
            mnist(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


# --- .mat ---


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_files_with_one_matrix_per_digit(tmp_path, parts, compressed):
    savemat(tmp_path / "mnist_all", by_digit(parts), do_compression=compressed)
    for path in (tmp_path / "mnist_all", tmp_path):
        assert_same(mnist(path), sorted_by_class(parts))


def test_mat_files_with_four_arrays(tmp_path, parts):
    arrays = by_name([(x.reshape(-1, 784), y) for x, y in parts])
    assert_same(mnist(savemat(tmp_path / "a.mat", arrays)), parts)


def test_mat_files_with_missing_or_unknown_digits_are_rejected(tmp_path, parts):
    arrays = by_digit(parts)
    del arrays["test7"]
    with pytest.raises(DatasetError, match=r"a: missing are test7: the file must have a matrix"):
        mnist(savemat(tmp_path / "a", arrays))
    arrays = {**by_digit(parts), "train10": arrays["train0"]}
    with pytest.raises(DatasetError, match="a has train10, but the digits are only 0 to 9"):
        mnist(savemat(tmp_path / "a", arrays))
    arrays = {**by_digit(parts), "train3": arrays["train3"][:, 1:]}
    with pytest.raises(DatasetError, match=r"a, train3: images must be .* not \(3, 783\)"):
        mnist(savemat(tmp_path / "a", arrays))


@pytest.mark.parametrize("compressed", [False, True])
def test_unreadable_mat_files_are_rejected(tmp_path, parts, compressed):
    path = savemat(tmp_path / "a.mat", by_digit(parts), do_compression=compressed)
    content = path.read_bytes()
    for keep in (20, 127, 128, 5000, len(content) - 7):
        path.write_bytes(content[:keep])
        with pytest.raises(DatasetError, match=r"a\.mat"):
            mnist(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64" + content[38:])
    with pytest.raises(DatasetError, match=r"files of MATLAB 7\.3 are not supported: save it .* -v7"):
        mnist(tmp_path)


def test_reading_mat_files_does_not_need_scipy(tmp_path, parts, monkeypatch):
    path = savemat(tmp_path / "a.mat", by_digit(parts))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert_same(mnist(path), sorted_by_class(parts))
