"""Download the pictures that a list names by their URLs and SHA-256 digests, such as FaceScrub."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastnn._waiting import next_of
from fastnn.data.errors import DatasetError
from fastnn.data.image_files import check_classes
from fastnn.data.images import Bytes, check_size, pillow, read_image
from fastnn.data.unpacking import read_unpacked
from fastnn.files import remove_leftovers, user_path, write_atomic

WORKERS = 8  # downloads at the same time, most of them from different servers
CLASS_COLUMNS = ("name", "label", "class")
MOST_REASONS = 5  # in a message


class SkippedImage(NamedTuple):
    """A line of the list whose picture is left out, and why."""

    line: int
    url: str
    reason: str


class FetchedImages(NamedTuple):
    """The result of `fetch_images`."""

    x: Bytes
    y: npt.NDArray[np.int64]
    names: list[str]
    skipped: list[SkippedImage]


class _Row(NamedTuple):
    """A line of the list: the class, the URL, the SHA-256 in lower case, and the box as text."""

    line: int
    name: str
    url: str
    digest: str
    box: str

    @property
    def corners(self) -> tuple[int, int, int, int] | None:
        """The box; None for the whole picture. Raises ValueError for anything else."""
        if not self.box:
            return None
        left, top, right, bottom = (int(corner) for corner in self.box.split(","))
        return left, top, right, bottom


def fetch_images(
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    classes: Sequence[str] | None = None,
    grey: bool = False,
    download: bool = True,
    timeout: float = 30.0,
    limit: int = 20_000_000,
    progress: bool | None = None,
) -> FetchedImages:
    """Download the pictures of a list, check them by their SHA-256, crop and resize them.

    >>> faces = fn.data.fetch_images("facescrub_actors.txt", "faces", size=(64, 64), grey=True)
    >>> train, valid, test = fn.data.split(faces.x, faces.y, per_class=(70, 10, 10), seed=0)

    The list is a CSV file, separated by commas or tabs, with a header. It must have the columns `url`,
    `sha256`, and `name`, `label` or `class`; `bbox` may have the corners "left,top,right,bottom" of the part
    to keep, in pixels of the upright picture. Other columns are ignored. The lists of FaceScrub (Ng and
    Winkler 2014) have this form.

    Pictures that cannot be downloaded, that have changed since the list was made, or that are damaged are
    left out, and a warning counts them. The folder keeps the files as they came, named by their digests:
    another call, also after an interruption, downloads only what is missing, and another size needs no
    download. Only http and https are spoken.

    Args:
        path: The list.
        folder: Folder for the downloaded files; it is created.
        size: (H, W) to resize all pictures to; proportions are not kept.
        classes: Names of the classes to keep, in the order of their labels. Default: all, sorted.
        grey: Convert the pictures to grey.
        download: Whether to download what is missing from the folder.
        timeout: Seconds that one download may take.
        limit: Largest size of a file in bytes.
        progress: Whether to show progress bars. None: only if the error stream is a terminal.

    Returns:
        (x, y, names, skipped): pictures x, uint8 (N, H, W, 3), or (N, H, W) with `grey`, in the order of the
        list; labels y, int64 (N,), indices into `names`, which do not depend on the pictures that are left
        out; and line, URL and reason for each of those.

    Raises:
        DatasetNotFoundError: If there is no list.
        DatasetError: If the list lacks a column or a class, is no text in UTF-8, or no picture is left.
        ValueError: If an argument is invalid.
        NotADirectoryError: If the folder is a file.
        ImportError: If Pillow is missing.
    """
    height, width = check_size(size)
    check_classes(classes, "in the list")
    for name, value in (("timeout", timeout), ("limit", limit)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0, not {value!r}")
    pillow()
    rows, names = _chosen(user_path(path), classes)
    store = user_path(folder)
    if store.exists() and not store.is_dir():
        raise NotADirectoryError(f"{store} is a file: choose a folder for the pictures")
    store.mkdir(parents=True, exist_ok=True)
    skipped: dict[int, SkippedImage] = {}

    def skip(row: _Row, reason: str) -> None:
        skipped[row.line] = SkippedImage(row.line, row.url, reason)

    def remaining(of: Iterable[_Row]) -> list[_Row]:
        return [row for row in of if row.line not in skipped]

    for row in rows:
        if mistake := _mistake(row):
            skip(row, mistake)
    missing = [row for row in remaining(rows) if not _is_stored(store, row.digest)]
    if download:
        _download(missing, store, int(limit), float(timeout), skip, progress)
    else:
        for row in missing:
            skip(row, "not in the folder")
    images, labels = [], []
    for row in _bar(remaining(rows), "reading pictures", progress):
        try:
            images.append(read_image(store / row.digest, (height, width), grey, row.corners))
        except Exception as error:  # damaged files make Pillow raise exceptions of many types
            skip(row, f"no readable picture: {error}")
        else:
            labels.append(names.index(row.name))
    summary = f"{len(skipped)} of {len(rows)} pictures of {path} are left out: {_counted(skipped.values())}"
    if not images:
        raise DatasetError(summary)
    if skipped:
        warnings.warn(f"fetch_images: {summary}", stacklevel=2)
    return FetchedImages(np.stack(images), np.array(labels, np.int64), names, sorted(skipped.values()))


def _chosen(path: Path, classes: Sequence[str] | None) -> tuple[list[_Row], list[str]]:
    """The rows of the chosen classes, and the names of these. Raises DatasetError for an unsuitable list."""
    rows = _read_list(path)
    known = {row.name for row in rows}
    names = sorted(known) if classes is None else list(classes)
    if unknown := [name for name in names if name not in known]:
        raise DatasetError(f"{path} has no class {unknown[0]!r}: choose from {', '.join(sorted(known)):.200}")
    return [row for row in rows if row.name in names], names


def _read_list(path: Path) -> list[_Row]:
    """Read all rows that have a class. Raises DatasetNotFoundError or DatasetError."""
    try:
        text = bytes(read_unpacked(path)).decode("utf-8-sig")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is no CSV file in UTF-8: {error}") from error
    header = [name.lower() for name in lines[0][1]] if lines else []
    label = next((name for name in CLASS_COLUMNS if name in header), None)
    if label is None or not {"url", "sha256"} <= set(header):
        raise DatasetError(
            f"{path} must begin with a header that has url, sha256, and one of {', '.join(CLASS_COLUMNS)}; "
            f"the first line has {', '.join(header)!r:.200}"
        )
    found = ((line, dict(zip(header, cells, strict=False))) for line, cells in lines[1:])
    rows = [
        _Row(line, row[label], row.get("url", ""), row.get("sha256", "").lower(), row.get("bbox", ""))
        for line, row in found
        if row.get(label)
    ]
    if not rows:
        raise DatasetError(f"{path} names no pictures")
    return rows


def _mistake(row: _Row) -> str | None:
    """What is wrong with a row, or None."""
    if not re.fullmatch("[0-9a-f]{64}", row.digest):
        return "no SHA-256 in the list"
    try:
        _ = row.corners
    except ValueError:
        return "no box left,top,right,bottom in the list"
    return None


def _is_stored(store: Path, digest: str) -> bool:
    """Whether the folder has the file, unchanged."""
    try:
        with open(store / digest, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except OSError:
        return False


def _download(
    rows: Sequence[_Row],
    store: Path,
    limit: int,
    seconds: float,
    skip: Callable[[_Row, str], None],
    progress: bool | None,
) -> None:
    """Download files into the folder, several at a time, and call `skip` for those that fail."""
    if not rows:
        return
    from fastnn.data.downloads import Downloads  # 30 ms

    downloads = Downloads(limit, seconds)
    same: dict[str, list[_Row]] = {}  # lines of the same picture, perhaps from several servers
    for row in rows:
        same.setdefault(row.digest, []).append(row)

    def fetch(digest: str) -> list[str]:
        """Try the URLs one after the other. Returns their failures, or an empty list."""
        failures = []
        for row in same[digest]:
            try:
                content = downloads.get(row.url)
            except DatasetError as error:
                failures.append(str(error))
                continue
            found = hashlib.sha256(content).hexdigest()
            if found == digest:
                write_atomic(store / digest, content)
                return []
            failures.append(f"another SHA-256: {found}")
        return failures

    for temporary in store.glob(".*.tmp"):
        remove_leftovers(store / temporary.name[1:65])
    ended = Queue[Future[list[str]]]()
    pool = ThreadPoolExecutor(WORKERS, "fastnn-download")
    try:
        running = {pool.submit(fetch, digest): digest for digest in same}
        for future in running:
            future.add_done_callback(ended.put)
        for _ in _bar(running, "downloading", progress):
            future = next_of(ended)
            # result() raises other errors, such as a full disk.
            for row, reason in zip(same[running[future]], future.result(), strict=False):
                skip(row, reason)
    finally:  # after Ctrl-C, running downloads end at once
        downloads.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _counted(skipped: Iterable[SkippedImage]) -> str:
    """The most frequent reasons with their numbers, such as "3 HTTP 404, 1 another SHA-256"."""
    reasons = Counter(each.reason.partition(":")[0] for each in skipped).most_common()
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons[:MOST_REASONS])
    return listed + ", ..." * (len(reasons) > MOST_REASONS)


def _bar(steps: Iterable[Any], what: str, progress: bool | None) -> Any:
    from tqdm import tqdm

    disable = None if progress is None else not progress
    return tqdm(steps, what, leave=False, disable=disable)
