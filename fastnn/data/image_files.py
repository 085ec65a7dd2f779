"""Find the image files in a folder of classes, and say what is skipped."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastnn.data.errors import DatasetNotFoundError

SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pbm", ".bmp", ".gif", ".tif", ".tiff", ".webp")

# Files that systems leave in folders; hidden files that are no pictures are left out silently, too.
LITTER = ("thumbs.db", "desktop.ini")


@dataclass
class Found:
    """The names of the classes, the files with their labels, and what is not read, by reason."""

    names: list[str] = field(default_factory=list)
    files: list[tuple[Path, int]] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, name: str) -> None:
        self.skipped.setdefault(reason, []).append(name)


def find_images(root: Path, classes: Sequence[str] | None) -> Found:
    """Find the pictures in the sub-folders of `root`; `classes` as in `image_folder`.

    Raises DatasetNotFoundError if there are none, and ValueError if `classes` is not a list of names.
    """
    check_classes(classes, "of the sub-folders")
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"{root} is not a folder: pass a folder that has one sub-folder of images per class"
        )
    found = Found()
    pictures: dict[str, list[Path]] = {}
    for entry in sorted(root.iterdir(), key=by_numbers):
        if not entry.is_dir():
            if is_picture(entry):
                found.skip("pictures beside the class folders", entry.name)
        elif entry.name.startswith("."):
            found.skip("hidden folders", entry.name)
        elif classes is not None and entry.name not in classes:
            found.skip("folders that are not in classes=", entry.name)
        elif own := _pictures_in(entry, found):
            pictures[entry.name] = own
        else:
            found.skip("folders without pictures", entry.name)
    found.names = list(pictures) if classes is None else list(classes)
    for name in found.names:
        if name not in pictures and not (root / name).is_dir():
            found.skip("classes without a folder", name)
    found.files = [(file, label) for label, name in enumerate(found.names) for file in pictures.get(name, ())]
    if not found.files:
        raise DatasetNotFoundError(
            f"there are no images in the sub-folders of {root}: put files with the suffixes "
            f"{', '.join(SUFFIXES)} into one sub-folder per class{_listed(found)}"
        )
    return found


def check_classes(classes: Sequence[str] | None, where: str) -> None:
    """Raise ValueError unless `classes` is None or a list of names; `where` says which names there are."""
    if classes is not None and (
        isinstance(classes, str)
        or not all(isinstance(name, str) for name in classes)
        or not 0 < len(classes) == len(set(classes))
    ):
        raise ValueError(f"classes must be the names {where}, each once, not {classes!r}")


def warn_of_skipped(root: Path, found: Found) -> None:
    """Warn of everything that is skipped, with counts and the first names."""
    if found.skipped:
        warnings.warn(f"image_folder: not read from {root}{_listed(found)}", stacklevel=3)


def _listed(found: Found) -> str:
    """List what is skipped: the number for each reason, and the first three names."""
    parts = [
        f"{len(names)} {reason} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for reason, names in found.skipped.items()
    ]
    return f": {'; '.join(parts)}" if parts else ""


def _pictures_in(folder: Path, found: Found) -> list[Path]:
    """List the image files in a folder, sorted, and note what else it has."""
    pictures = []
    for entry in sorted(folder.iterdir(), key=by_numbers):
        name = f"{folder.name}/{entry.name}"
        if entry.is_dir():
            for deeper in pictures_below(entry):
                found.skip("pictures in deeper folders", f"{folder.name}/{deeper.relative_to(folder)}")
        elif entry.name.startswith("."):
            if is_picture(entry):  # macOS adds ._name to archives, which has no picture
                found.skip("hidden files", name)
        elif is_picture(entry):
            pictures.append(entry)
        elif entry.suffix.lower() in SUFFIXES:
            found.skip("broken links and special files", name)
        elif entry.name.lower() not in LITTER:
            found.skip("files with other suffixes", name)
    return pictures


def pictures_below(folder: Path) -> list[Path]:
    """List all pictures below a folder. Links to folders are not followed, which could lead in circles."""
    return sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if is_picture(Path(parent, name))
    )


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def by_numbers(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """Sort key that compares the numbers in a name by value: s2 before s10, and 01 before 1."""
    words = "".join(f" {c} " if not c.isdigit() else c for c in path.name).split()
    return [(0, int(word)) if word.isdecimal() else (1, word) for word in words], path.name
