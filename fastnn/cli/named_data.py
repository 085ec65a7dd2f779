"""The data sets that the command line knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from string import ascii_lowercase, ascii_uppercase, digits

from fastnn import data
from fastnn._validation import Array
from fastnn.data.folders import default_folder

Part = tuple[Array, Array]


@dataclass(frozen=True)
class Dataset:
    """A data set of images.

    Args:
        load: Function that returns ((x_train, y_train), (x_test, y_test)). Its argument says whether the
            function may download missing files.
        image: Height and width of an image, in pixels.
        classes: Number of classes.
        names: Names of the classes. Default: their numbers.
    """

    load: Callable[[bool], tuple[Part, Part]]
    image: tuple[int, int]
    classes: int
    names: tuple[str, ...] | None = None


# Xiao, Rasul and Vollgraf 2017, "Fashion-MNIST: a novel image dataset for benchmarking machine learning".
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

# Cohen et al. 2017, "EMNIST: extending MNIST to handwritten letters": the merged splits have no small letters
# of the same shape as their capital.
MERGED = (*digits, *ascii_uppercase, *"abdefghnqrt")
EMNIST = {
    "balanced": MERGED,
    "byclass": (*digits, *ascii_uppercase, *ascii_lowercase),
    "bymerge": MERGED,
    "letters": tuple(ascii_uppercase),
}


def _fashion_mnist(download: bool) -> tuple[Part, Part]:
    folder = default_folder("fashion-mnist")
    try:
        return data.mnist(folder, download=False)
    except data.DatasetNotFoundError:
        raise data.DatasetNotFoundError(
            f"Fashion-MNIST is not in {folder}: put its four files (train-images-idx3-ubyte.gz and so on, "
            "from https://github.com/zalandoresearch/fashion-mnist) there, or set FASTNN_DATA to the "
            "folder that has them in fashion-mnist/"
        ) from None


def _emnist(split: str, download: bool) -> tuple[Part, Part]:
    """Load a split of EMNIST, with labels from 0: those of "letters" are 1 to 26 in the files."""
    (x, y), (x_test, y_test) = data.emnist(split)
    first = int(split == "letters")
    return (x, y - first), (x_test, y_test - first)


DATASETS = {
    "digits": Dataset(lambda download: data.digits(), (8, 8), 10),
    "mnist": Dataset(lambda download: data.mnist(download=download), (28, 28), 10),
    "fashion-mnist": Dataset(_fashion_mnist, (28, 28), 10, CLOTHES),
    **{
        f"emnist-{split}": Dataset(partial(_emnist, split), (28, 28), len(names), names)
        for split, names in EMNIST.items()
    },
}
