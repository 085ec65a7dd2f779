"""Time the convolutions of well-known nets, kernel by kernel, against PyTorch's on the same cores.

    pip install -e '.[peers]' && python bench/conv_table.py --threads 1 2 --json conv_table.json

For each layer on its own: forward (with bias), gradient of the images (dx), gradient of the filters (dw).
fastnn's conv_forward, conv_dx and conv_dw race torch.nn.functional.conv2d and aten::convolution_backward with
a mask for one gradient. PyTorch takes part twice, in the memory formats (N, C, H, W) ("nchw") and
channels_last ("last"), with arrays prepared in advance; the faster one counts. The results must agree before
anything is timed. Then the contestants take turns, at least three per cell. With more than one thread, each
turn starts with a pause, because OpenMP's threads keep spinning for a while after their last job, on the
cores of the next contestant.

A cell shows the median in ms (the minimum), GFLOP/s, percent of the measured peak of multiply-adds, and how
many times as fast as the faster PyTorch variant fastnn is (ratio of the medians). "-" marks the first layer
of a net, where the gradient of the pixels is not needed. AlexNet's convolutions 2, 4 and 5 have one group
here instead of two.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from at_peak import Contestant
from convolutions import KERNELS, PIECES, Batch, Call, Convolution, by_kernels, by_torch, in_our_layout
from tqdm import tqdm

import fastnn as fn
from fastnn import kernels
from fastnn.measure import probe

LAYERS = {
    "lenet conv1": Convolution(28, 1, 5, 6, padding=2),
    "lenet conv2": Convolution(14, 6, 5, 16),
    "alexnet conv1": Convolution(227, 3, 11, 96, stride=4),
    "alexnet conv2": Convolution(27, 96, 5, 256, padding=2),
    "alexnet conv3": Convolution(13, 256, 3, 384, padding=1),
    "alexnet conv4": Convolution(13, 384, 3, 384, padding=1),
    "alexnet conv5": Convolution(13, 384, 3, 256, padding=1),
    "mnist_cnn conv2": Convolution(14, 32, 3, 64, padding=1),
    "mnist_cnn conv3": Convolution(14, 64, 3, 64, padding=1),
    "mnist_cnn conv4": Convolution(7, 64, 3, 128, padding=1),
    "vgg conv1_1": Convolution(224, 3, 3, 64, padding=1),
    "vgg conv1_2": Convolution(224, 64, 3, 64, padding=1),
    "vgg conv3_1": Convolution(56, 128, 3, 256, padding=1),
    "vgg conv5_1": Convolution(14, 512, 3, 512, padding=1),
    "resnet conv1": Convolution(224, 3, 7, 64, stride=2, padding=3),
    "resnet stage1 3x3": Convolution(56, 64, 3, 64, padding=1),
    "resnet stage2 3x3": Convolution(28, 128, 3, 128, padding=1),
    "resnet stage3 3x3": Convolution(14, 256, 3, 256, padding=1),
    "resnet stage4 3x3": Convolution(7, 512, 3, 512, padding=1),
    "resnet 1x1 up": Convolution(56, 64, 1, 256),
    "resnet 1x1 down": Convolution(56, 256, 1, 64),
    "mobilenet 112 depthwise": Convolution(112, 32, 3, 32, padding=1, groups=32),
    "mobilenet 14 depthwise": Convolution(14, 512, 3, 512, padding=1, groups=512),
}
FEW_CHANNELS = 4

PEERS = {"nchw": False, "last": True}  # name -> channels_last
TOLERANCE = 1e-3  # of the largest element
LEAST_TURNS, MOST_TURNS = 3, 8


@dataclass(frozen=True)
class Cell:
    """One piece of a layer at one batch size: seconds per call, for each contestant one entry per turn."""

    layer: str
    batch: int
    piece: str
    seconds: dict[str, list[float]]

    @property
    def conv(self) -> Convolution:
        return LAYERS[self.layer]

    def median(self, contestant: str) -> float:
        return statistics.median(self.seconds[contestant])

    @property
    def best_peer(self) -> str:
        return min(PEERS, key=self.median)

    @property
    def gflops(self) -> float:
        return self.conv.flop(self.batch) / self.median("fastnn") / 1e9

    @property
    def ratio(self) -> float:
        """How many times as fast as the faster PyTorch variant fastnn is."""
        return self.median(self.best_peer) / self.median("fastnn")


def pieces_of(layer: str) -> tuple[str, ...]:
    """The pieces to measure; the gradient of the images is not needed for a first layer."""
    return tuple(piece for piece in PIECES if piece != "dx" or LAYERS[layer].channels > 3)


def measure(layer: str, rows: int, piece: str, seconds: float, pause: float) -> Cell:
    """Check that all results agree, then time the contestants in turn. Raises RuntimeError if they differ."""
    batch = Batch(LAYERS[layer], rows)
    calls = by_kernels(batch, {piece: kernels.load("aot")[KERNELS[piece]]})
    race: dict[str, Call] = {"fastnn": calls[piece]}
    for name, channels_last in PEERS.items():
        race[name] = by_torch(batch, (piece,), channels_last)[piece]
    wanted, first = timed(race["fastnn"])
    firsts = {"fastnn": first}
    for name in PEERS:
        got, firsts[name] = timed(race[name])
        error = difference(in_our_layout(piece, got), wanted)
        if not error < TOLERANCE:
            raise RuntimeError(f"{name} and fastnn differ by {error:.1e} in {piece} of {layer}, batch {rows}")
        del got  # up to a gigabyte
    return Cell(layer, rows, piece, take_turns(race, firsts, seconds, pause))


def timed(call: Call) -> tuple[Any, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def difference(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference relative to the largest element, computed row by row to save memory."""
    if got.shape != wanted.shape:
        return np.inf
    largest = max(float(np.abs(row).max()) for row in wanted)
    # np.max propagates a nan, the built-in max does not.
    return float(np.max([np.abs(a - b).max() for a, b in zip(got, wanted, strict=True)])) / largest


