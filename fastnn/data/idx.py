"""Read and write IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/).

An IDX file consists of::

    bytes 0-1       zero
    byte 2          type of the elements, a key of `DTYPES`
    byte 3          number of dimensions D
    4 * D bytes     dimensions, unsigned 32-bit integers
    the rest        elements, the last dimension varies fastest

All numbers are big-endian. The reader does not trust the header: it allocates memory for the bytes that the
file has, not for the bytes that the header claims.
"""

import gzip
import math
import os
import struct
from contextlib import nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.unpacking import READ_ERRORS, open_unpacked, read_up_to
from fastnn.files import atomic_file, user_path

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: "i2", 0x0C: "i4", 0x0D: "f4", 0x0E: "f8"}

# Arrays of this size in bytes or more are neither read nor written, so every dimension fits in 32 bits.
SIZE_LIMIT = 4 << 30

# The best case of deflate: two bits encode 258 bytes.
GZIP_RATIO = 1032

# NumPy's own limit (since 2.0); a header can claim 255.
MAX_NDIM = 64


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read the array in an IDX file, plain or compressed with gzip (detected by content, not by name).

    Returns a writable array, uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises DatasetNotFoundError if there is no such file, and DatasetError if the file is not an IDX file, is
    truncated, has trailing bytes, or has a header that claims more bytes than the file can have or 4 GiB and
    more.
    """
    path = Path(path)
    try:
        with open_unpacked(path) as stream:
            return _parse(stream, path.stat().st_size)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"{path}: no such file") from error
    except (ValueError, *READ_ERRORS) as error:
        raise DatasetError(f"{path}: {error}") from error


def write_idx(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array to an IDX file, compressed with gzip if the name ends in `.gz`.

    The array may have any shape and byte order; its dtype must be uint8, int8, int16, int32, float32 or
    float64. The file is never incomplete: it is written under a temporary name and then renamed.

    Raises ValueError for another dtype, and for arrays of 4 GiB or more.
    """
    path, array = user_path(path), np.asarray(array)
    codes = {name: code for code, name in DTYPES.items()}
    name = array.dtype.str[1:]
    if name not in codes:
        valid = ", ".join(np.dtype(name).name for name in codes)
        raise ValueError(f"IDX files cannot hold {array.dtype}: cast the array to one of {valid}")
    _checked_nbytes(array.shape, array.itemsize)
    header = struct.pack(f">HBB{array.ndim}I", 0, codes[name], array.ndim, *array.shape)

    with atomic_file(path) as file:
        packed = gzip.GzipFile(path.name, "wb", fileobj=file) if path.suffix == ".gz" else nullcontext(file)
        with packed as stream:
            stream.write(header)
            stream.write(np.asarray(array, dtype=">" + name, order="C").data)


def _parse(stream: gzip.GzipFile | BufferedReader, size: int) -> NDArray[Any]:
    """Read the array in `stream`, the content of a file of `size` bytes. Raises ValueError."""
    magic = read_up_to(stream, 4)
    if len(magic) < 4:
        raise ValueError(f"truncated: {len(magic)} bytes, but the header of an IDX file has at least 4")
    zero, code, ndim = struct.unpack(">HBB", magic)
    if zero != 0 or code not in DTYPES or ndim > MAX_NDIM:
        raise ValueError(f"not an IDX file: it begins with the bytes {magic.hex(' ')}")

    dims = read_up_to(stream, 4 * ndim)
    if len(dims) < 4 * ndim:
        raise ValueError(f"truncated: the header ends before the last of its {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", dims)
    dtype = np.dtype(DTYPES[code])
    nbytes = _checked_nbytes(shape, dtype.itemsize)

    claimed = 4 + 4 * ndim + nbytes
    if isinstance(stream, gzip.GzipFile):
        if claimed > size * GZIP_RATIO:
            raise ValueError(f"the header claims {claimed} bytes, too many for a gzip file of {size} bytes")
    elif claimed != size:
        raise ValueError(f"the header claims a file of {claimed} bytes, but the file has {size}")

    # One byte more reveals trailing bytes, and makes gzip verify its checksum.
    data = read_up_to(stream, nbytes + 1)
    if len(data) < nbytes:
        raise ValueError(f"truncated: {len(data)} bytes of data, but the header claims {nbytes}")
    if len(data) > nbytes:
        raise ValueError(f"more data than the {nbytes} bytes that the header claims")
    return np.ndarray(shape, dtype.newbyteorder(">"), buffer=data).astype(dtype, copy=False)


def _checked_nbytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Return the size of an array in bytes, without overflow. Raises ValueError for 4 GiB or more."""
    # Zeros count as ones: NumPy rejects an empty array if the product of its other dimensions overflows.
    if itemsize * math.prod(max(dim, 1) for dim in shape) >= SIZE_LIMIT:
        raise ValueError(f"an array of shape {shape} is too large: it must stay below 4 GiB")
    return itemsize * math.prod(shape)
