"""The columns of CSV files with a header: numbers, text and missing cells."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError
from fastnn.data import csv_columns as module
from fastnn.data.csv_columns import read_columns


@pytest.fixture
def csv(tmp_path):
    def write(text, name="x.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def plain(columns):
    return {name: values.tolist() for name, values in columns.values.items()}


def test_reads_numbers_text_and_missing_cells(csv):
    table = read_columns(
        csv('\ufeffage;city;score\r\n1;"Rome; Italy";0.5\r\n\r\n NA ; Oslo ;-2e3\r\nnull;;7\r\n')
    )
    found = plain(table)
    assert found["city"] == ["Rome; Italy", "Oslo", None]
    assert found["score"] == [0.5, -2000, 7]
    np.testing.assert_array_equal(table.values["age"], [1, np.nan, np.nan])
    assert table.mixed == {}


@pytest.mark.parametrize("compressed", [False, True])
def test_tables_of_numbers_use_the_kernel_and_equal_the_slow_parser(csv, compressed, monkeypatch):
    rng = np.random.default_rng(0)
    for cells in (rng.integers(0, 256, (50, 4)), rng.standard_normal((50, 4)) * 1e9):
        text = "a,b,c,d\n" + "\n".join(",".join(map(repr, row)) for row in cells.tolist())
        path = csv(gzip.compress(text.encode()) if compressed else text)
        fast = plain(read_columns(path))
        with monkeypatch.context() as patch:
            patch.setattr(module, "_all_numbers", lambda *arguments, **options: None)
            assert plain(read_columns(path)) == fast
        assert fast == {name: cells[:, i].tolist() for i, name in enumerate("abcd")}


def test_text_after_many_rows_of_numbers_is_found(csv, monkeypatch):
    """The kind of a column comes from all rows, and its text keeps the spelling of the file."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 3)
    rows = "".join(f"{n:03},{n}\n" for n in range(8))
    table = read_columns(csv(f"code,value\n{rows}x9,1\n"))
    assert table.mixed == {"code": "'x9' in row 9"}
    assert table.values["code"].tolist() == [*(f"{n:03}" for n in range(8)), "x9"]
    assert table.values["value"].tolist() == [*range(8), 1]
    assert read_columns(csv(f"code,value\n{rows}"), categorical=["code"]).values["code"][1] == "001"


def test_files_without_names_need_header_false(csv):
    with pytest.raises(DatasetError, match=r"the first line has only numbers, .*: pass --header false"):
        read_columns(csv("1,2\n3,4"))
    assert plain(read_columns(csv("1,2\n3,4"), header=False)) == {"1": [1, 3], "2": [2, 4]}
    assert plain(read_columns(csv("1,x\n3,y"), header=False)) == {"1": [1, 3], "2": ["x", "y"]}
    assert plain(read_columns(csv("2019,2020\n3,4"), header=True)) == {"2019": [3], "2020": [4]}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a,b\n1,2\n3\n", "row 2 of the data has 1 cells, but there are 2 columns"),
        ("a,b\n1,x\n3,4,5\n", "row 2 of the data has 3 cells, but there are 2 columns"),
        ("a,b,a\n1,2,3\n", "two columns are named 'a'"),
        ("a,b\n", "the file has no rows"),
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (b"a,b\n\xff\xfe,1\n", "is not text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "zero bytes"),
        (f"a,b\n{'x' * 200_000},1\n", "field larger than field limit"),
        (b"\x1f\x8bdamaged", "x.csv"),
    ],
)
def test_damaged_files_are_rejected(csv, text, match):
    with pytest.raises(DatasetError, match=match):
        read_columns(csv(text))


def test_a_missing_file_or_a_folder_is_rejected(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="no such file"):
        read_columns(tmp_path / "none.csv")
    with pytest.raises(DatasetError, match="not a regular file"):
        read_columns(Path(tmp_path))
