"""Read the numeric matrices of MATLAB files, versions 5 to 7.

A file is a header of 128 bytes, which ends with the version and the byte order ("IM": little-endian), and
elements::

    element   type (4 bytes), size (4 bytes), data, zeros up to a multiple of 8 bytes
    or        size (2 bytes), type (2 bytes), data in 4 bytes; the halves stand as one integer of 4 bytes
    matrix    an element that contains elements: flags and class; dimensions, int32; name; values
    packed    an element whose data are one matrix compressed with zlib; no zeros follow

Source: MAT-File Format, MathWorks, R2024a, chapter 1.

SciPy reads more (structures, cells, text), but a damaged file can crash its compiled reader and with it the
process (SciPy 1.17). This reader checks each size against the bytes that are there before it uses it.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INT8, INT32, UINT32, MATRIX, PACKED = 1, 5, 6, 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}

# MATLAB stores values in the smallest type that holds them; the class is the type that they have in MATLAB.
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
COMPLEX = 0x0800  # a flag

HEADER, TAG = 128, 8  # bytes of the file's header, and of the type and size of an element
MOST_DIMENSIONS = 32
LONGEST_HEAD = 1024  # bytes of a matrix before its values: flags, dimensions, a name of up to 63 letters


class _Element(NamedTuple):
    kind: int
    data: memoryview


def matrices(content: bytes | bytearray, limit: int) -> dict[str, NDArray[Any]]:
    """Return the real numeric matrices of a file, by name; other variables are left out.

    Raises ValueError if the file is damaged, or if it unpacks to more than `limit` bytes, matrices included.
    """
    order = {b"IM": "<", b"MI": ">"}.get(bytes(content[HEADER - 2 : HEADER]))
    if order is None:
        raise ValueError("the header does not state the byte order")
    found: dict[str, NDArray[Any]] = {}
    left = limit  # bytes of memory
    for element in _elements(memoryview(content)[HEADER:], order):
        if element.kind == PACKED:
            # Its tags and its name come in addition to the values.
            element = next(_elements(_unpack(element.data, order, left + LONGEST_HEAD), order))
        if element.kind != MATRIX:
            raise ValueError(f"an element of type {element.kind} stands where a matrix must be")
        if named := _matrix(element.data, order, left):
            name, matrix = named
            found[name] = matrix
            left -= matrix.nbytes
    return found


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements in `data`. Raises ValueError if one claims more bytes than there are."""
    integer = struct.Struct(order + "I")
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise ValueError(f"truncated: {len(data) - at} bytes remain, but the tag of an element has 8")
        (tag,) = integer.unpack_from(data, at)
        small, kind = tag >> 16, tag & 0xFFFF
        if small:
            start, size, end = at + 4, small, at + 8
            if size > 4:
                raise ValueError(f"a small element has at most 4 bytes, not {size}")
        else:
            start, (size,) = at + 8, integer.unpack_from(data, at + 4)
            if size > len(data) - start:
                raise ValueError(f"truncated: an element claims {size} bytes, but {len(data) - start} remain")
            end = start + size if kind == PACKED else start + size + -size % 8
        yield _Element(kind, data[start : start + size])
        at = end


def _unpack(data: memoryview, order: str, most: int) -> memoryview:
    """Decompress an element with zlib. Raises ValueError unless it is one element of up to `most` bytes."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, TAG)
        if len(content) < TAG:
            raise ValueError("truncated: a compressed element is shorter than a tag")
        size = TAG + int(np.frombuffer(content, order + "u4")[1])
        if size > most:
            raise ValueError(f"a matrix unpacks to {size} bytes, more than {most}")
        # Up to 7 zeros may follow; the eighth byte is one too many.
        content += unpacker.decompress(unpacker.unconsumed_tail, size - TAG + 8)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(content) >= size + 8:
        raise ValueError("a compressed element must hold one matrix")
    if not unpacker.eof:
        raise ValueError("truncated: a compressed element ends too early")
    return memoryview(content)


def _matrix(data: memoryview, order: str, most: int) -> tuple[str, NDArray[Any]] | None:
    """Return the name and the values of a matrix; None unless it is named, real and numeric.

    Raises ValueError if it is damaged or takes more than `most` bytes.
    """
    parts = _elements(data, order)
    head = list(itertools.islice(parts, 3))
    if [element.kind for element in head] != [UINT32, INT32, INT8] or len(head[0].data) != 8:
        raise ValueError("a matrix must begin with its flags, dimensions and name")
    flags = int(np.frombuffer(head[0].data, order + "u4")[0])
    name = str(head[2].data, "latin-1")
    if len(head[1].data) % 4 or not 8 <= len(head[1].data) <= 4 * MOST_DIMENSIONS:
        raise ValueError(f"{name}: the dimensions take {len(head[1].data)} bytes")
    shape = tuple(map(int, np.frombuffer(head[1].data, order + "i4")))
    dtype = CLASSES.get(flags & 0xFF)
    if dtype is None or flags & COMPLEX or not name:
        return None
    values = next(parts, None)
    stored = None if values is None else TYPES.get(values.kind)
    if values is None or stored is None:
        raise ValueError(f"{name}: a matrix of numbers without numbers")
    count = len(values.data) // np.dtype(stored).itemsize
    if min(shape) < 0 or math.prod(shape) != count or len(values.data) % np.dtype(stored).itemsize:
        raise ValueError(f"{name}: {len(values.data)} bytes of {stored} do not fill the shape {shape}")
    if count * np.dtype(dtype).itemsize > most:
        raise ValueError(f"{name}: the matrices have more bytes than {most} when unpacked")
    matrix = np.frombuffer(values.data, order + stored).astype(dtype)  # a copy, which can be written
    return name, matrix.reshape(shape, order="F")