def take_turns(
    race: dict[str, Call], firsts: dict[str, float], seconds: float, pause: float
) -> dict[str, list[float]]:
    """Return the seconds per call of each contestant: about `seconds` in total, but at least three turns.

    `firsts` are the seconds of the first calls: slow calls are not repeated within a turn and need no pause.
    """
    contestants = {name: Contestant(call) for name, call in race.items()}
    for name, contestant in contestants.items():
        if firsts[name] < seconds:
            contestant.take_turn(0)
            contestant.repeats = max(1, round(seconds / MOST_TURNS / contestant.seconds.pop()))
    pause = pause if max(firsts.values()) < 1 else 0
    turns = 0
    spent = 0.0
    while turns < LEAST_TURNS or (turns < MOST_TURNS and spent < seconds * len(race)):
        for contestant in contestants.values():
            contestant.take_turn(pause)
            spent += contestant.seconds[-1] * contestant.repeats
        turns += 1
    return {name: contestant.seconds for name, contestant in contestants.items()}


def cells_of(
    layers: list[str], batches: list[int], seconds: float, pause: float, bar: tqdm
) -> Iterator[Cell]:
    for layer in layers:
        for rows in batches:
            for piece in pieces_of(layer):
                bar.set_description(f"{layer} b{rows} {piece}")
                yield measure(layer, rows, piece, seconds, pause)  # its arrays are freed before the next one
                bar.update()


def table(cells: list[Cell], peak: float) -> str:
    """One row per layer and batch size, one column per piece, and the geometric means below."""
    lines = [f"{'layer':26}{'batch':>5}" + "".join(f"{name:>50}" for name in PIECES)]
    by_row: dict[tuple[str, int], dict[str, Cell]] = {}
    for cell in cells:
        by_row.setdefault((cell.layer, cell.batch), {})[cell.piece] = cell
    for (layer, rows), pieces in by_row.items():
        columns = (text_of(pieces[name], peak) if name in pieces else "-" for name in PIECES)
        lines.append(f"{layer:26}{rows:>5}" + "".join(f"{column:>50}" for column in columns))
    return "\n".join([*lines, "", *means(cells)])


def text_of(cell: Cell, peak: float) -> str:
    """Format a cell, for example "12.3 ms (12.1)   93 GF  43%   0.81x last"."""
    median, best = cell.median("fastnn") * 1e3, min(cell.seconds["fastnn"]) * 1e3
    times, rate = f"{median:.3g} ms ({best:.3g})", f"{cell.gflops:.0f} GF"
    return f"{times}{rate:>8}{cell.gflops / peak:>5.0%}{cell.ratio:>8.2f}x {cell.best_peer:4}"


def means(cells: list[Cell]) -> list[str]:
    """Geometric means of the ratios: all layers, layers with few input channels, the other layers."""
    kinds = {
        "all layers": cells,
        f"at most {FEW_CHANNELS} channels in": [c for c in cells if c.conv.channels <= FEW_CHANNELS],
        f"more than {FEW_CHANNELS}": [c for c in cells if c.conv.channels > FEW_CHANNELS],
    }
    lines = []
    for kind, members in kinds.items():
        ratios = {piece: [cell.ratio for cell in members if cell.piece == piece] for piece in PIECES}
        ratios["all"] = [cell.ratio for cell in members]
        texts = (f"{name} {statistics.geometric_mean(found):.2f}x" for name, found in ratios.items() if found)
        if members:
            lines.append(f"geometric mean, {kind}: {', '.join(texts)}")
    return lines


def as_json(cells: list[Cell], threads: int, peak: float) -> dict[str, Any]:
    return {
        "threads": threads,
        "peak_gflops": peak,
        "cells": [
            {
                **{"layer": cell.layer, "shape": str(cell.conv), "batch": cell.batch, "piece": cell.piece},
                **{"flop": cell.conv.flop(cell.batch), "ratio": cell.ratio, "best_peer": cell.best_peer},
                "median": {name: cell.median(name) for name in cell.seconds},
                "min": {name: min(times) for name, times in cell.seconds.items()},
            }
            for cell in cells
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts, one table each"
    )
    parser.add_argument("--layers", nargs="+", default=[""], help="prefixes of the layers to measure")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64], help="batch sizes")
    parser.add_argument("--seconds", type=float, default=0.2, help="time per contestant and cell")
    parser.add_argument("--json", type=Path, help="write medians and minima (in seconds) to this file")
    options = parser.parse_args()
    layers = [name for name in LAYERS if name.startswith(tuple(options.layers))]
    if not layers:
        sys.exit(f"no layer starts with {' or '.join(options.layers)}: choose from {', '.join(LAYERS)}")

    results = []
    for threads in options.threads:
        fn.set_num_threads(threads)
        torch.set_num_threads(threads)
        before = probe.fma_gflops(threads)
        pause = 0.1 if threads > 1 else 0.0
        total = len(options.batches) * sum(len(pieces_of(layer)) for layer in layers)
        cells: list[Cell] = []
        with tqdm(total=total) as bar, contextlib.suppress(KeyboardInterrupt):  # Ctrl-C shows what is done
            for cell in cells_of(layers, options.batches, options.seconds, pause, bar):
                cells.append(cell)
        peak = max(before, probe.fma_gflops(threads))
        print(f"\n{threads} thread{'s' * (threads > 1)}, {kernels.core.isa()}: peak {peak:.0f} GFLOP/s\n")
        print(table(cells, peak), end="\n\n")
        results.append(as_json(cells, threads, peak))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
