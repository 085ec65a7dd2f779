"""The columns of CSV files with a header: numbers, text and missing cells."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError, csv_rows
from fastnn.data import csv_columns as module
from fastnn.data.csv_columns import read_columns


@pytest.fixture(autouse=True, params=["compiled", "csv"])
def parser(request, monkeypatch):
    """Each test runs with the compiled parser and with the module `csv`, which reads small files."""
    monkeypatch.setattr(module, "LARGE", 0 if request.param == "compiled" else 1 << 60)
    return request.param


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
    monkeypatch.setattr(csv_rows, "ROWS_AT_ONCE", 3)
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


NUMBERS = [
    "1",
    "-2.5",
    "+3e2",
    ".5",
    "7.",
    "1e400",
    "0.1234567890123456789",
    '"4"',
    " 8 ",
    "\t9",
    "inf",
    "1e-5",
]
GAPS = ["", "NA", " n/a", "NaN", '""', "null ", '"na"', "   "]
TEXTS = [
    "a",
    "b c",
    '"x,y"',
    '"two ""quotes"""',
    '"a ""b"", c"',
    '"a ""b"", c"',
    '"line\nbreak"',
    "1_000",
    "naïve",
    '"open" end',
    'mid"dle',
    "1 2",
    "-",
    "nul",
    "12a",
]


def test_both_parsers_read_random_files_alike(csv, parser, monkeypatch):
    if parser == "csv":
        pytest.skip("compares the two")
    monkeypatch.setattr(csv_rows, "ROWS_AT_ONCE", 4)
    by_module, chunks = [], module._Parser._chunks
    monkeypatch.setattr(module._Parser, "_chunks", lambda self: by_module.append(self) or chunks(self))
    rng, refused = np.random.default_rng(0), 0
    for number in range(300):
        width, pools = int(rng.integers(1, 5)), [NUMBERS, [*NUMBERS, *GAPS], TEXTS, [*TEXTS, *GAPS], GAPS]
        kinds = [pools[k] for k in rng.choice(5, width)]
        late = rng.random() < 0.2
        rows = [
            [rng.choice([*NUMBERS, *TEXTS] if late and row > 6 else kind) for kind in kinds]
            for row in range(int(rng.integers(1, 15)))
        ]
        if rng.random() < 0.1:
            rows[-1].append("1")
        end = rng.choice(["\n", "\r\n", "\r", "\n \n"], p=[0.5, 0.3, 0.1, 0.1])
        names = [chr(97 + i) for i in range(width)]
        text = end.join([",".join(names), *(",".join(row) for row in rows)]) + rng.choice(["", end])
        path, found = csv(text, f"{number}.csv"), []
        as_text = names[: int(rng.integers(2))]
        for large in (0, 1 << 60):
            monkeypatch.setattr(module, "LARGE", large)
            by_module.clear()
            try:
                table = read_columns(path, categorical=as_text)
            except DatasetError as error:
                found.append(str(error))
                refused += 1
            else:
                found.append((repr(plain(table)), table.mixed))
                assert large or not by_module or end == "\r" or width == 1, text
        assert found[0] == found[1], text
    assert 10 < refused < 200


def test_damaged_text_of_large_files_is_left_to_the_module_csv(csv, parser):
    """An open quote, a return alone, a long cell: the errors are those of the module, not of the kernel."""
    for text, rows in (
        ('a,b\n1,"x\n2,y\n', 1),
        ("a,b\r1,x\r2,y\r", 2),
        (f"a,b\n1,{'x' * 131_000}\n2,y\n", 2),
    ):
        assert len(read_columns(csv(text)).values["b"]) == rows
