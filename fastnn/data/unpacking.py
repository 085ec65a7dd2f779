"""Read the bytes of a file, plain or compressed with gzip, within a bound on their number.

Deflate packs up to 1032 bytes into one, so a file of 1 MB can unpack to 1 GB. Every reader therefore states
how many bytes it can use, and no reader unpacks more.
"""

import gzip
import zlib
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from fastnn.data.errors import DatasetError, DatasetNotFoundError

# Without another bound, a gzip file may unpack to the larger of these: 64 MiB, or 200 bytes for each of its
# bytes. MNIST as a CSV file has a ratio of 7, and tables that consist of zeros nearly alone reach 200.
USUAL_SIZE, USUAL_RATIO = 64 << 20, 200

CHUNK = 1 << 20

# Exceptions of reading a missing, unreadable or damaged file, plain or gzip.
READ_ERRORS = (OSError, EOFError, zlib.error)


def open_unpacked(path: Path) -> gzip.GzipFile | BufferedReader:
    """Open a file for reading bytes, decompressing it if its content is gzip.

    Raises OSError, also if the path is not a regular file: opening a pipe or a device could block forever.
    """
    if path.exists() and not path.is_file():
        raise OSError("not a regular file")
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")


def read_up_to(stream: BufferedIOBase, nbytes: int) -> bytearray:
    """Read the next `nbytes` bytes of `stream`, or fewer if the stream ends; allocate only what is read."""
    data = bytearray()
    while len(data) < nbytes and (chunk := stream.read(min(CHUNK, nbytes - len(data)))):
        data += chunk
    return data


def read_start(path: Path, nbytes: int) -> bytes:
    """Read the first `nbytes` bytes of a file, decompressed, or fewer if it is shorter.

    Raises DatasetNotFoundError if there is no such file, and DatasetError if it cannot be read.
    """
    try:
        with open_unpacked(path) as stream:
            return bytes(read_up_to(stream, nbytes))
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"{path}: no such file") from error
    except (ValueError, *READ_ERRORS) as error:  # ValueError: a zero byte in the path
        raise DatasetError(f"{path}: {error}") from error


def read_unpacked(path: Path, limit: int | None = None) -> bytearray:
    """Read all bytes of a file, decompressed.

    Raises DatasetNotFoundError if there is no such file, and DatasetError if it cannot be read or has more
    than `limit` bytes. None: any size for a plain file, and the usual bound for a gzip file (see above).
    """
    try:
        with open_unpacked(path) as stream:
            size = path.stat().st_size
            if limit is None:
                packed = isinstance(stream, gzip.GzipFile)
                limit = max(USUAL_SIZE, USUAL_RATIO * size) if packed else size
                advice = "unpack it with gunzip if the file is right"
            else:
                advice = "a file of this data set has no more"
            content = read_up_to(stream, limit + 1)
    except FileNotFoundError as error:
        raise DatasetNotFoundError(f"{path}: no such file") from error
    except (ValueError, *READ_ERRORS) as error:
        raise DatasetError(f"{path}: {error}") from error
    if len(content) > limit:
        raise DatasetError(
            f"{path}, a file of {size} bytes, has more than {limit} bytes when unpacked: {advice}"
        )
    return content
