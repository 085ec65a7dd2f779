"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges 1998), from local files or downloaded."""

import os
import tempfile
from pathlib import Path

import numpy as np

from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.idx import READ_ERRORS, open_unpacked, read_idx
from fastnn.data.mnist_formats import Part, Parts, format_of, read_both, read_csv_part, training_first

# Tried in turn; each holds the four files, with `.gz` added to their names.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# The SHA-256 of the *unpacked* bytes: the same data are in circulation packed in several ways.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

PathLike = str | os.PathLike[str]


def mnist(path: PathLike | tuple[PathLike, PathLike] | None = None, *, download: bool = True) -> Parts:
    """MNIST as ((x_train, y_train), (x_test, y_test)): 60,000 and 10,000 images.

    x: uint8 (N, 28, 28), 0 is background and 255 ink. y: int64 (N,), the digits.

    `path` is a folder, by default $FASTNN_DATA/mnist, or else fastnn/mnist in the user's cache folder. There
    the four IDX files are looked for, plain or gzip, named `train-images-idx3-ubyte` or
    `train-images.idx3-ubyte`; then one .npz or .mat file, or two CSV files, whatever their names (see
    `fastnn.data.mnist_formats`). `path` may also be one such file, or a pair of CSV files, (train, test).
    A .mat file holds a matrix for each digit, so its images come sorted by class.

    When a folder holds nothing of the kind, the four files are downloaded into it (11 MB; needs pooch) and
    their SHA-256 is checked. Files found there are taken as they are, so other data in MNIST's format, such
    as Fashion-MNIST, load too.

    Raises DatasetNotFoundError when a file is missing and cannot be downloaded, and DatasetError when one is
    damaged, does not hold 28x28 images or one label from 0 to 9 for each, or when several could be meant.
    """
    if isinstance(path, tuple | list):
        if len(path) != 2:
            raise ValueError(f"a pair of files is wanted, (train, test), not {len(path)}")
        return read_csv_part(Path(path[0])), read_csv_part(Path(path[1]))
    where = _default_folder() if path is None else Path(path)
    if where.is_file():
        return _from_one_file(where)
    files = _find(where)
    if not files and (found := _in_other_formats(where)):
        return found
    if download and not files:
        _download(where)
        files = _find(where)
    # Some but not all: they may be another data set's, which a download of the rest would mix with MNIST.
    if missing := [name for name in SHA256 if name not in files]:
        hint = "; a download needs a folder without any of the four" if files else ""
        raise _not_found(where, f"missing are {', '.join(missing)}{hint}")
    train_images, train_labels, test_images, test_labels = (files[name] for name in SHA256)
    return _load(train_images, train_labels), _load(test_images, test_labels)


def _default_folder() -> Path:
    if data := os.environ.get("FASTNN_DATA"):
        return Path(data, "mnist")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "fastnn", "mnist")


def _find(folder: Path) -> dict[str, Path]:
    """The files of `SHA256` that are in `folder`, by name."""
    found = {}
    for name in SHA256:
        spellings = (name, name.replace("-idx", ".idx"))
        for file in (folder / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz")):
            # Not `exists`: some archives unpack to folders of these names.
            if file.is_file():
                found[name] = file
                break
    return found


def _from_one_file(file: Path) -> Parts:
    if file.name.removesuffix(".gz").replace(".idx", "-idx") in SHA256:
        raise DatasetError(f"{file} is one of four files of MNIST: pass their folder, {file.parent}")
    return read_both(file)


def _in_other_formats(folder: Path) -> Parts | None:
    """MNIST in the files of `folder` that are of another format than IDX; None if there are none."""
    if not folder.is_dir():
        return None
    forms = {file: format_of(file) for file in sorted(folder.iterdir()) if file.is_file()}
    archives = [file for file, form in forms.items() if form in ("npz", "mat")]
    tables = [file for file, form in forms.items() if form == "csv"]
    if not archives and not tables:
        return None
    if len(archives) == 1 and not tables:
        return read_both(archives[0])
    if len(tables) == 2 and not archives:
        files = (tables[0], tables[1])
        return training_first(files, (read_csv_part(files[0]), read_csv_part(files[1])))
    names = ", ".join(file.name for file in archives + tables)
    raise DatasetError(
        f"{folder} holds {names}: one .npz or .mat file, or two CSV files are wanted. Pass the file that is "
        "meant, or mnist((train, test)) for two CSV files"
    )


def _load(images: Path, labels: Path) -> Part:
    x, y = read_idx(images), read_idx(labels)
    if x.dtype != np.uint8 or x.shape[1:] != (28, 28):
        raise DatasetError(f"{images}: images must be uint8 (N, 28, 28), not {x.dtype} {x.shape}")
    if y.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise DatasetError(
            f"{labels}: labels must be uint8 {x.shape[:1]} as {images}, not {y.dtype} {y.shape}"
        )
    if (y > 9).any():
        raise DatasetError(f"{labels}: labels must be digits from 0 to 9, not {y.max()}")
    return x, y.astype(np.int64)


def _download(folder: Path) -> None:
    """Put the four files into `folder`: all of them, or none and DatasetNotFoundError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the destination, so that moving the files out is a rename. Whatever ends the download
        # early, Ctrl-C too, removes this folder with what it holds.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as staging:
            _fetch(Path(staging))
            for file in Path(staging).iterdir():
                file.replace(folder / file.name)
    except ImportError as error:
        raise _not_found(folder, "a download needs pooch: pip install 'fastnn-kernels[demo]'") from error
    except (DatasetError, OSError) as error:
        raise _not_found(folder, f"the download failed: {error}") from error


def _fetch(staging: Path) -> None:
    """Download the four files from the mirrors. Raises DatasetError when one cannot be had from any."""
    import pooch  # an optional dependency, and a slow import

    pending = list(SHA256)
    failures = []
    for mirror in MIRRORS:
        # A mirror that fails is left for good: nobody waits four times for the same dead one.
        try:
            while pending:
                url, file = f"{mirror}{pending[0]}.gz", staging / f"{pending[0]}.gz"
                pooch.HTTPDownloader(progressbar=True)(url, str(file), None)
                _check_sha256(file, SHA256[pending[0]])
                del pending[0]
            return
        except (DatasetError, *READ_ERRORS) as error:
            failures.append(f"{url}: {error}")
    raise DatasetError("; ".join(failures))


def _check_sha256(file: Path, sha256: str) -> None:
    """Raise DatasetError unless the unpacked bytes of `file` have this SHA-256."""
    import hashlib  # takes 10 ms of the import

    with open_unpacked(file) as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise DatasetError(f"the unpacked bytes have SHA-256 {found}, not {sha256}")


def _not_found(folder: Path, reason: str) -> DatasetNotFoundError:
    return DatasetNotFoundError(
        f"MNIST is not in {folder}. Put the four files {', '.join(SHA256)} there, plain or .gz, one .npz or "
        f".mat file, or two CSV files, or set FASTNN_DATA to the folder in which mnist/ holds them. "
        f"The reason: {reason}"
    )
