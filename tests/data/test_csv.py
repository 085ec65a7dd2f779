"""`fn.data.read_csv`: accepted files, and errors that name the line and column of a bad cell."""

import gzip
import importlib
import os

import numpy as np
import pytest

import fastnn as fn
from fastnn.data import DatasetError, DatasetNotFoundError, read_csv
from fastnn.kernels.jit import csv_cells
from tests.systems import needs_pipes

csv_module = importlib.import_module("fastnn.data.csv")


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
        assert read_csv(csv(f"1,255\n2,{cell}"), label=0)[0].dtype == np.float32


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
    table = np.arange(1, 21).reshape(4, 5)
    x, y = read_csv(csv("\n".join(",".join(map(str, row)) for row in table)), label=label)
    assert np.array_equal(y, table[:, label])
    assert np.array_equal(x, np.delete(table, label, axis=1))


@pytest.mark.parametrize("column", range(1, 6))
def test_256_is_rejected_for_uint8_in_any_column(csv, column):
    cells = ["3", *("255" if place != column else "256" for place in range(1, 6))]
    file = csv(",".join(cells) + "\n" + ",".join(["3"] * 6) + "\n")
    with pytest.raises(DatasetError, match=rf"line 1, column {column + 1}: '256' is not an integer"):
        read_csv(file, dtype=np.uint8)
    x, _ = read_csv(file, label=0)
    assert x.dtype == np.float32
    assert x[0, column - 1] == 256


def test_pieces_of_any_length_give_the_same_table(csv, monkeypatch):
    path = csv("\n".join(f"{row % 10},{row % 256},{row % 7}.5" for row in range(500)))
    whole = read_csv(path, label=0)
    for piece in (1, 2, 3, 7, 64):
        monkeypatch.setattr("fastnn.data.csv.PIECE", piece)
        for a, b in zip(read_csv(path, label=0), whole, strict=True):
            np.testing.assert_array_equal(a, b)


# --- the first line ---


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b,c\n1,2,3", ["a", "b", "c"]),
        ("0,1,2\n1,2,3", None),  # pandas names columns 0, 1, 2, ...
        ("label,0,1,2\n1,2,3,4", ["label"]),
        ("0,1,2,label\n1,2,3,4", ["label"]),
        ("label,1,2,3\n1,2,3,4", ["label"]),
        ('"a, b",c,"d"\n1,2,3', ["a, b", "c", "d"]),
        ("\ufeffa,b,c\r\n1,2,3\r\n", ["a", "b", "c"]),
        ("\n\r\n  \na,b,c\n1,2,3", ["a", "b", "c"]),
        ("a,b,c\r1,2,3\r", ["a", "b", "c"]),
    ],
)
def test_headers_are_recognized(csv, text, names):
    path = csv(text)
    x, y = read_csv(path)
    assert y.tolist() == [1]
    assert x.tolist() == [[2, 3, 4][: x.shape[1]]]
    for name in names or ():
        assert read_csv(path, label=name, dtype=np.float64)[1].shape == (1,)


def test_first_lines_of_numbers_are_samples(csv):
    for text in ("1,2,3\n4,5,6", "\ufeff1,2,3\n4,5,6", '"1",2,3\n4,5,6', "\n1,2,3\r\n\n4,5,6\n\n"):
        assert read_csv(csv(text))[1].tolist() == [1, 4]
    assert read_csv(csv("0,1,2\n3,4,5"), header=False)[1].tolist() == [0, 3]
    assert read_csv(csv("2019,2020\n1,2"), header=True)[1].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2,x\n4,5,6", r"line 1, column 3: 'x' is not a number, but other cells of this line are numbers"),
        ("1,,3\n4,5,6", r"line 1, column 2: the cell is empty, but other cells"),
        ("0,1,2,\n4,5,6,", r"line 1, column 4: the cell is empty, but other cells"),
        ("1,2,3,\n4,5,6,", r"line 1, column 4: the cell is empty, but other cells"),
        (",,\n4,5,6", r"line 1, column 1: the cell is empty$"),
        ("setosa,5.1\n1,2", r"line 1, column 1: 'setosa' is not a number"),
        ("\n\nx,0,1\n1,2,3", r"line 3, column 1: 'x' is not a number"),
        ("x,nan,y\n1,2,3", r"column 1: 'x' is not a number, .*: pass header=True if they are names"),
        ("0,1\n1,0", "line 1, '0,1', may be a header or a sample: pass header=True or header=False"),
        ('"1,000",2\n3,4', r"column 1: '1,000' is not a number"),
        ("1,5;2,5\n3,5;4,5", r"line 1, column 2: '5;2' is not a number"),
        ("\n \n", "all lines are blank"),
        ("1," * (1 << 20) + "1", "line 1 has more than 1048576 columns"),
        ("x" * 200_000 + ",y", "not a CSV file: line 1: field larger"),
        ("a,b\n1,2".encode("utf-16"), "zero bytes"),
    ],
)
def test_unclear_first_lines_are_rejected(csv, text, match):
    with pytest.raises(DatasetError, match=match):
        read_csv(csv(text))


