"""Load MNIST, 70,000 handwritten digits (LeCun, Cortes and Burges 1998), from local files or a download."""

import os
import tempfile
from pathlib import Path

import numpy as np

from fastnn.data.errors import DatasetError, DatasetNotFoundError
from fastnn.data.folders import default_folder
from fastnn.data.idx import read_idx
from fastnn.data.mnist_formats import (
    CLASSES,
    Part,
    Parts,
    format_of,
    read_both,
    read_csv_part,
    training_first,
)
from fastnn.data.unpacking import READ_ERRORS, open_unpacked

# Tried in this order. Each mirror has the four files, with `.gz` added to their names.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

# SHA-256 of the *uncompressed* bytes, because differently compressed files of the same data exist.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

PathLike = str | os.PathLike[str]


def mnist(path: PathLike | tuple[PathLike, PathLike] | None = None, *, download: bool = True) -> Parts:
    """Load MNIST.

    A folder may have the four IDX files, plain or compressed with gzip, named `train-images-idx3-ubyte` or
    `train-images.idx3-ubyte` and so on; or one .npz, .mat or pickle file; or two CSV files. The names of the
    latter do not matter (see `fastnn.data.mnist_formats`). If the folder has none of them, the four IDX files
    are downloaded into it (11 MB; needs pooch) and verified by their SHA-256. Existing files are not
    verified, so other data in the format of MNIST, such as Fashion-MNIST, load too.

    Args:
        path: A folder, one .npz, .mat or .pkl.gz file, or a pair of CSV files (train, test). Default:
            $FASTNN_DATA/mnist, or else fastnn/mnist in the user's cache folder.
        download: Whether the files may be downloaded.

    Returns:
        ((x_train, y_train), (x_test, y_test)), 60,000 and 10,000 images: x, uint8 (N, 28, 28), where 0 is
        background and 255 ink, and y, int64 (N,), the digits. The images of a .mat file with one matrix per
        digit are sorted by class.

    Raises:
        DatasetNotFoundError: If a file is missing and cannot be downloaded.
        DatasetError: If a file is damaged, if it does not have 28 x 28 images with one label from 0 to 9
            each, or if the folder has several candidates.
        ValueError: If `path` is a sequence, but not of two files.
    """
    if isinstance(path, tuple | list):
        if len(path) != 2:
            raise ValueError(f"path must be a pair of files, (train, test), not {len(path)} files")
        return read_csv_part(Path(path[0])), read_csv_part(Path(path[1]))
    source = default_folder("mnist") if path is None else Path(path)
    if source.is_file():
        return _from_one_file(source)
    files = _find(source)
    if not files and (found := _in_other_formats(source)):
        return found
    if download and not files:
        _download(source)
        files = _find(source)
    # If only some files are there, they may be another data set's, and a download would mix it with MNIST.
    if missing := [name for name in SHA256 if name not in files]:
        hint = "; a download needs a folder without any of the four files" if files else ""
        raise _not_found(source, f"missing are {', '.join(missing)}{hint}")
    train_images, train_labels, test_images, test_labels = (files[name] for name in SHA256)
    return load_pair(train_images, train_labels), load_pair(test_images, test_labels)


def _find(folder: Path) -> dict[str, Path]:
    """Find the files of `SHA256` in `folder`; returns their paths by name."""
    found = {}
    for name in SHA256:
        spellings = (name, name.replace("-idx", ".idx"))
        for file in (folder / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz")):
            # Not `exists`, because some archives unpack to folders of these names.
            if file.is_file():
                found[name] = file
                break
    return found


def _from_one_file(file: Path) -> Parts:
    """Load both parts from one file. Raises DatasetError."""
    if file.name.removesuffix(".gz").replace(".idx", "-idx") in SHA256:
        raise DatasetError(f"{file} is one of four files of MNIST: pass their folder, {file.parent}")
    return read_both(file)


def _in_other_formats(folder: Path) -> Parts | None:
    """Load MNIST from the .npz, .mat or CSV files in `folder`; None if there are none."""
    if not folder.is_dir():
        return None
    forms = {file: format_of(file) for file in sorted(folder.iterdir()) if file.is_file()}
    archives = [file for file, form in forms.items() if form in ("npz", "mat", "pickle")]
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
        f"{folder} has {names}: it must have one .npz, .mat or pickle file, or two CSV files. Pass the path "
        "of one file, or mnist((train, test)) for two CSV files. If only one has labels, as in Kaggle's "
        'digit-recognizer, read it with read_csv("train.csv", label="label"), the other with label=None'
    )


def load_pair(images: Path, labels: Path, classes: int = CLASSES) -> Part:
    """Load images and labels from two IDX files. Raises DatasetError if they do not fit together."""
    x, y = read_idx(images), read_idx(labels)
    if x.dtype != np.uint8 or x.shape[1:] != (28, 28):
        raise DatasetError(f"{images}: images must be uint8 (N, 28, 28), not {x.dtype} {x.shape}")
    if y.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise DatasetError(
            f"{labels}: labels must be uint8 {x.shape[:1]}, one per image in {images}, not "
            f"{y.dtype} {y.shape}"
        )
    if (y >= classes).any():
        raise DatasetError(f"{labels}: labels must be from 0 to {classes - 1}, not {y.max()}")
    return x, y.astype(np.int64)


def _download(folder: Path) -> None:
    """Download all four files into `folder`, or none of them and raise DatasetNotFoundError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A temporary folder inside the destination, so that moving the files is a rename. If anything ends
        # the download early, even Ctrl-C, the temporary folder is removed.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as staging:
            _fetch(Path(staging))
            for file in Path(staging).iterdir():
                file.replace(folder / file.name)
    except ImportError as error:
        raise _not_found(folder, "a download needs pooch: pip install 'fastnn-kernels[demo]'") from error
    except (DatasetError, OSError) as error:
        raise _not_found(folder, f"the download failed: {error}") from error


def _fetch(staging: Path) -> None:
    """Download the four files from the mirrors. Raises DatasetError if all mirrors fail."""
    import pooch  # an optional dependency, and a slow import

    pending = list(SHA256)
    failures = []
    for mirror in MIRRORS:
        # A mirror that fails is not tried again for the other files, lest users wait for it four times.
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
        raise DatasetError(f"the uncompressed bytes have SHA-256 {found}, not {sha256}")


def _not_found(folder: Path, reason: str) -> DatasetNotFoundError:
    return DatasetNotFoundError(
        f"MNIST is not in {folder}: {reason}. Put the four files {', '.join(SHA256)} there (plain or .gz), "
        "or one .npz, .mat or pickle file, or two CSV files; or set FASTNN_DATA to the folder that has them "
        "in mnist/"
    )
