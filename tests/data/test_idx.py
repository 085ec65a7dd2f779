"""IDX files: round trips, the bytes of the format, and damaged or malicious files."""

import contextlib
import gzip
import itertools
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest

from fastnn.data import DatasetError, DatasetNotFoundError, read_idx, write_idx
from tests.mutations import mutations
from tests.systems import needs_pipes

DTYPES = ["uint8", "int8", "int16", "int32", "float32", "float64"]


def idx_bytes(code, shape, data):
    """A file with this header, which may be false, and these data."""
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + data


# 3 x 2 big-endian int16, a small file with every part of the format.
SMALL = idx_bytes(0x0B, (3, 2), bytes(range(12)))


@pytest.fixture(params=["plain", "gzip"])
def pack(request):
    return gzip.compress if request.param == "gzip" else bytes


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some-idx"


def peak_bytes(function):
    """The peak memory of a call, in bytes."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- valid files ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (5,), (0, 3), (3, 0, 2), (2, 3, 4), (1,) * 64])
@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_round_trip(tmp_path, dtype, shape, name):
    array = np.frombuffer(np.random.default_rng(0).bytes(24 * 8), dtype)[: math.prod(shape)].reshape(shape)
    write_idx(tmp_path / name, array)
    again = read_idx(tmp_path / name)
    assert again.dtype == np.dtype(dtype)
    assert again.dtype.isnative
    assert again.shape == shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable
    assert again.flags.c_contiguous
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


@pytest.mark.parametrize(
    ("code", "data", "expected"),
    [
        (0x08, "01 fe", np.array([1, 254], np.uint8)),
        (0x09, "01 fe", np.array([1, -2], np.int8)),
        (0x0B, "0102 fffe", np.array([258, -2], np.int16)),
        (0x0C, "01020304 fffffffe", np.array([16909060, -2], np.int32)),
        (0x0D, "3fc00000 c0000000", np.array([1.5, -2], np.float32)),
        (0x0E, "3ff8000000000000 c000000000000000", np.array([1.5, -2], np.float64)),
    ],
)
def test_every_dtype_has_the_bytes_of_the_format(path, pack, code, data, expected):
    content = idx_bytes(code, (2,), bytes.fromhex(data))
    path.write_bytes(pack(content))
    array = read_idx(path)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
    write_idx(path, expected)
    assert path.read_bytes() == content


def test_gzip_is_detected_by_content_not_by_name(tmp_path):
    (tmp_path / "plain.gz").write_bytes(SMALL)
    (tmp_path / "packed").write_bytes(gzip.compress(SMALL[:7]) + gzip.compress(SMALL[7:]))  # two members
    np.testing.assert_array_equal(read_idx(tmp_path / "plain.gz"), read_idx(str(tmp_path / "packed")))


def test_write_accepts_any_byte_order_and_strides(path):
    array = np.arange(24, dtype=">i4").reshape(4, 6)[::2, ::-3]
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path), array)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "bool", "complex64", "S1", "object"])
def test_write_rejects_other_dtypes(path, dtype):
    with pytest.raises(ValueError, match="cast the array to one of uint8, int8, int16"):
        write_idx(path, np.zeros(3, dtype))
    assert not path.exists()


def test_write_rejects_arrays_that_are_too_large_to_read(path):
    with pytest.raises(ValueError, match="below 4 GiB"):
        write_idx(path, np.broadcast_to(np.float64(0), (1 << 29,)))
    assert not path.exists()


@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch, name):
    path = tmp_path / name
    write_idx(path, np.arange(3, dtype=np.uint8))

    def interrupt(temporary, target):
        assert temporary.stat().st_size > 0  # the new file has been written
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_idx(path, np.zeros(5, np.uint8))
    assert os.listdir(tmp_path) == [name]
    np.testing.assert_array_equal(read_idx(path), [0, 1, 2])


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_idx(tmp_path / "a", np.zeros(3, np.uint8))
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "usual").stat().st_mode


# --- invalid files ---


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_a_file_truncated_anywhere_is_rejected(path, pack, length):
    path.write_bytes(pack(SMALL[:length]))
    with pytest.raises(DatasetError, match=r"some-idx: (truncated|the header claims)"):
        read_idx(path)


@pytest.mark.parametrize("length", range(1, len(gzip.compress(SMALL))))
def test_a_truncated_gzip_file_is_rejected(path, length):
    path.write_bytes(gzip.compress(SMALL)[:length])
    with pytest.raises(DatasetError, match="some-idx: "):
        read_idx(path)


@pytest.mark.parametrize("tail", [b"\0", SMALL])
def test_trailing_bytes_are_rejected(path, pack, tail):
    path.write_bytes(pack(SMALL + tail))
    plain = f"claims a file of 24 bytes, but the file has {24 + len(tail)}"
    with pytest.raises(DatasetError, match=plain if pack is bytes else "more data than the 12 bytes"):
        read_idx(path)


def test_trailing_bytes_after_gzip_data_are_rejected(path):
    path.write_bytes(gzip.compress(SMALL) + b"tail")
    with pytest.raises(DatasetError, match="some-idx: Not a gzipped file"):
        read_idx(path)


@pytest.mark.parametrize("magic", ["01000802", "00010802", "00000002", "00000A02", "00000F02", "00000841"])
def test_a_wrong_magic_number_is_rejected(path, pack, magic):
    path.write_bytes(pack(bytes.fromhex(magic) + bytes(4 * 0x41)))
    with pytest.raises(DatasetError, match="some-idx: not an IDX file: it begins with the bytes 0"):
        read_idx(path)


LIES = {
    "2^40 elements": (1 << 20, 1 << 20),
    "4 GiB": (1 << 20, 1 << 11, 1),  # times 2 bytes
    "overflow to 12 bytes": (3, 2, 1 << 31, 1 << 31, 4),  # modulo 2^64
    "overflow to 0": (1 << 31, 1 << 31, 4),
    "nothing, of a shape that NumPy refuses": (0, (1 << 32) - 1, (1 << 32) - 1, (1 << 32) - 1),
}


@pytest.mark.parametrize("shape", LIES.values(), ids=LIES.keys())
def test_a_header_with_a_huge_shape_is_rejected_in_little_memory(path, pack, shape):
    path.write_bytes(pack(idx_bytes(0x0B, shape, SMALL[12:])))

    def read():
        with pytest.raises(DatasetError, match=r"some-idx: .* too large: it must stay below 4 GiB"):
            read_idx(path)

    assert peak_bytes(read) < 1 << 20


@pytest.mark.parametrize(
    ("claimed", "plain", "packed"),
    [
        (
            7,
            "claims a file of 22 bytes, but the file has 20",
            "truncated: 12 bytes of data, but the header claims 14",
        ),
        (
            1 << 17,
            "a file of 262152 bytes, but the file has 20",
            "claims 262152 bytes, too many for a gzip file of 40 bytes",
        ),
        ((1 << 31) - 1, "a file of 4294967302 bytes", "claims 4294967302 bytes, too many for a gzip file"),
    ],
)
def test_a_header_that_claims_too_many_bytes_is_rejected(path, pack, claimed, plain, packed):
    path.write_bytes(pack(idx_bytes(0x0B, (claimed,), SMALL[12:])))

    def read():
        with pytest.raises(DatasetError, match=plain if pack is bytes else packed):
            read_idx(path)

    assert peak_bytes(read) < 1 << 20


def test_a_plausible_claim_needs_no_more_memory_than_the_data(path):
    # 64 KiB of gzip could hold the claimed 60 MB, but hold 4 KiB: the rest is the long name of an empty
    # member.
    name = b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (1 << 16) + b"\0" + gzip.compress(b"")[10:]
    path.write_bytes(gzip.compress(idx_bytes(0x08, (60_000_000,), bytes(4096))) + name)

    def read():
        with pytest.raises(
            DatasetError, match="truncated: 4096 bytes of data, but the header claims 60000000"
        ):
            read_idx(path)

    assert peak_bytes(read) < 4 << 20


def test_a_gzip_bomb_is_rejected_in_little_memory(path):
    path.write_bytes(gzip.compress(SMALL + bytes(64 << 20)))

    def read():
        with pytest.raises(DatasetError, match="more data than the 12 bytes"):
            read_idx(path)

    assert peak_bytes(read) < 4 << 20


def test_the_best_compression_of_deflate_is_accepted(path):
    zeros = np.zeros(16 << 20, np.uint8)
    path.write_bytes(gzip.compress(idx_bytes(0x08, zeros.shape, zeros.tobytes())))
    assert path.stat().st_size * 1020 < zeros.nbytes  # close to the bound of deflate
    np.testing.assert_array_equal(read_idx(path), zeros)


def test_a_flipped_bit_in_gzip_never_changes_the_data(path):
    good = gzip.compress(SMALL, mtime=0)
    found = 0
    for position, bit in itertools.product(range(len(good)), range(8)):
        content = bytearray(good)
        content[position] ^= 1 << bit
        path.write_bytes(content)
        try:
            array = read_idx(path)
        except DatasetError:
            found += 1
        else:  # the bit is part of the time stamp or of the padding
            assert array.tolist() == [[1, 515], [1029, 1543], [2057, 2571]]
    assert found > 0.7 * 8 * len(good)


def test_an_empty_file_is_rejected(path):
    path.touch()
    with pytest.raises(DatasetError, match="some-idx: truncated: 0 bytes"):
        read_idx(path)


def test_a_folder_is_rejected(path):
    path.mkdir()
    with pytest.raises(DatasetError, match="some-idx: not a regular file"):
        read_idx(path)


@needs_pipes
def test_a_pipe_is_rejected_without_blocking(path):
    os.mkfifo(path)
    with pytest.raises(DatasetError, match="some-idx: not a regular file"):
        read_idx(path)


def test_a_missing_file_raises(path):
    with pytest.raises(DatasetNotFoundError, match="some-idx: no such file"):
        read_idx(path)


@pytest.mark.parametrize("name", ["a\0b", "n" * 5000, "plain/below"])
def test_an_invalid_path_raises(tmp_path, name):
    (tmp_path / "plain").touch()
    with pytest.raises(DatasetError):
        read_idx(tmp_path / name)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_files_give_an_array_or_dataset_error_in_little_memory(path, pack, seed):
    def read():
        # No `pytest.raises`, because some mutations only change an element.
        with contextlib.suppress(DatasetError):
            assert isinstance(read_idx(path), np.ndarray)

    for content in mutations(pack(SMALL), 50, seed):
        path.write_bytes(content)
        assert peak_bytes(read) < 1 << 20
