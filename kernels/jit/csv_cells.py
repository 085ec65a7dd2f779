"""Parse CSV bytes into a table of numbers, or find the cells of text: compiled by Numba.

`parse` is the inner loop of `fn.data.read_csv`, `parse_columns` that of `fastnn.data.csv_columns`.
"""

import numpy as np

from fastnn.kernels.jit.numba_cache import jit, kernel

# The results of `parse`: all rows of this chunk are read, a cell needs Python's parser, a row is too short or
# too long.
DONE, OTHER, SHORT, LONG = 0, 1, 2, 3

# Further results of `parse_columns`: the table is full, a row has a wrong number of cells.
FULL, LENGTH = 4, 5

# The kinds of columns for `parse_columns`.
NUMBER, TEXT, SKIPPED = 0, 1, 2

NEWLINE, RETURN, SPACE, TAB, QUOTE = 10, 13, 32, 9, 34
ZERO, NINE, MINUS, PLUS, POINT, SMALL_E, LARGE_E = 48, 57, 45, 43, 46, 101, 69

# 10^0 to 10^22 and integers of up to 15 digits are exact in float64. Their product or quotient is rounded
# once, so it is the correctly rounded value (Clinger 1990). Python's float parses all other cells.
POWERS = 10.0 ** np.arange(23)
MOST_DIGITS = 15

# The longest cell that the module `csv` reads.
LONGEST_TEXT = 131072

# The cells that stand for a missing value, as integers to the base 256.
MISSING_WORDS = tuple(int.from_bytes(word) for word in (b"", b"na", b"n/a", b"nan", b"null"))


@kernel(text=np.uint8, table=(np.uint8, np.float32, np.float64), labels=np.float64, state=np.int64)
def parse(text, end, delimiter, label, whole, table, labels, state):
    """Parse whole rows, starting at state = (position, row, column), until a row begins at or after `end`.

    text: the bytes of the file; table (rows, columns without the label), labels (rows,): outputs; label:
    the index of the label's column, or -1. With `whole`, a cell that is not an integer from 0 to 255 is left
    to Python. Returns DONE, OTHER, SHORT or LONG, and updates state to the place where parsing stopped.
    """
    position, row, column = state[0], state[1], state[2]
    columns = table.shape[1] + (1 if label >= 0 else 0)
    size, rows = text.size, table.shape[0]
    if not (-1 <= label < columns and (label < 0 or labels.size >= rows)):
        raise ValueError("label must be a column index or -1, and labels must have one element per row")
    if not (0 <= position <= size and 0 <= row <= rows and 0 <= column <= (columns if row < rows else 0)):
        raise ValueError("state must be (position in the text, row, column of the table)")
    while position < size and (column > 0 or position < end):
        # Fast path for nearly all cells of images: up to three digits and a delimiter, not the last of a row.
        if position + 4 <= size and 0 < column < columns - 1:
            at, pixel = position, np.int64(0)
            while at < position + 3 and ZERO <= text[at] <= NINE:
                pixel = 10 * pixel + text[at] - ZERO
                at += 1
            if at > position and text[at] == delimiter and pixel <= 255 and column != label:
                table[row, column - (1 if 0 <= label < column else 0)] = pixel
                column += 1
                position = at + 1
                continue
        if column == 0:  # skip blank lines
            start = _skip_spaces(text, position, delimiter)
            if start == size or text[start] == NEWLINE:
                position = min(start + 1, size)
                continue
            if row == rows:
                break
        value, after = _parse_number(text, position, delimiter, whole)
        at = _skip_spaces(text, after, delimiter)
        at_end = at == size or text[at] == NEWLINE
        if after == position or not (at_end or text[at] == delimiter):
            state[0], state[1], state[2] = position, row, column
            return OTHER
        if column == columns:
            state[0], state[1], state[2] = position, row, column
            return LONG
        if column == label:
            labels[row] = value
        else:
            table[row, column - (1 if 0 <= label < column else 0)] = value
        column += 1
        position = min(at + 1, size)
        if at_end:
            if column < columns:
                state[0], state[1], state[2] = position, row, column
                return SHORT
            row, column = row + 1, 0
        elif position == size:  # the file ends with a delimiter
            state[0], state[1], state[2] = position, row, column
            return OTHER
    state[0], state[1], state[2] = position, row, column
    return DONE


