"""Read folders of images, and resize images, with Pillow (which the extra `demo` installs)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastnn._arrays import as_array
from fastnn.data.errors import DatasetError
from fastnn.data.image_files import find_images, warn_of_skipped

if TYPE_CHECKING:
    from PIL.Image import Image

# The formats of `SUFFIXES`. Pillow recognizes a format by the content of a file, and would start Ghostscript
# for PostScript under the name of a PNG file.
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "GIF", "TIFF", "WEBP")

# The formats whose files of 16 bits have a mode for integers of 32 bits in some versions of Pillow.
FORMATS_OF_16_BITS = ("PNG", "PPM")

Bytes = npt.NDArray[np.uint8]


def image_folder(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int],
    classes: Sequence[str] | None = None,
    grey: bool = False,
    on_error: str = "raise",
    progress: bool | None = None,
) -> tuple[Bytes, npt.NDArray[np.int64], list[str]]:
    """Read the images in a folder that has one sub-folder per class.

    Files are selected by their suffix: PNG, JPEG, PGM, PPM, PBM, BMP, GIF, TIFF and WebP. Images are rotated
    as their EXIF data say, and transparent pixels become white. Of an animation, the first frame is read. 16
    bits per channel become 8: values from 0 to 65535 are divided by 257, whatever the values of an image are.
    A warning counts and names what is not read: pictures in no class or in deeper folders, hidden folders,
    folders without pictures, other files.

    Args:
        path: The folder.
        size: (H, W) to resize all images to; proportions are not kept.
        classes: Names of the sub-folders, in the order of their labels. Pass the `names` of the training set
            when you read a test set: one that lacks a class would otherwise have other labels. Other
            sub-folders are not read. Default: all sub-folders that have pictures.
        grey: Convert the images to grey.
        on_error: "raise" an error for a file that cannot be read, or "skip" it with a warning.
        progress: Whether to show a progress bar. None: only if the error stream is a terminal.

    Returns:
        (x, y, names): images x, uint8 (N, H, W, 3), or (N, H, W) with `grey`; labels y, int64 (N,), indices
        into `names`; `classes`, or else the names of the sub-folders, sorted with numbers by their value (s2
        before s10).

    Raises:
        DatasetNotFoundError: If there is no such folder, or if it has no images.
        DatasetError: If a file cannot be read, has pixels of another type, such as floats, or has more pixels
            than `PIL.Image.MAX_IMAGE_PIXELS` (89 million); the message names the file.
        ValueError: If `size`, `classes` or `on_error` is invalid.
        ImportError: If Pillow is missing.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", not {on_error!r}')
    height, width = check_size(size)
    root = Path(path)
    found = find_images(root, classes)
    warn_of_skipped(root, found)
    from tqdm import tqdm

    images: list[Bytes] = []
    labels: list[int] = []
    disable = None if progress is None else not progress
    for file, label in tqdm(found.files, desc="reading images", disable=disable, leave=False):
        try:
            images.append(read_image(file, (height, width), grey))
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
        raise DatasetError(f"none of the {len(found.files)} images in {root} can be read")
    return np.stack(images), np.array(labels, np.int64), found.names


def resize(x: npt.ArrayLike, size: tuple[int, int]) -> Bytes:
    """Resize images to `size` = (height, width) by bilinear interpolation.

    `x` has shape (N, H, W), (N, H, W, 1) or (N, H, W, 3) and dtype uint8; the result has the same form.
    Images are smoothed where they shrink, so that every pixel contributes.

    Raises TypeError if x is not uint8, and ValueError if the shape or the size is invalid.
    """
    height, width = check_size(size)
    images = as_array(x, "x")
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(
            f"images must have shape (N, H, W), (N, H, W, 1) or (N, H, W, 3), not {images.shape}"
        )
    pil = pillow()
    has_axis = images.ndim == 4 and images.shape[3] == 1
    out = np.empty((len(images), height, width, *images.shape[3:]), np.uint8)
    for number, image in enumerate(images[..., 0] if has_axis else images):
        resized = pil.fromarray(image).resize((width, height), pil.Resampling.BILINEAR)
        out[number] = np.asarray(resized)[..., None] if has_axis else resized
    return out


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Check a size (height, width). Raises ValueError unless it has two positive integers."""
    sides = np.asarray(size)
    if sides.shape != (2,) or sides.dtype.kind not in "iu" or sides.min() < 1:
        raise ValueError(f"size must be (height, width), two integers of at least 1, not {size!r}")
    return int(sides[0]), int(sides[1])


def read_image(
    path: Path, size: tuple[int, int], grey: bool, box: tuple[int, int, int, int] | None = None
) -> Bytes:
    """Read one image, or the part of it inside `box` = (left, top, right, bottom).

    Raises the exceptions of Pillow if the file is damaged, and ValueError if the box has no pixels.
    """
    from PIL import ImageOps

    pil = pillow()
    with pil.open(path, formats=FORMATS) as file:
        # Pillow raises only at twice this limit; before, it warns. Nothing is decompressed yet.
        most = pil.MAX_IMAGE_PIXELS
        if most is not None and prod(file.size) > most:
            raise ValueError(f"{file.width} x {file.height} pixels are more than {most}")
        form, mode = file.format, file.mode
        picture: Image = ImageOps.exif_transpose(file)
    if mode.startswith("I;16") or (mode == "I" and form in FORMATS_OF_16_BITS):
        wide = np.asarray(picture, np.float32)
        narrow = (wide / 257).round().astype(np.uint8)
        narrow[wide == picture.info.get("transparency", -1)] = 255
        picture = pil.fromarray(narrow)
    elif mode in ("I", "F"):
        raise ValueError(f"pixels of mode {mode} have no known range: convert the image to 8 or 16 bits")
    if picture.has_transparency_data:
        transparent = picture.convert("RGBA")
        picture = pil.alpha_composite(pil.new("RGBA", transparent.size, "white"), transparent)
    if box is not None:
        picture = picture.crop(_inside(box, picture.size))
    picture = picture.convert("L" if grey else "RGB")
    return np.asarray(picture.resize(size[::-1], pil.Resampling.BILINEAR))


def _inside(box: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Clip a box to a picture of `size` = (W, H). Raises ValueError if nothing is left."""
    left, top, right, bottom = (min(max(number, 0), most) for number, most in zip(box, size * 2, strict=True))
    if left >= right or top >= bottom:
        raise ValueError(f"the box {box} has no pixels of a picture of {size[0]} x {size[1]}")
    return left, top, right, bottom


def pillow() -> Any:
    """Import Pillow. Raises ImportError, which says what to install."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need Pillow: pip install 'fastnn-kernels[demo]'") from error
    return Image
