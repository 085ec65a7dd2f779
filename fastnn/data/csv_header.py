"""Read the first line of a CSV file: delimiter, columns, whether it is a header, the labels' column."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from types import EllipsisType
from typing import NamedTuple

import numpy as np

from fastnn.data.errors import DatasetError

DELIMITERS = (",", ";", "\t")

# An image of 600 x 600 pixels in colour. Names of more columns would take more memory than the file.
MOST_COLUMNS = 1 << 20

# float64 needs at most 24 characters for a number, but all 767 significant digits may be written out.
LONGEST_CELL = 1000

# Names of a column that certainly has the labels.
LABEL_NAMES = ("label", "labels", "class", "classes", "target", "targets", "y")

# Names that pandas gives to the column of row numbers when it writes and reads them.
INDEX_NAMES = ("", "Unnamed: 0")


class FirstLine(NamedTuple):
    """The cells of the first line, without quotes and spaces around them."""

    file: Path
    cells: list[str]
    delimiter: str
    is_header: bool


def first_line(file: Path, line: str, number: int, delimiter: str | None, header: bool | None) -> FirstLine:
    """Split the first line that is not blank, line `number` of the file; `header` as in `read_csv`.

    Raises DatasetError if it has too many columns, or if it is unclear whether it is a header.
    """
    separator = delimiter or max(DELIMITERS, key=line.count)
    if line.count(separator) >= MOST_COLUMNS:
        raise DatasetError(f"{file}: line {number} has more than {MOST_COLUMNS} columns")
    try:
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    except csv.Error as error:
        raise DatasetError(f"{file}: not a CSV file: line {number}: {error}") from error
    if header is not None:
        return FirstLine(file, cells, separator, header)
    numbers = [cell for cell in cells if number_of(cell) is not None]
    if not numbers and any(cells):
        return FirstLine(file, cells, separator, True)
    is_text = len(numbers) < len(cells)
    # pandas names columns 0, 1, 2, ... and may write row numbers, without a name, before them; people add a
    # column "label", and some count from 1.
    counts = [numbers == [str(first + i) for i in range(len(numbers))] for first in (0, 1)]
    if len(numbers) >= 3 and ((counts[0] and cells[-1]) or (counts[1] and is_text and all(cells))):
        return FirstLine(file, cells, separator, True)
    if is_text:
        column = next(i for i, cell in enumerate(cells) if number_of(cell) is None)
        problem = problem_of(cells[column], None, is_first=True)
        others = ""
        if numbers and ": " not in problem:
            others = ", but other cells of this line are numbers: pass header=True if they are names"
        raise DatasetError(f"{file}, line {number}, column {column + 1}: {problem}{others}")
    if counts[0]:
        raise DatasetError(
            f"{file}: line {number}, {line!r}, may be a header or a sample: pass header=True or header=False"
        )
    return FirstLine(file, cells, separator, False)


def label_column(first: FirstLine, label: int | str | EllipsisType | None) -> int:
    """Return the index of the labels' column, or -1 for None. Raises ValueError or TypeError."""
    file, names = first.file, first.cells
    if label is None:
        return -1
    if isinstance(label, EllipsisType):
        return _default_column(first)
    if isinstance(label, str):
        if not first.is_header:
            raise ValueError(f"{file} has no header with a column {label!r}: pass the index of the column")
        if names.count(label) != 1:
            listed = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            found = f"{names.count(label)} columns" if label in names else "no column"
            raise ValueError(
                f"{file} has {found} {label!r}{_nearest(label, names)}: the columns are {listed}"
            )
        return names.index(label)
    if isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise TypeError(f"label must be the index or the name of a column, or None, not {label!r}")
    if not -len(names) <= label < len(names):
        raise ValueError(f"label must be a column from 0 to {len(names) - 1}, not {label}")
    return int(label) % len(names)


def warn_of_guesses(first: FirstLine, label: int | str | EllipsisType | None, floats: bool) -> None:
    """Warn if column 0 may be misread: as the labels of a table of floats, or as a feature."""
    name = f" ({first.cells[0]!r})" if first.is_header else ""
    if isinstance(label, EllipsisType):
        if floats and not (first.is_header and first.cells[0].lower() in LABEL_NAMES):
            warnings.warn(
                f"{first.file}: column 1{name} is taken for the labels: pass label=0 if it has them, another "
                "column, or label=None",
                stacklevel=3,
            )
    elif first.is_header and first.cells[0] in INDEX_NAMES and label not in (0, -len(first.cells), ""):
        warnings.warn(
            f"{first.file}: column 1{name} becomes a feature, although its name is the one of pandas' row "
            "numbers: write the file with index=False",
            stacklevel=3,
        )


def _default_column(first: FirstLine) -> int:
    """Return 0, unless the header shows that column 0 cannot have labels. Raises DatasetError."""
    if first.is_header and first.cells[0] in INDEX_NAMES and len(first.cells) > 1:
        raise DatasetError(
            f"{first.file}: column 1 ({first.cells[0]!r}) seems to have row numbers, not labels: write the "
            "file with index=False (pandas), or pass label=, the column of the labels"
        )
    return 0


def _nearest(label: str, names: list[str]) -> str:
    """Return " (did you mean ...?)" with up to 3 names like a missing one, or "" if there are none."""
    if label in names:
        return ""
    import difflib  # 4 ms of import time, needed for an error only

    spelled = {name.lower(): name for name in names}
    close = difflib.get_close_matches(label.lower(), spelled, n=3)
    return f" (did you mean {' or '.join(repr(spelled[name]) for name in close)}?)" if close else ""


def number_of(cell: str) -> float | None:
    """Convert a cell to a number; None if it is not one."""
    text = cell.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    if "_" in text:  # `float` accepts 1_000, which is not a number in a CSV file
        return None
    try:
        return float(text)
    except ValueError:
        return None


def problem_of(text: str, value: float | None, *, is_first: bool = False) -> str:
    """What is wrong with a cell, without spaces around it, of which `number_of` makes `value`; or "".

    A cell of the first line may be a name.
    """
    if len(text) > LONGEST_CELL:
        return f"{shown(text)} has more than {LONGEST_CELL:,} characters"
    if value is None:
        problem = f"{shown(text)} is not a number" if text else "the cell is empty"
        if number_of(text.replace(",", ".", 1)) is not None and "," in text:
            return f"{problem}: write it with a decimal point and without commas"
        if not is_first and text[:1].isalpha():
            return f"{problem}: number the names with np.unique(names, return_inverse=True)"
        others = [each for each in DELIMITERS if each in text]
        return f"{problem}: pass delimiter={others[0]!r}, if that separates the cells" if others else problem
    if math.isinf(value) and "n" not in text.lower():  # of inf
        return f"{shown(text)} is too large for float64"
    return ""


def shown(cell: str) -> str:
    """Return a cell in quotes, cut to 40 characters."""
    return repr(cell if len(cell) <= 40 else cell[:40] + "...")
