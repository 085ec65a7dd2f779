"""CSV files that are odd: huge cells, zero bytes, quotes, line ends, encodings."""

import time

import numpy as np
import pytest

import fastnn as fn

LONG = 20_000_000


@pytest.fixture
def read(tmp_path):
    """A function: read the content of a CSV file whose column 0 has the labels."""

    def read(content, **options):
        (tmp_path / "a.csv").write_bytes(content)
        return fn.data.read_csv(tmp_path / "a.csv", **{"label": 0, **options})

    read(b"1,2\n3,4\n")  # compiles the kernel
    return read


@pytest.mark.parametrize(
    "cell",
    [b"7" * LONG, b"0." + b"0" * LONG, b'"' * LONG, b"x" * LONG, b"1e" + b"9" * LONG, b'"' + b"7" * LONG],
)
def test_a_huge_cell_is_rejected_at_once(read, cell):
    start = time.process_time()
    with pytest.raises(fn.DatasetError, match=r"line 2, column 2: .{40,50} has more than 1,000 characters"):
        read(b"1,2\n3," + cell + b"\n5,6\n")
    assert time.process_time() - start < 5


def test_long_cells_that_are_numbers_are_read(read):
    x, _ = read(b"1,2\n3,0." + b"0" * 500 + b"7\n5," + b" " * 5000 + b"6\n", dtype=np.float64)
    assert x.ravel().tolist() == [2, 0, 6]
    x, _ = read(b"1,0." + b"3" * 767 + b"\n")
    assert x.ravel().tolist() == [np.float32(1 / 3)]


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_a_number_too_large_for_floats_is_not_read_as_infinite(read, dtype):
    for cell in (b"1e400", b"-1e999", b"9" * 400, b'"1e400"'):
        with pytest.raises(fn.DatasetError, match=r"line 2, column 2: .* is too large for float64"):
            read(b"1,2.5\n3," + cell + b"\n", dtype=dtype)
    x, _ = read(b"1,2.5\n3,inf\n4,-Infinity\n5,nan\n", dtype=dtype)
    assert x.ravel().tolist()[:3] == [2.5, np.inf, -np.inf]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1,2\n" + b"," * 10**6 + b"\n", "line 2 has more than 2 cells, but the first line has 2"),
        (b"," * 10**6 + b"\n", "line 1, column 1: the cell is empty"),
        (b"," * 2 * 10**6 + b"\n", "line 1 has more than 1048576 columns"),
        (b"1,2\n3,\x004\n", r"line 2, column 2: '\\x004' is not a number"),
        (b"1,2\n" + b"\0" * 10**6, "line 2 has 1 cell, but the first line has 2"),
        (b'1,2\n"3,4\n5,6\n', "line 2, column 1: '\"3' is not a number"),
        (b'1,2\n3",4\n5,6\n', "line 2, column 1: '3\"' is not a number"),
        (b'1,2\n"3\n",4\n5,6\n', "line 2 has 1 cell, but the first line has 2"),
        (b"1,2\r\n3,4\n5,6\r7,8\n", "line 3 has more than 2 cells"),
        ("1,2\n3,4\n".encode("utf-16"), "zero bytes: is it UTF-16. Save it as UTF-8"),
        ("label,a\n3,4\n".encode("utf-16-be"), "zero bytes: is it UTF-16. Save it as UTF-8"),
        ("1,2\n3,4\n".encode("utf-32"), "zero bytes: is it UTF-16. Save it as UTF-8"),
        (
            b"1;2,5\n3;4,5\n",
            "column 1: '1;2' is not a number: pass delimiter=';', if that separates the cells",
        ),
        (b'1,2\n3,"4,5"\n', "line 2 has more than 2 cells"),
        (b"1;2\n3;4,5\n", "line 2, column 2: '4,5' is not a number: write it with a decimal point"),
        (b"1,2\n3,4\n\x1a", "line 3 has 1 cell, but the first line has 2"),
    ],
)
def test_an_odd_file_is_an_error_that_names_the_place(read, content, words):
    with pytest.raises(fn.DatasetError, match=words):
        read(content)


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf1,2\n3,4\n",
        b"1,2\r\n3,4\r\n",
        b"1,2\r3,4\r",
        b"1,2\r\r\n3,4\r\r\n",
        b"1,2\n\n\r\n3,4",
        b"\n" * 10**6 + b"1,2\n" + b"\n" * 10**6 + b"3,4\n",
        b'"1","2"\n"3","4"\n',
        b" 1 ,\t2\n3 , 4 \n",
    ],
)
def test_marks_blank_lines_quotes_and_line_ends_are_ignored(read, content):
    x, y = read(content, delimiter=",")
    assert (x.tolist(), y.tolist()) == ([[2], [4]], [1, 3])
