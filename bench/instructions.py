"""Count the instructions of a replayed training step that are not in a kernel.

    python bench/instructions.py        (needs valgrind)

Net A (784-128-64-32-10, ReLU, batch 32, SGD) runs on one thread with the x86-64-v3 kernels, because valgrind
does not support AVX-512, with `Trainer.step` and with `fit`. callgrind counts the instructions of a process
with few steps and of one with many; the difference belongs to the steps alone. Instructions in the library of
the instruction set count as kernels; Python, the plan, the executor and the C library do not. (Under valgrind
a step takes so long that `fit` returns to Python after each one.)
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

KERNELS = "isa_v3"
STEPS = {"Trainer.step": (5, 45), "fit": (5, 85)}


def take_steps(way, steps):
    from itertools import pairwise

    import numpy as np

    import fastnn as fn

    fn.set_num_threads(1)
    fn.manual_seed(0)
    widths = (784, 128, 64, 32, 10)
    layers = [layer for pair in pairwise(widths) for layer in (fn.Linear(*pair), fn.ReLU())]
    model = fn.Sequential(*layers[:-1])
    rows = 32 * max(STEPS["fit"])
    x, y = np.random.default_rng(0).random((rows, 784), np.float32), np.arange(rows) % 10
    if way == "fit":
        fn.fit(model, (x[: 32 * steps], y[: 32 * steps]), batch_size=32, optimizer="sgd", progress=False)
    else:
        trainer = fn.Trainer(model, optimizer="sgd")
        for _ in range(steps):
            trainer.step(x[:32], y[:32])


def count(way, steps):
    """Instructions executed in each library."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        code = f"import instructions; instructions.take_steps({way!r}, {steps})"
        environment = {
            **os.environ,
            "FASTNN_ISA": "v3",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parent),
        }
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--dump-instr=no"]
        subprocess.run(
            [*valgrind, sys.executable, "-c", code], env=environment, check=True, capture_output=True
        )
        table = ["callgrind_annotate", "--threshold=100", "--show-percs=no", str(out)]
        lines = subprocess.run(table, check=True, capture_output=True, text=True).stdout.splitlines()
    counts = Counter()
    for line in lines:
        if found := re.match(r"\s*([\d,]+)\s.*\[(.*)\]$", line):
            counts[Path(found[2]).name] += int(found[1].replace(",", ""))
    return counts


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    for way, (few, many) in STEPS.items():
        before, after = count(way, few), count(way, many)
        per_step = {library: (after[library] - before[library]) / (many - few) for library in after}
        total = sum(per_step.values())
        kernels = sum(number for library, number in per_step.items() if KERNELS in library)
        print(f"{way}: {total:,.0f} instructions per step, {1 - kernels / total:.2%} outside of kernels")
        for library, number in sorted(per_step.items(), key=lambda item: -item[1])[:6]:
            print(f"    {number:12,.0f}  {library}")


if __name__ == "__main__":
    main()
