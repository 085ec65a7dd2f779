"""Time a training until 99 % test accuracy on MNIST: fastnn against PyTorch with the same recipe.

    pip install -e '.[peers]' && python bench/time_to_accuracy.py --threads 2

The recipe is that of `fastnn train mnist --model cnn`: the net `fn.nets.mnist_cnn`, mini-batches of 128,
Adam, a one-cycle schedule up to 0.004 over `--epochs`, digits rotated by up to 15 degrees, shifted by up to
1.5 pixels and scaled by up to 10 %. The PyTorch version is written for speed: channels_last, a fused
optimizer, and augmentation of whole mini-batches with affine_grid and grid_sample (a DataLoader with Pillow
is slower: augmented_epoch.py).
The two take turns, one epoch each, so that both see the same machine. The test accuracy after each epoch is
printed for both; computing it is not part of the time.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import fastnn as fn

BATCH, LR, DEGREES, PIXELS, CHANGE = 128, 0.004, 15.0, 1.5, 0.1


class ByFastnn:
    """Train one epoch at a time with `Trainer`, since `fit` would not let the contestants take turns."""

    def __init__(self, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> None:
        self.x, self.y = x, y
        fn.manual_seed(seed)
        self.model = fn.nets.mnist_cnn()
        augment = fn.augment.Rotate(DEGREES) | fn.augment.Shift(PIXELS) | fn.augment.Scale(CHANGE)
        steps = -(-len(x) // BATCH)
        self.trainer = fn.Trainer(
            self.model,
            optimizer=fn.Adam(LR),
            seed=seed,
            augment=augment,
            schedule=fn.schedules.OneCycle(),
            total_updates=epochs * steps,
        )
        self.rng = np.random.default_rng(seed)

    def epoch(self) -> None:
        order = self.rng.permutation(len(self.x))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            self.trainer.step(self.x[rows], self.y[rows])

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        return fn.evaluate(self.model, (x, y))["accuracy"]


class ByTorch:
    """Train the same net with PyTorch, one epoch at a time."""

    def __init__(self, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.x = torch.from_numpy(x)[:, None].float() / 255
        self.y = torch.from_numpy(y)
        layers: list[nn.Module] = []
        channels = 1
        for number, outputs in enumerate((32, 64, 64, 128)):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
            if number != 1:
                layers.append(nn.MaxPool2d(2))
            channels = outputs
        layers += [nn.Flatten(), nn.Linear(9 * 128, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()]
        layers += [nn.Dropout(0.5), nn.Linear(128, 10)]
        self.model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LR, fused=True)
        steps = -(-len(x) // BATCH)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, LR, epochs * steps, cycle_momentum=False
        )

    def augmented(self, x: torch.Tensor) -> torch.Tensor:
        def drawn(most: float) -> torch.Tensor:
            return (torch.rand(len(x)) * 2 - 1) * most

        angle, scale = drawn(math.radians(DEGREES)), 1 + drawn(CHANGE)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        right, down = drawn(PIXELS * 2 / 28), drawn(PIXELS * 2 / 28)
        matrix = torch.stack([torch.stack([cos, -sin, right], 1), torch.stack([sin, cos, down], 1)], 1)
        grid = functional.affine_grid(matrix, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)

    def epoch(self) -> None:
        self.model.train()
        for rows in torch.randperm(len(self.x)).split(BATCH):
            x = self.augmented(self.x[rows]).to(memory_format=torch.channels_last)
            self.optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(self.model(x), self.y[rows]).backward()
            self.optimizer.step()
            self.schedule.step()

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        self.model.eval()
        images = torch.from_numpy(x)[:, None].float() / 255
        with torch.no_grad():
            answers = torch.cat([self.model(part).argmax(1) for part in images.split(1000)])
        return float((answers.numpy() == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2, help="number of threads for both")
    parser.add_argument("--epochs", type=int, default=4, help="length of the one-cycle schedule")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training per seed")
    parser.add_argument("--accuracy", type=float, default=0.99, help="test accuracy to reach")
    options = parser.parse_args()
    fn.set_num_threads(options.threads)
    torch.set_num_threads(options.threads)
    (x, y), (x_test, y_test) = fn.data.mnist()

    ratios = []
    for seed in options.seeds:
        racers = {
            "fastnn": ByFastnn(x, y, options.epochs, seed),
            "torch": ByTorch(x, y, options.epochs, seed),
        }
        seconds, reached = dict.fromkeys(racers, 0.0), dict.fromkeys(racers, math.inf)
        for epoch in range(options.epochs):
            line = [f"seed {seed}, epoch {epoch + 1}"]
            for name, racer in racers.items():
                start = time.perf_counter()
                racer.epoch()
                seconds[name] += time.perf_counter() - start
                accuracy = racer.accuracy(x_test, y_test)
                if accuracy >= options.accuracy:
                    reached[name] = min(reached[name], seconds[name])
                line.append(f"{name} {accuracy:.4f} after {seconds[name]:.1f} s")
            print("   ".join(line), flush=True)
        each = seconds["torch"] / seconds["fastnn"]
        ratio = reached["torch"] / reached["fastnn"]
        ratios.append(each)
        print(f"seed {seed}: {options.accuracy:.0%} {ratio:.2f}x as fast; an epoch {each:.2f}x as fast")
    print(f"{options.threads} threads, an epoch: {min(ratios):.2f} to {max(ratios):.2f}x as fast")


if __name__ == "__main__":
    main()
