"""Read folders of images, and resize images, with Pillow (which the extra `demo` installs)."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn.data.errors import DatasetError, DatasetNotFoundError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pbm", ".bmp", ".gif", ".tif", ".tiff", ".webp")

Bytes = npt.NDArray[np.uint8]


def image_folder(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    grey: bool = False,
    on_error: str = "raise",
    progress: bool | None = None,
) -> tuple[Bytes, npt.NDArray[np.int64], list[str]]:
    """Read the images in a folder that has one sub-folder per class.

    Files are selected by their suffix: PNG, JPEG, PGM, PPM, PBM, BMP, GIF, TIFF and WebP. Images are rotated
    as their EXIF data say, transparent pixels become white, and 16 bits per channel become 8.

    Args:
        path: The folder.
        size: (H, W) to resize all images to; proportions are not kept.
        grey: Convert the images to grey.
        on_error: "raise" an error for a file that cannot be read, or "skip" it with a warning.
        progress: Whether to show a progress bar. None: only if the error stream is a terminal.

    Returns:
        (x, y, names): images x, uint8 (N, H, W, 3), or (N, H, W) with `grey`; labels y, int64 (N,), indices
        into `names`; the names of the sub-folders, sorted with numbers by their value (s2 before s10).

    Raises:
        DatasetNotFoundError: If there is no such folder, or if it has no images.
        DatasetError: If a file cannot be read; the message names the file.
        ValueError: If `size` or `on_error` is invalid.
        ImportError: If Pillow is missing.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", not {on_error!r}')
    height, width = _sides(size)
    root = Path(path)
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"{root} is not a folder: pass a folder that has one sub-folder of images per class"
        )
    classes = sorted((folder for folder in root.iterdir() if folder.is_dir()), key=_by_numbers)
    files = [(file, label) for label, folder in enumerate(classes) for file in _pictures_in(folder)]
    if not files:
        raise DatasetNotFoundError(
            f"there are no images in the {len(classes)} sub-folders of {root}: put files with the suffixes "
            f"{', '.join(SUFFIXES)} into one sub-folder per class"
        )
    from tqdm import tqdm

    images: list[Bytes] = []
    labels: list[int] = []
    disable = None if progress is None else not progress
    for file, label in tqdm(files, desc="reading images", disable=disable, leave=False):
        try:
            images.append(_read(file, (height, width), grey))
        except ImportError:
            raise
        except Exception as error:  # damaged files make Pillow raise exceptions of many types
            if on_error == "raise":
                raise DatasetError(
                    f'{file} cannot be read: {error}; use on_error="skip" to skip such files'
                ) from error
            warnings.warn(f"{file} cannot be read and is skipped: {error}", stacklevel=2)
        else:
            labels.append(label)
    if not images:
        raise DatasetError(f"none of the {len(files)} images in {root} can be read")
    return np.stack(images), np.array(labels, np.int64), [folder.name for folder in classes]


def resize(x: npt.ArrayLike, size: tuple[int, int]) -> Bytes:
    """Resize images to `size` = (height, width) by bilinear interpolation.

    `x` has shape (N, H, W), (N, H, W, 1) or (N, H, W, 3) and dtype uint8; the result has the same form.
    Images are smoothed where they shrink, so that every pixel contributes.

    Raises TypeError if x is not uint8, and ValueError if the shape or the size is invalid.
    """
    height, width = _sides(size)
    images = np.asarray(x)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            f"images must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {images.shape}"
        )
    pil = _pillow()
    has_axis = images.ndim == 4 and images.shape[3] == 1
    out = np.empty((len(images), height, width, *images.shape[3:]), np.uint8)
    for number, image in enumerate(images[..., 0] if has_axis else images):
        resized = pil.fromarray(image).resize((width, height), pil.Resampling.BILINEAR)
        out[number] = np.asarray(resized)[..., None] if has_axis else resized
    return out


def _sides(size: tuple[int, int]) -> tuple[int, int]:
    """Check a size (height, width). Raises ValueError unless it has two positive integers."""
    sides = np.asarray(size)
    if sides.shape != (2,) or sides.dtype.kind not in "iu" or sides.min() < 1:
        raise ValueError(f"size must be (height, width), two integers of at least 1, not {size!r}")
    return int(sides[0]), int(sides[1])


def _by_numbers(path: Path) -> list[tuple[int, int | str]]:
    """Sort key that compares the numbers in a name by value: s2 before s10."""
    words = "".join(f" {c} " if not c.isdigit() else c for c in path.name).split()
    return [(0, int(word)) if word.isdecimal() else (1, word) for word in words]


def _pictures_in(folder: Path) -> list[Path]:
    """List the image files in a folder, sorted."""
    return sorted(
        (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file()), key=_by_numbers
    )


def _read(path: Path, size: tuple[int, int], grey: bool) -> Bytes:
    """Read one image. Raises the exceptions of Pillow if the file is damaged."""
    from PIL import ImageOps

    pil = _pillow()
    with pil.open(path) as file:
        picture: Image = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 bits and more
        wide = np.asarray(picture, np.float64)
        most = 255 if wide.max(initial=0) <= 255 else 65535
        picture = pil.fromarray(np.clip(wide * (255 / most), 0, 255).round().astype(np.uint8))
    if picture.mode == "P" or "A" in picture.mode:
        transparent = picture.convert("RGBA")
        picture = pil.alpha_composite(pil.new("RGBA", transparent.size, "white"), transparent)
    picture = picture.convert("L" if grey else "RGB")
    return np.asarray(picture.resize(size[::-1], pil.Resampling.BILINEAR))


def _pillow() -> Any:
    """Import Pillow. Raises ImportError, which says what to install."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'fastnn-kernels[demo]'") from error
    return Image
