"""Pictures from folders, and of other sizes; by Pillow, which the extra `demo` installs."""

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
    """The pictures in the sub-folders of `path`, one for each class, as (x, y, names).

    x: uint8 (N, H, W, 3), or (N, H, W) if `grey`; every picture is brought to `size` = (H, W), whatever its
    proportions. y: int64 (N,), indices into `names`, the names of the sub-folders in their order (s2 before
    s10). Files are told by their suffix: PNG, JPEG, PGM, PPM, BMP, GIF, TIFF, WebP. A picture is turned as
    its camera says; transparent places become white, 16 bits 8.

    A file that cannot be read raises DatasetError, which names it, or with `on_error="skip"` is left out,
    with a warning. Raises DatasetNotFoundError when there is no such folder, or nothing in it.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", not {on_error!r}')
    height, width = _sides(size)
    root = Path(path)
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"{root} is no folder: pass one that holds a folder of pictures for each class"
        )
    classes = sorted((folder for folder in root.iterdir() if folder.is_dir()), key=_by_numbers)
    files = [(file, label) for label, folder in enumerate(classes) for file in _pictures_in(folder)]
    if not files:
        raise DatasetNotFoundError(
            f"there are no pictures in the {len(classes)} folders in {root}: files with the suffixes "
            f"{', '.join(SUFFIXES)} are looked for, in a folder for each class"
        )
    from tqdm import tqdm

    pictures: list[Bytes] = []
    labels: list[int] = []
    disable = None if progress is None else not progress
    for file, label in tqdm(files, desc="reading pictures", disable=disable, leave=False):
        try:
            pictures.append(_read(file, (height, width), grey))
        except ImportError:
            raise
        except Exception as error:  # a broken file makes Pillow raise whatever it stumbles over
            if on_error == "raise":
                raise DatasetError(
                    f'{file} cannot be read: {error}; on_error="skip" leaves it out'
                ) from error
            warnings.warn(f"{file} cannot be read and is left out: {error}", stacklevel=2)
        else:
            labels.append(label)
    if not pictures:
        raise DatasetError(f"none of the {len(files)} pictures in {root} can be read")
    return np.stack(pictures), np.array(labels, np.int64), [folder.name for folder in classes]


def resize(x: npt.ArrayLike, size: tuple[int, int]) -> Bytes:
    """Images uint8 (N, H, W) or (N, H, W, C), C = 1 or 3, brought to `size` = (height, width), bilinearly.

    Where they shrink they are smoothed, so that no pixel is lost. Raises TypeError and ValueError for what
    are no such images.
    """
    height, width = _sides(size)
    images = np.asarray(x)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise ValueError(f"images (N, H, W) or (N, H, W, 1 or 3) are wanted, not {images.shape}")
    pil = _pillow()
    has_axis = images.ndim == 4 and images.shape[3] == 1
    out = np.empty((len(images), height, width, *images.shape[3:]), np.uint8)
    for number, image in enumerate(images[..., 0] if has_axis else images):
        resized = pil.fromarray(image).resize((width, height), pil.Resampling.BILINEAR)
        out[number] = np.asarray(resized)[..., None] if has_axis else resized
    return out


def _sides(size: tuple[int, int]) -> tuple[int, int]:
    sides = np.asarray(size)
    if sides.shape != (2,) or sides.dtype.kind not in "iu" or sides.min() < 1:
        raise ValueError(f"size must be (height, width), two whole numbers of at least 1, not {size!r}")
    return int(sides[0]), int(sides[1])


def _by_numbers(path: Path) -> list[tuple[int, int | str]]:
    """s2 before s10."""
    words = "".join(f" {c} " if not c.isdigit() else c for c in path.name).split()
    return [(0, int(word)) if word.isdecimal() else (1, word) for word in words]


def _pictures_in(folder: Path) -> list[Path]:
    return sorted(
        (f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file()), key=_by_numbers
    )


def _read(path: Path, size: tuple[int, int], grey: bool) -> Bytes:
    """One picture. Raises what Pillow does for a broken one."""
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
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures need Pillow: pip install 'fastnn-kernels[demo]'") from error
    return Image