@kernel(text=np.uint8, kinds=np.uint8, table=np.float64, spans=np.int64, odd=np.int64, state=np.int64)
def parse_columns(text, delimiter, kinds, table, spans, odd, state):
    """Parse rows of numbers and text, starting at state = (position, row, number of odd cells).

    text: the bytes of the file; kinds (C,): NUMBER, TEXT or SKIPPED. Outputs: table (rows, C), the numbers,
    NaN where one is missing; spans (rows, columns of text, 2), where the cells of text begin and end; odd
    (cells, 4), the row, the column and the span of each cell in a column of numbers that Python must read.

    Returns DONE, FULL, LENGTH, or OTHER for a quote that is not closed or a cell that is too long, and
    updates state to the place where parsing stopped, the start of a row.
    """
    position, row, odds = state[0], state[1], state[2]
    size, (rows, columns) = text.size, table.shape
    if not (0 <= position <= size and 0 <= row <= rows and 0 <= odds <= len(odd)):
        raise ValueError("state must be (position in the text, row of the table, number of odd cells)")
    texts = 0
    for kind in kinds:
        texts += kind == TEXT
    if len(kinds) != columns or spans.shape != (rows, texts, 2) or odd.shape[1] != 4:
        raise ValueError("kinds must be (C,), spans (rows, columns of text, 2) and odd (cells, 4)")
    reason = DONE
    while position < size:
        at = _skip_spaces(text, position, delimiter)
        if at == size or text[at] == NEWLINE:  # a blank line
            position = min(at + 1, size)
            continue
        if row == rows or odds + columns > len(odd):
            reason = FULL
            break
        at, slot = position, 0
        for column in range(columns):
            kind, begin, after, value = kinds[column], at, at, np.nan
            if kind == NUMBER:
                value, after = _parse_number(text, at, delimiter, False)
            end = _skip_spaces(text, after, delimiter)
            if after == begin or not (end == size or text[end] == NEWLINE or text[end] == delimiter):
                end = _end_of_cell(text, begin, delimiter)
                if end < 0 or end - begin > LONGEST_TEXT:
                    reason = OTHER
                    break
                if kind == TEXT:
                    spans[row, slot, 0], spans[row, slot, 1] = begin, end
                    slot += 1
                elif kind == NUMBER and _is_missing(text, begin, end):
                    value = np.nan
                elif kind == NUMBER:
                    odd[odds, 0], odd[odds, 1], odd[odds, 2], odd[odds, 3] = row, column, begin, end
                    odds += 1
            if kind == NUMBER:
                table[row, column] = value
            if (end == size or text[end] == NEWLINE) != (column == columns - 1):
                reason = LENGTH
                break
            at = min(end + 1, size)
        if reason != DONE:
            break
        position, row = at, row + 1
    state[0], state[1], state[2] = position, row, odds
    return reason


@jit
def _end_of_cell(text, position, delimiter):
    """Return the end of the cell that starts at `position`; -1 if its quote is not closed."""
    size = text.size
    while position < size and text[position] == SPACE:
        position += 1
    if position < size and text[position] == QUOTE:
        position += 1
        while True:  # a pair of quotes in quotes stands for one
            while position < size and text[position] != QUOTE:
                position += 1
            if position == size:
                return -1
            position += 1
            if position == size or text[position] != QUOTE:
                break
            position += 1
    while position < size and text[position] != NEWLINE and text[position] != delimiter:
        position += 1
    return position


@jit
def _is_missing(text, begin, end):
    """Whether a cell is empty, "na", "n/a", "nan" or "null", in any case, between spaces."""
    while begin < end and (text[begin] == SPACE or text[begin] == TAB or text[begin] == RETURN):
        begin += 1
    while begin < end and (text[end - 1] == SPACE or text[end - 1] == TAB or text[end - 1] == RETURN):
        end -= 1
    if end - begin == 1 or end - begin > 4:
        return False
    word = 0
    for i in range(begin, end):
        word = 256 * word + (text[i] + 32 if 65 <= text[i] <= 90 else text[i])
    return word in MISSING_WORDS


@jit
def _skip_spaces(text, position, delimiter):
    """Return the next position that is not a space, a tab that is no delimiter, or a carriage return."""
    while position < text.size and (
        text[position] == SPACE or (text[position] == TAB and delimiter != TAB) or text[position] == RETURN
    ):
        position += 1
    return position


@jit
def _parse_number(text, position, delimiter, whole):
    """Return (value, end) of the number that starts at `position`; end = position leaves it to Python."""
    start = position
    position = _skip_spaces(text, position, delimiter)
    negative = False
    if position < text.size and (text[position] == MINUS or text[position] == PLUS):
        negative = text[position] == MINUS
        position += 1
    digits, mantissa, exponent, any_digit = 0, 0, 0, False
    after_point = False
    while position < text.size:
        byte = text[position]
        if ZERO <= byte <= NINE:
            any_digit = True
            if mantissa > 0 or byte > ZERO:
                digits += 1
            if digits > MOST_DIGITS:
                return 0.0, start
            mantissa = 10 * mantissa + np.int64(byte) - ZERO
            exponent -= 1 if after_point else 0
        elif byte == POINT and not after_point and not whole:
            after_point = True
        else:
            break
        position += 1
    if not any_digit or (whole and (negative or mantissa > 255)):
        return 0.0, start
    if position < text.size and (text[position] == SMALL_E or text[position] == LARGE_E):
        position += 1
        sign = 1
        if position < text.size and (text[position] == MINUS or text[position] == PLUS):
            sign = -1 if text[position] == MINUS else 1
            position += 1
        power, length = 0, 0
        while position < text.size and ZERO <= text[position] <= NINE and length < 4:
            power = 10 * power + np.int64(text[position]) - ZERO
            length += 1
            position += 1
        if length == 0 or whole:
            return 0.0, start
        exponent += sign * power
    if exponent < -22 or exponent > 22:
        return 0.0, start
    value = float(mantissa)
    value = value * POWERS[exponent] if exponent >= 0 else value / POWERS[-exponent]
    return (-value if negative else value), position