def test_header_must_be_a_bool_or_none(csv):
    with pytest.raises(TypeError, match="header must be True, False or None, not 0"):
        read_csv(csv("1,2"), header=0)


# --- labels ---


@pytest.mark.parametrize("cell", ["1e20", "-1e20", "9007199254740993", "1e300", "inf", "nan", "0.5"])
def test_labels_that_int64_or_float64_cannot_hold_are_rejected(csv, cell):
    with pytest.raises(DatasetError, match=r"labels must be integers below 2\^53, but row 2 of the data has"):
        read_csv(csv(f"1,2,3\n4,5,{cell}"), label=2)


def test_labels_may_be_negative_or_written_as_floats(csv):
    assert read_csv(csv("-1,2.5\n1.0,3\n1e3,4"), label=0)[1].tolist() == [-1, 1, 1000]


def test_column_0_of_floats_is_not_taken_for_labels_silently(csv):
    for cell in ("5.0", "1e0", "1.000000000000000000e+00"):
        for text in (f"{cell},2.5\n2.0,3.5", f"age,b\n\n{cell},2\n2.0,3"):
            with pytest.raises(DatasetError, match=r"labels must be integers, but row 1 .*: pass label=0 if"):
                read_csv(csv(text))
            assert read_csv(csv(text), label=0)[1][1] == 2
    with pytest.warns(UserWarning, match=r"column 1 \('age'\) is taken for the labels: pass label=0 if"):
        read_csv(csv("age,b\n63,2.5\n37,3.5"))
    with pytest.warns(UserWarning, match="column 1 is taken for the labels"):
        read_csv(csv("63,2.5\n37,3.5"))
    assert read_csv(csv("Label,b\n1,2.5"))[1].tolist() == [1]


def test_row_numbers_of_pandas_are_not_taken_for_labels_or_features_silently(csv):
    for name in ("", "Unnamed: 0"):
        path = csv(f"{name},kind,b\n0,1,2\n1,0,5\n")
        with pytest.raises(DatasetError, match=r"seems to have row numbers, not labels: .* index=False"):
            read_csv(path)
        with pytest.warns(UserWarning, match="becomes a feature, although its name is the one of pandas'"):
            read_csv(path, label="kind")
        assert read_csv(path, label=0)[1].tolist() == [0, 1]


def test_a_name_that_two_columns_have_is_rejected_as_label(csv):
    with pytest.raises(ValueError, match="has 2 columns 'a': the columns are a, b, a"):
        read_csv(csv("a,b,a\n1,2,3"), label="a")


def test_text_columns_are_named(csv):
    match = r"line 2, column 3 \('species'\): 'setosa' is not a number: number the names with np\.unique\("
    for label in (0, "species"):
        with pytest.raises(DatasetError, match=match):
            read_csv(csv("n,width,species\n1,2,setosa"), label=label)


# --- cells ---


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('"1,000",2', "line 2 has more than 2 cells"),
        ('1,"2', "column 2 .*: '\"2' is not a number"),
        ("1,2 3", "'2 3' is not a number"),
        ("1,0x10", "'0x10' is not a number"),
        ("1,1e", "'1e' is not a number"),
        ("1,1e39", r"'1e39' is too large for float32: pass dtype=np\.float64"),
        ("1,-1e400x", "not a number"),
        ("1,é", "'é' is not a number"),
        ("1,\0", "not a number"),
        ("1," + "9" * 100 + "z", "'9{40}\\.\\.\\.' is not a number"),
    ],
)
@pytest.mark.parametrize("before", [0, 3000])
def test_bad_cells_are_named_wherever_they_are(csv, line, match, before):
    """The lines before are parsed by Python in blocks, because of their exponents."""
    text = "a,b\n" + "1,1e-30\n" * before + line + "\n"
    with pytest.raises(DatasetError, match=match.replace("line 2", f"line {before + 2}")) as info:
        read_csv(csv(text), label=0)
    assert f"line {before + 2}" in str(info.value)


