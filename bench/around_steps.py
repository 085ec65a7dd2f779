"""Measure what surrounds training steps: `Trainer.step`, an epoch of `fit`, one prediction, memory growth.

    pip install -e '.[peers]' && FASTNN_DATA=... python bench/around_steps.py

Prints first how much longer `Trainer.step` takes than the recorded kernels alone, for the net 4-32-16-4 on
batches of 32 and of 10,000: in CPU time of one thread, the smallest of many rounds. All else is about net A.
Prints, for one and for two threads: the time of an epoch of MNIST with `fit` (uint8 images), and its ratio to
the same number of `Trainer.step` calls; the time of `model.predict` for one row and of PyTorch's `model(x)`
under `inference_mode`; and how much memory the process gains in 100,000 steps. The contestants take turns
over many rounds; the figures are medians.
"""

import argparse
import math
import os
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import fastnn as fn

WIDTHS, BATCH, ROUNDS = (784, 128, 64, 32, 10), 32, 9


def network(linear, relu, sequential):
    layers = [layer for pair in pairwise(WIDTHS) for layer in (linear(*pair), relu())]
    return sequential(*layers[:-1])


def seconds_per_call(call, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def batches(x, y):
    """Eight mini-batches (x, y) with float32 pixels in [0, 1]."""
    rows = [slice(begin, begin + BATCH) for begin in range(0, 8 * BATCH, BATCH)]
    return [((x[part].reshape(BATCH, -1) / 255).astype(np.float32), y[part]) for part in rows]


def beyond_kernels(batch, steps, rounds=200):
    """The seconds by which `Trainer.step` takes longer than the kernels that it runs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(batch, 4)).astype(np.float32), rng.integers(0, 4, batch)
    trainer = fn.Trainer(fn.nets.mlp([4, 32, 16, 4]), optimizer="sgd")
    for _ in range(3):
        trainer.step(x, y)
    plan, losses = trainer.last_plan.plan, np.empty(steps)
    kernels, whole = [], []
    for _ in range(rounds):
        start = time.thread_time()
        plan.run(x, 0, losses, math.inf)  # the same batch again and again
        middle = time.thread_time()
        for _ in range(steps):
            trainer.step(x, y)
        kernels.append(middle - start)
        whole.append(time.thread_time() - middle)
    return (min(whole) - min(kernels)) / steps


def epoch_beside_steps(x, y):
    """Return (seconds per epoch, seconds per step), medians over the rounds."""
    model = network(fn.Linear, fn.ReLU, fn.Sequential)
    trainer = fn.Trainer(network(fn.Linear, fn.ReLU, fn.Sequential), optimizer="sgd")
    prepared = batches(x, y)

    def eight_steps():
        for batch in prepared:
            trainer.step(*batch)

    def epoch():
        fn.fit(model, (x, y), optimizer="sgd", batch_size=BATCH, progress=False)

    eight_steps()
    epochs, steps = [], []
    for _ in tqdm(range(ROUNDS), desc="epochs", leave=False):
        epochs.append(seconds_per_call(epoch, 1))
        steps.append(seconds_per_call(eight_steps, 40) / 8)
    return statistics.median(epochs), statistics.median(steps)


def predictions(x, y):
    """Return the median seconds per prediction of fastnn and of PyTorch."""
    ours = network(fn.Linear, fn.ReLU, fn.Sequential)
    theirs = network(torch.nn.Linear, torch.nn.ReLU, torch.nn.Sequential)
    row = batches(x, y)[0][0][:1]
    tensor = torch.from_numpy(row)
    times = []
    with torch.inference_mode():
        for _ in range(10 * ROUNDS):
            own = seconds_per_call(lambda: ours.predict(row), 200)
            times.append((own, seconds_per_call(lambda: theirs(tensor), 200)))
    return [statistics.median(column) for column in zip(*times, strict=True)]


def growth(x, y, steps=100_000):
    """Bytes that the process gains in `steps` training steps."""
    trainer = fn.Trainer(network(fn.Linear, fn.ReLU, fn.Sequential), optimizer="sgd")
    prepared = batches(x, y)
    for batch in prepared:
        trainer.step(*batch)
    before = resident_bytes()
    for number in tqdm(range(steps), desc="steps", leave=False, mininterval=1):
        trainer.step(*prepared[number % 8])
    return resident_bytes() - before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    (x, y), _ = fn.data.mnist()
    x = x.reshape(len(x), -1)
    fn.set_num_threads(1)
    for batch, steps in ((32, 100), (10_000, 4)):
        print(f"a step on {batch:,} rows: {beyond_kernels(batch, steps) * 1e6:.2f} us beside its kernels")
    for threads in (1, 2):
        fn.set_num_threads(threads)
        torch.set_num_threads(threads)
        epoch, step = epoch_beside_steps(x, y)
        count = -(-len(x) // BATCH)
        print(f"{threads} thread" + "s" * (threads > 1))
        ratio = epoch / (count * step)
        print(f"    an epoch: {epoch:.3f} s, {ratio:.3f} x {count} steps of {step * 1e6:.1f} us")
        ours, theirs = predictions(x, y)
        print(f"    one row: {ours * 1e6:.2f} us, PyTorch {theirs * 1e6:.2f} us, {theirs / ours:.1f} x")
    print(f"100,000 steps: {growth(x, y) / 2**20:+.2f} MiB")


if __name__ == "__main__":
    main()
