"""The settings of a training run on the user's own data: a CSV file, or a folder of pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar

from fastnn._validation import choose
from fastnn.cli.settings import MAX_WEIGHTS, PRESETS, Settings, bounded
from fastnn.optim.optimizers import Adam, Optimizer

TABLE, FOLDER = "table", "folder"
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
TASKS = ("classification", "regression")
MISSING_RULES = ("error", "mean")
COLOURS = ("auto", "grey", "colour")
LONGEST_SIDE = 1024  # of a picture, in pixels
REGRESSION_LOSSES = ("squared_error", "absolute_error", "huber")


@dataclass(frozen=True)
class OwnSettings(Settings):
    """Settings for a data set of the user.

    Args:
        path: The CSV file or the folder to train on.
        hidden: Number of units of each hidden layer of the mlp, such as 128,64. The data determine the number
            of inputs and outputs.
        test: What to test on: a fraction of the data, such as 0.2, which is held out at random (the same
            fraction of each class), or the path of other data of the same form.
    """

    DATASETS: ClassVar[Collection[str]] = (TABLE, FOLDER)

    optimizer: Optimizer = field(default_factory=lambda: Adam(lr=0.003))
    schedule: str = "one_cycle"
    path: str = ""
    hidden: tuple[int, ...] = (64, 32)
    test: str = "0.2"

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid setting."""
        super().__post_init__()
        for size in self.hidden:
            bounded(size, "each of hidden", MAX_WEIGHTS)
        fraction = self.test_fraction
        if not self.test or (fraction is not None and not 0 < fraction < 1):
            raise ValueError(
                f"test must be a fraction above 0 and below 1, or a path, not {self.test or 'empty'}: the "
                "results need data that the network was not trained on"
            )

    @property
    def test_fraction(self) -> float | None:
        """The fraction of the data that is held out for the test; None if `test` is a path."""
        try:
            return float(self.test)
        except ValueError:
            return None

    @property
    def title(self) -> str:
        """The name of the data: the last part of the path."""
        return Path(self.path).name


@dataclass(frozen=True)
class TableSettings(OwnSettings):
    """Settings for a CSV file.

    Args:
        label: Name of the column to predict.
        task: classification (the labels are text or integers) or regression (the labels are numbers;
            the loss is squared_error unless --loss is absolute_error or huber).
        drop: Columns to leave out, such as Name,Ticket.
        categorical: Columns of numbers to treat as categories, such as Zip,Class.
        missing: What to do with missing cells (empty, NA, N/A, NaN, null): error, or mean (numbers get the
            mean of the training rows; a missing category is 0 in all features of its column).
        image: Height and width, such as 28x28, if the columns are the pixels of images, integers from 0 to
            255. Default: the columns are separate features.
        header: Whether the first line has the names of the columns; without names they are 1, 2, 3, ...
            Default: it has, unless all its cells are numbers, which is an error.
    """

    dataset: str = TABLE
    batch_size: int = 32
    # Means over five splits of iris, wine, breast cancer (accuracy) and diabetes (R2) from scikit-learn after
    # 20 epochs: 0.933, 0.994, 0.979, 0.510; 30: 0.940, 0.994, 0.979, 0.500; 100: 0.933, 0.994, 0.979, 0.318.
    epochs: int = 30
    label: str = ""
    task: str = "classification"
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    missing: str = "error"
    image: tuple[int, ...] | None = None
    header: bool | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid setting."""
        choose(self.task, dict.fromkeys(TASKS), "task")
        if self.is_regression and self.loss == Settings.loss:
            object.__setattr__(self, "loss", "squared_error")
        super().__post_init__()
        choose(self.missing, dict.fromkeys(MISSING_RULES), "rule for missing cells")
        if self.is_regression and self.loss not in REGRESSION_LOSSES:
            raise ValueError(
                f"loss {self.loss!r} is not for regression: choose one of {', '.join(REGRESSION_LOSSES)}"
            )
        if self.image is not None:
            check_sides(self.image, "image")
            if self.is_regression:
                raise ValueError("image and task regression cannot be combined")
        elif self.model == "cnn":
            raise ValueError("the model cnn needs images: pass --image 28x28, or another height and width")
        elif self.augmentation() is not None:
            raise ValueError("rotate, shift and zoom need images: pass --image 28x28 if the data have them")

    @property
    def is_regression(self) -> bool:
        return self.task == "regression"


@dataclass(frozen=True)
class FolderSettings(OwnSettings):
    """Settings for a folder of pictures.

    Args:
        size: Height and width, such as 32x32, to which all pictures are resized.
        colour: grey, colour or auto, which is grey if no picture has colours.
    """

    dataset: str = FOLDER
    hidden: tuple[int, ...] = (256, 128)
    epochs: int = 20
    size: tuple[int, ...] = (32, 32)
    colour: str = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid setting."""
        super().__post_init__()
        check_sides(self.size, "size")
        choose(self.colour, dict.fromkeys(COLOURS), "colour")


def check_sides(sides: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless `sides` is a height and a width."""
    if len(sides) != 2 or not all(1 <= side <= LONGEST_SIDE for side in sides):
        raise ValueError(
            f"{name} must be a height and a width from 1 to {LONGEST_SIDE}, such as 32x32, not "
            f"{'x'.join(map(str, sides))}"
        )


def names_of_settings(settings: Settings) -> list[str]:
    """The names of the settings; without `layers` for own data, where the data determine two of the sizes."""
    own = isinstance(settings, OwnSettings)
    return [each.name for each in fields(settings) if not (own and each.name == "layers")]


def kind_of_path(word: str) -> str | None:
    """Return "table" for the name of a CSV file, "folder" for a folder, and None for anything else."""
    if word.lower().endswith(TABLE_SUFFIXES):
        return TABLE
    looks_like_path = "/" in word or "\\" in word or word in (".", "..")
    if looks_like_path or Path(word).expanduser().is_dir():
        return FOLDER if not Path(word).expanduser().is_file() else TABLE
    return None


def check_weights(sizes: tuple[int, ...]) -> None:
    """Raise ValueError if an mlp of these sizes has more than `MAX_WEIGHTS` weights."""
    weights = sum(math.prod(pair) for pair in itertools.pairwise(sizes))
    if weights > MAX_WEIGHTS:
        raise ValueError(
            f"the network would have {weights:,} weights, but at most {MAX_WEIGHTS:,} are accepted: choose "
            "fewer --hidden units, a smaller --size or fewer columns"
        )


OWN_PRESETS: dict[str, dict[str, Settings]] = {
    TABLE: {
        "mlp": TableSettings(),
        "cnn": TableSettings(model="cnn", image=(28, 28), dropout=0.5, batch_size=128, epochs=10),
    },
    FOLDER: {
        "mlp": FolderSettings(),
        "cnn": FolderSettings(model="cnn", dropout=0.5, optimizer=Adam(lr=0.004)),
    },
}
ALL_PRESETS = {**PRESETS, **OWN_PRESETS}
