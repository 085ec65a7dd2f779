"""Read damaged files of all formats: each must give a right-shaped result or DatasetError.

    python tests/data/fuzz.py --count 5000            # all readers
    python tests/data/fuzz.py --count 5000 mat csv    # some

Each reader runs in a process of its own, whose end by a signal is reported, and so is its peak memory.
"""

import argparse
import gzip
import multiprocessing
import pickle
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastnn.data import DatasetError, cifar10, image_folder, mnist, read_csv, read_idx, write_idx
from tests.mutations import mutations
from tests.systems import peak_memory

# Valid files are below 20 KB. Headers claim any size, and Pillow allocates what it allows: 89 million pixels
# of 4 bytes, 341 MiB.
MOST_MEMORY = 512 << 20
MOST_SECONDS = 30.0

Read = Callable[[Path], object]


def idx_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    def read(path: Path) -> None:
        assert isinstance(read_idx(path), np.ndarray)

    write_idx(folder / "idx", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    content = (folder / "idx").read_bytes()
    yield content, "idx", read
    yield gzip.compress(content), "idx.gz", read


def csv_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    def read(path: Path) -> None:
        x, y = read_csv(path, label=0)
        assert x.ndim == 2
        assert y is not None
        assert x.shape[0] == len(y) > 0
        assert x.dtype in (np.uint8, np.float32)

    rng = np.random.default_rng(0)
    pixels = "".join(f"{row % 10},{','.join(map(str, rng.integers(0, 256, 20)))}\n" for row in range(20))
    floats = "".join(f'{row % 3};"{row / 7}"; {row * 1e-30!r};{row / 4}\r\n' for row in range(20))
    yield pixels.encode(), "pixels.csv", read
    yield ("label;a;b;c\n" + floats).encode(), "floats.csv", read
    yield gzip.compress(pixels.encode()), "pixels.csv.gz", read


def small_mnist() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {}
    for role, size in (("train", 3), ("test", 2)):
        arrays[f"x_{role}"] = rng.integers(0, 256, (size, 784)).astype(np.uint8)
        arrays[f"y_{role}"] = np.arange(size)
    return arrays


def read_mnist(path: Path) -> None:
    for x, y in mnist(path):
        assert x.dtype == np.uint8
        assert x.shape == (len(y), 28, 28)
        assert y.dtype == np.int64
        assert ((y >= 0) & (y < 10)).all()


def npz_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    for save in (np.savez, np.savez_compressed):
        stream = BytesIO()
        save(stream, **small_mnist())
        yield stream.getvalue(), "mnist.npz", read_mnist
    yield gzip.compress(stream.getvalue()), "mnist.npz.gz", read_mnist


def mat_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    from scipy.io import savemat

    by_digit = {f"{role}{digit}": np.ones((1, 784)) for role in ("train", "test") for digit in range(10)}
    others = {"cells": np.array([[1, "a"], ["b", 2.5]], object), "s": {"field": 1}, "z": np.array([1j])}
    for arrays, compress in (
        (small_mnist(), False),
        (small_mnist(), True),
        (by_digit, True),
        (others | small_mnist(), False),
    ):
        stream = BytesIO()
        savemat(stream, arrays, do_compression=compress)
        yield stream.getvalue(), "mnist.mat", read_mnist


def pickle_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    arrays = small_mnist()
    train, test = ((arrays[f"x_{role}"] / 256, arrays[f"y_{role}"]) for role in ("train", "test"))
    for protocol in (2, 4, 5):
        yield pickle.dumps((train, test, test), protocol), "mnist.pkl", read_mnist
    yield gzip.compress(pickle.dumps((train, test, test), 2)), "mnist.pkl.gz", read_mnist


def cifar10_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    def read(path: Path) -> None:
        for x, y in cifar10(path.parent):
            assert x.dtype == np.uint8
            assert x.shape == (len(y), 32, 32, 3)
            assert ((y >= 0) & (y < 10)).all()

    record = np.random.default_rng(0).integers(0, 10, 3073).astype(np.uint8).tobytes()
    (folder / "test_batch.bin").write_bytes(record)
    yield 2 * record, "data_batch_1.bin", read
    yield gzip.compress(2 * record), "data_batch_1.bin", read


def image_files(folder: Path) -> Iterator[tuple[bytes, str, Read]]:
    from PIL import Image

    def read(path: Path) -> None:
        x, y, names = image_folder(path.parents[1], size=(6, 5), progress=False)
        assert x.shape == (1, 6, 5, 3)
        assert x.dtype == np.uint8
        assert (y.tolist(), names) == ([0], [path.parent.name])

    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 3)).astype(np.uint8)
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp", "ppm"):
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
        yield stream.getvalue(), f"only/a.{suffix}", read
    stream = BytesIO()
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(stream, "PNG")
    yield stream.getvalue(), "only/a.png", read


READERS = {
    "idx": idx_files,
    "csv": csv_files,
    "npz": npz_files,
    "pickle": pickle_files,
    "mat": mat_files,
    "cifar10": cifar10_files,
    "images": image_files,
}


def fuzz(reader: str, count: int, seed: int = 0) -> Counter[str]:
    """Read `count` damaged files with a reader; returns how many gave a result and how many DatasetError.

    Raises what a reader raises beyond DatasetError, and AssertionError if a result has a wrong shape or if
    a file takes too much time or memory.
    """
    outcomes: Counter[str] = Counter()
    memory = peak_memory()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(action="ignore"):
        files = list(READERS[reader](Path(name)))
        for number, (content, file, read) in enumerate(files):
            folder = Path(name, str(number))
            path = folder / file
            path.parent.mkdir(parents=True)
            for other in Path(name).glob("*.bin"):
                (folder / other.name).write_bytes(other.read_bytes())
            path.write_bytes(content)
            read(path)  # the file is valid
            for damaged in mutations(content, count // len(files), seed):
                path.write_bytes(damaged)
                start = time.perf_counter()
                try:
                    read(path)
                    outcomes["result"] += 1
                except DatasetError:
                    outcomes["DatasetError"] += 1
                except BaseException:
                    Path(tempfile.gettempdir(), f"fuzz-{reader}-{path.name}").write_bytes(damaged)
                    raise
                assert time.perf_counter() - start < MOST_SECONDS
    grown = peak_memory() - memory
    assert grown < MOST_MEMORY, f"{grown >> 10} KiB"
    return outcomes


def _report(reader: str, count: int, seed: int) -> None:
    outcomes = fuzz(reader, count, seed)
    peak = peak_memory() >> 20
    print(f"{reader}: {outcomes.total()} files, {dict(outcomes)}, peak {peak} MiB", flush=True)


def main() -> int:
    """Fuzz the readers named on the command line, or all; returns how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)}; default: all")
    parser.add_argument("--count", type=int, default=5000, help="damaged files per reader")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if unknown := set(options.readers) - set(READERS):
        parser.error(f"unknown readers: {', '.join(unknown)}")
    failed = 0
    for reader in options.readers or READERS:
        process = multiprocessing.get_context("spawn").Process(
            target=_report, args=(reader, options.count, options.seed)
        )
        process.start()
        process.join()
        if process.exitcode != 0:
            failed += 1
            print(f"{reader}: FAILED with exit code {process.exitcode}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