def test_tabs_delimit_empty_cells(csv):
    for row in ("4\t\t6", "\t5\t6", "4\t5\t"):
        with pytest.raises(DatasetError, match=r"line 2, column .: the cell is empty"):
            read_csv(csv("1\t2\t3\n" + row))
    with pytest.raises(DatasetError, match="line 2 has more than 3 cells"):
        read_csv(csv("1\t2\t3\n4\t\t6\t7"))
    assert read_csv(csv("1\t2\t 3\n4\t5 \t6"))[0].tolist() == [[2, 3], [5, 6]]


def test_cells_that_need_python_are_read_in_place(csv):
    rng = np.random.default_rng(0)
    table = rng.choice([1.0, 0.1, 1e-30, 1e30, 1 / 3, np.inf, np.nan], (2000, 7))
    table[:, 3] = rng.integers(0, 5, len(table))
    lines = [",".join(map(repr, row)) for row in table.tolist()]
    lines[5:5] = ["", " \t "]
    x, y = read_csv(csv("\n".join(lines)), label=3, dtype=np.float64, header=False)
    np.testing.assert_array_equal(x, np.delete(table, 3, axis=1))
    np.testing.assert_array_equal(y, table[:, 3])


# --- large and hostile files ---


def test_gzip_files_unpack_to_a_bounded_size(csv, monkeypatch):
    monkeypatch.setattr("fastnn.data.unpacking.USUAL_SIZE", 1 << 20)
    lines = b"1,2\n" * (1 << 18)
    assert len(read_csv(csv(gzip.compress(lines)))[1]) == 1 << 18
    path = csv(gzip.compress(lines + b"1,2\n"))
    match = rf"x.csv, a file of {path.stat().st_size} bytes, has more than 1048576 bytes when unpacked"
    with pytest.raises(DatasetError, match=match):
        read_csv(path)
    assert len(read_csv(csv(lines + b"1,2\n"))[1]) == (1 << 18) + 1  # plain files may have any size


def test_many_blank_lines_below_many_columns_take_little_memory(csv):
    """A row for every line would take 100,000 * 100,000 bytes."""
    row = b",".join([b"1"] * 100_000)
    x, _ = read_csv(csv(row + b"\n" * 100_000 + row))
    assert x.shape == (2, 99_999)
    assert x.base.nbytes < 1 << 20


def test_every_cell_is_visited_a_bounded_number_of_times(csv, monkeypatch):
    """Cells that the kernel leaves to Python once took a time proportional to the square of the file."""
    calls = []
    read_lines = csv_module._Reader._read_lines
    monkeypatch.setattr(
        csv_module._Reader, "_read_lines", lambda self, *args: calls.append(1) or read_lines(self, *args)
    )
    many = 50_000
    for text in ("1e-30\n" * many, "1e-30," * many + "1\n" + "1e-30," * many + "1"):
        calls.clear()
        x, _ = read_csv(csv(text), label=None)
        assert x.size >= many
        assert len(calls) < len(text) / 1000


@needs_pipes
def test_a_pipe_is_rejected_without_blocking(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DatasetError, match="not a regular file"):
        read_csv(tmp_path / "pipe")


# --- the kernel ---


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


@pytest.mark.parametrize(
    ("label", "hint"),
    [
        ("Target", r" \(did you mean 'target'\?\)"),
        ("speces", r" \(did you mean 'Species'\?\)"),
        ("widht", r" \(did you mean 'width 2' or 'width 1'\?\)"),
        ("zzz", ""),
    ],
)
def test_a_missing_label_column_is_answered_with_the_nearest_names(label, hint, tmp_path):
    (tmp_path / "table.csv").write_text("width 1,width 2,Species,target\n1,2,3,4\n")
    with pytest.raises(ValueError, match=f"has no column '{label}'{hint}: the columns are width 1, width 2"):
        read_csv(tmp_path / "table.csv", label=label)
