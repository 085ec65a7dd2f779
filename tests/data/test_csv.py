"""`fn.data.read_csv`: accepted files, and errors that name the line and column of a bad cell."""

import gzip

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import DatasetError, DatasetNotFoundError, read_csv
from fastnn.kernels.jit import csv_cells


@pytest.fixture
def csv(tmp_path):
    def write(text, name="x.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_reads_pixels_with_the_label_in_the_first_column(csv):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (200, 30)), rng.integers(0, 10, 200)
    rows = "\n".join(",".join(map(str, row)) for row in np.column_stack((y, x)).tolist())
    for text in (rows, rows + "\n", rows.replace("\n", "\r\n"), gzip.compress(rows.encode())):
        features, labels = read_csv(csv(text))
        assert (features.dtype, labels.dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(features, x)
        np.testing.assert_array_equal(labels, y)


@pytest.mark.parametrize("label", [2, -1, "kind"])
def test_reads_floats_below_a_header(csv, label):
    path = csv('a;b;kind\n 1.5 ; -2e-3;1\n\n"7";+.5;0\n1e300;12345678901234567890;2')
    x, y = read_csv(path, label=label, dtype=np.float64)
    np.testing.assert_array_equal(x, [[1.5, -2e-3], [7, 0.5], [1e300, 12345678901234567890.0]])
    np.testing.assert_array_equal(y, [1, 0, 2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_equal_those_of_python(csv, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 7)) * 10.0 ** rng.integers(-30, 30, (300, 7))
    for form in (repr, lambda value: f"{value:.3f}", lambda value: f"{value:.17e}"):
        cells = [[form(float(value)) for value in row] for row in x]
        found, none = read_csv(csv("\n".join(map(",".join, cells))), label=None, dtype=dtype)
        assert none is None
        np.testing.assert_array_equal(found, np.array(cells, np.float64).astype(dtype))


def test_the_default_dtype_depends_on_the_cells(csv):
    assert read_csv(csv("1,255\n2,0"))[0].dtype == np.uint8
    for cell in ("256", "-1", "0.5"):
        assert read_csv(csv(f"1,255\n2,{cell}"))[0].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "options", "match"),
    [
        ("1,2,3\n4,12a,6", {}, r"line 2, column 2: '12a' is not a number"),
        ("1,2,3\n\n4,,6", {}, r"line 3, column 2: the cell is empty"),
        ("1,2,3\n4,5", {}, r"line 2 has 2 cells, but the first line has 3"),
        ("1,2,3\n4,5\n6,7,8", {}, r"line 2 has 2 cells, but the first line has 3"),
        ("1,2,3\n4,5,6,7", {}, r"line 2 has more than 3 cells"),
        ("1,2,3\n4,5,", {}, r"line 2, column 3: the cell is empty"),
        ("1,2\n3,300", {"dtype": np.uint8}, r"line 2, column 2: '300' is not an integer from 0 to 255"),
        ("1,2\n3,1_0", {}, r"line 2, column 2: '1_0' is not a number"),
        ("1.5,2", {}, r"labels must be integers, but row 1 of the data has 1\.5 in column 1"),
        ("nan,2", {}, r"labels must be integers"),
        ("a,b", {}, "no line of numbers"),
        ("", {}, "the file is empty"),
        (b"PK\x00\x01,2", {}, "zero bytes"),
        (b"\x1f\x8b\x08broken", {}, r"x\.csv"),
    ],
)
def test_errors_name_line_and_column(csv, text, options, match):
    with pytest.raises(DatasetError, match=match):
        read_csv(csv(text), **options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"label": 3}, ValueError, "a column from 0 to 1, not 3"),
        ({"label": "kind"}, ValueError, "has no header with a column 'kind'"),
        ({"label": 1.5}, TypeError, "the index or the name of a column"),
        ({"dtype": np.int32}, ValueError, "dtype must be uint8, float32 or float64"),
        ({"delimiter": "|"}, ValueError, "delimiter must be one of"),
    ],
)
def test_invalid_arguments_are_rejected(csv, options, error, match):
    with pytest.raises(error, match=match):
        read_csv(csv("1,2\n3,4"), **options)


def test_a_missing_file_raises(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        fn.data.read_csv(tmp_path / "none.csv")


@pytest.mark.parametrize("label", range(-5, 5))
def test_the_label_may_be_in_any_column(csv, label):
    table = np.arange(20).reshape(4, 5)
    x, y = read_csv(csv("\n".join(",".join(map(str, row)) for row in table)), label=label)
    assert np.array_equal(y, table[:, label])
    assert np.array_equal(x, np.delete(table, label, axis=1))


@pytest.mark.parametrize("column", range(1, 6))
def test_256_is_rejected_for_uint8_in_any_column(csv, column):
    cells = ["3", *("255" if place != column else "256" for place in range(1, 6))]
    file = csv(",".join(cells) + "\n" + ",".join(["3"] * 6) + "\n")
    with pytest.raises(DatasetError, match=rf"line 1, column {column + 1}: '256' is not an integer"):
        read_csv(file, dtype=np.uint8)
    x, _ = read_csv(file)
    assert x.dtype == np.float32
    assert x[0, column - 1] == 256


def test_pieces_of_any_length_give_the_same_table(csv, monkeypatch):
    path = csv("\n".join(f"{row % 10},{row % 256},{row % 7}.5" for row in range(500)))
    whole = read_csv(path)
    for piece in (1, 2, 3, 7, 64):
        monkeypatch.setattr("fastnn.data.csv.PIECE", piece)
        for a, b in zip(read_csv(path), whole, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "label must be a column"),
        ({"label": -2}, "label must be a column"),
        ({"labels": np.empty(0)}, "one element per row"),
        ({"state": [-1, 0, 0]}, "state must be"),
        ({"state": [9, 0, 0]}, "state must be"),
        ({"state": [0, 2, 0]}, "state must be"),
        ({"state": [0, 1, 1]}, "state must be"),
        ({"state": [0, 0, 3]}, "state must be"),
        ({"state": [0, 0, -1]}, "state must be"),
    ],
)
def test_the_kernel_rejects_arguments_beyond_its_arrays(change, message):
    text, table = np.frombuffer(b"1,2\n3,4\n", np.uint8), np.empty((1, 1))

    def parse(label=0, labels=None, state=(0, 0, 0)):
        labels = np.empty(1) if labels is None else labels
        return csv_cells.parse(text, 8, ord(","), label, False, table, labels, np.array(state))

    with pytest.raises(ValueError, match=message):
        parse(**change)
    assert parse() == csv_cells.DONE
