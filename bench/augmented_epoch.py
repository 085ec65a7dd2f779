"""Time the data loading of an epoch of augmented MNIST: fastnn against PyTorch's DataLoader.

    pip install -e '.[peers]' pillow scipy && python bench/augmented_epoch.py

Each image is gathered, rotated by up to 15 degrees, scaled by up to 10 % with bilinear interpolation, and
converted to float32 / 255, in mini-batches of 128. The DataLoader does this image by image with Pillow or
SciPy and with 0 or 2 worker processes; its best variant counts. fastnn's kernels work on whole mini-batches.
The contestants take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import affine_transform
from tqdm import tqdm

import fastnn as fn

BATCH, DEGREES, CHANGE = 128, 15.0, 0.1


class Digits(torch.utils.data.Dataset):
    """MNIST for a DataLoader. `turn(image, angle in radians, scale)` returns a float32 image."""

    def __init__(self, x: np.ndarray, y: np.ndarray, turn: Callable[..., np.ndarray]) -> None:
        self.x, self.y, self.turn = x, y, turn

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        angle, scale = (
            np.radians(np.random.uniform(-DEGREES, DEGREES)),
            np.random.uniform(1 - CHANGE, 1 + CHANGE),
        )
        return torch.from_numpy(self.turn(self.x[index], angle, scale)), int(self.y[index])


def by_pillow(image: np.ndarray, angle: float, scale: float) -> np.ndarray:
    cos, sin, centre = np.cos(angle) / scale, np.sin(angle) / scale, image.shape[0] / 2
    matrix = (cos, -sin, centre * (1 - cos + sin), sin, cos, centre * (1 - sin - cos))
    turned = Image.fromarray(image).transform(
        image.shape, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(turned, np.float32) / 255


def by_scipy(image: np.ndarray, angle: float, scale: float) -> np.ndarray:
    cos, sin, centre = np.cos(angle) / scale, np.sin(angle) / scale, (image.shape[0] - 1) / 2
    matrix = np.array([[cos, sin], [-sin, cos]])
    offset = centre - matrix @ (centre, centre)
    return affine_transform(image, matrix, offset, order=1, output=np.float32) / 255


def loader_epoch(data: Digits, workers: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    yield from torch.utils.data.DataLoader(data, BATCH, shuffle=True, num_workers=workers)


def fastnn_epoch(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    augment = fn.augment.Together(fn.augment.Rotate(DEGREES), fn.augment.Scale(CHANGE))
    state = np.array([1, 0], np.uint64)
    order = np.random.permutation(len(x))
    for start in range(0, len(x), BATCH):
        index = order[start : start + BATCH]
        yield augment.gather(x, index, state, 1 / 255, np.dtype(np.float32)), y[index]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, help="images per epoch")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    options = parser.parse_args()
    (x, y), _ = fn.data.mnist()
    x, y = x[: options.images], y[: options.images]

    contestants: dict[str, Callable[[], Iterator[object]]] = {"fastnn": partial(fastnn_epoch, x, y)}
    for turn in (by_pillow, by_scipy):
        for workers in (0, 2):
            name = f"DataLoader, {turn.__name__.removeprefix('by_')}, {workers} workers"
            contestants[name] = partial(loader_epoch, Digits(x, y, turn), workers)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    with tqdm(total=options.rounds * len(contestants)) as bar:
        for _ in range(options.rounds):
            for name, epoch in contestants.items():
                bar.set_description(name)
                start = time.perf_counter()
                for _ in epoch():
                    pass
                times[name].append(time.perf_counter() - start)
                bar.update()
    own = statistics.median(times["fastnn"])
    print(
        f"{len(x):,} images, {fn.get_num_threads()} threads: median us per image (minimum), ratio to fastnn"
    )
    for name, taken in times.items():
        median = statistics.median(taken)
        us, least = median / len(x) * 1e6, min(taken) / len(x) * 1e6
        print(f"{name:32} {us:8.2f} ({least:.2f}) {median / own:7.1f}x")


if __name__ == "__main__":
    main()
