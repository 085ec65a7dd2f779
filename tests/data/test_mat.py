"""The reader of MATLAB files against SciPy's, and damaged files."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest

from fastnn.data.mat import matrices

LIMIT = 1 << 20

io = pytest.importorskip("scipy.io")


def saved(arrays, **options):
    """The bytes of a MATLAB file that SciPy writes."""
    stream = BytesIO()
    io.savemat(stream, arrays, **options)
    return stream.getvalue()


def element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def compressed(data):
    packed = zlib.compress(data)
    return struct.pack("<II", 15, len(packed)) + packed


def matrix(shape, kind=9, data=b"", matlab_class=6, name=b"a", order="<"):
    """A matrix element: by default doubles, stored as doubles."""
    return element(
        14,
        element(6, struct.pack(f"{order}II", matlab_class, 0), order)
        + element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
        + element(1, name, order)
        + element(kind, data, order),
        order,
    )


def file(*elements, order="<"):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(f"{order}HH", 0x0100, 0x4D49) + b"".join(elements)


DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"]


@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_equal_those_of_scipy(dtype, compression):
    rng = np.random.default_rng(0)
    shapes = {"a": (1, 1), "b": (3, 5), "c": (2, 3, 4), "d": (0, 4), "long_name_of_a_matrix": (7,), "f": ()}
    content = saved(
        {name: (rng.standard_normal(shape) * 9).astype(dtype) for name, shape in shapes.items()},
        do_compression=compression,
    )
    expected = {name: x for name, x in io.loadmat(BytesIO(content)).items() if name[0] != "_"}
    found = matrices(content, LIMIT)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name], x)
        assert found[name].dtype == x.dtype.newbyteorder("=")
        assert found[name].flags.writeable


def test_text_cells_structures_and_complex_values_are_left_out():
    content = saved({"x": np.eye(3), "text": "words", "cells": [1, "a"], "s": {"k": 1}, "z": np.array([1j])})
    assert list(matrices(content, LIMIT)) == ["x"]


def test_big_endian_files_and_values_in_a_smaller_type_are_read():
    content = file(matrix((2, 2), 2, bytes([1, 2, 3, 4]), order=">"), order=">")
    (x,) = matrices(content, LIMIT).values()
    assert x.dtype == np.float64
    assert x.tolist() == [[1, 3], [2, 4]] == io.loadmat(BytesIO(content))["a"].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (file()[:126] + b"XX", "byte order"),
        (file(b"\1\2\3"), "truncated: 3 bytes remain"),
        (file(element(14, bytes(40))[:-30]), "claims 40 bytes, but 10 remain"),
        (file(struct.pack("<HHI", 14, 5, 0)), "at most 4 bytes, not 5"),
        (file(element(9, bytes(8))), "an element of type 9 stands where a matrix must be"),
        (file(element(14, b"")), "flags, dimensions and name"),
        (file(matrix((2, 2), data=bytes(24))), r"a: 24 bytes of f8 do not fill the shape \(2, 2\)"),
        (file(matrix((-2, -2), data=bytes(32))), r"do not fill the shape \(-2, -2\)"),
        (file(matrix((1 << 16, 1 << 16, 1 << 16, 1 << 16))), "0 bytes of f8 do not fill"),
        (file(matrix((1, 1), data=bytes(9))), "do not fill"),
        (file(matrix((1,), data=bytes(8))), "dimensions take 4 bytes"),
        (file(matrix((1,) * 33, data=bytes(8))), "dimensions take 132 bytes"),
        (file(matrix((1, 1), 16, bytes(8))), "a matrix of numbers without numbers"),
        (file(element(15, b"no zlib")), "incorrect header check"),
        (file(element(15, zlib.compress(matrix((1, 1), data=bytes(8)))[:-5])), "ends too early"),
        (file(compressed(2 * matrix((1, 1), data=bytes(8)))), "must hold one matrix"),
        (file(compressed(b"")), "a compressed element is shorter than a tag"),
        (file(compressed(compressed(b""))), "an element of type 15 stands"),
    ],
)
def test_damaged_files_raise(content, message):
    with pytest.raises(ValueError, match=message):
        matrices(content, LIMIT)


def test_files_that_unpack_to_too_many_bytes_raise():
    full = matrix((LIMIT // 8, 1), data=bytes(LIMIT))
    packed = compressed(full)
    assert matrices(file(packed), LIMIT)["a"].nbytes == LIMIT
    small = matrix((1, 1), data=bytes(8), name=b"b")
    for content in (file(full, small), file(packed, small), file(small, packed)):
        with pytest.raises(ValueError, match="the matrices have more bytes than"):
            matrices(content, LIMIT)
    with pytest.raises(ValueError, match="a matrix unpacks to 2097160 bytes, more than"):
        matrices(file(compressed(element(14, bytes(2 * LIMIT)))), LIMIT)
    # Bytes that become doubles take eight times the memory.
    with pytest.raises(ValueError, match="the matrices have more bytes than"):
        matrices(file(matrix((LIMIT, 1), 2, bytes(LIMIT))), LIMIT)
