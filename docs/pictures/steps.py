"""Read a run of bench/peers.py: the time of a training step by net, library and number of threads.

`speed.py` draws these figures, `step_tables.py` writes them into the tables of README and the docs.
"""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

# Keras computes with JAX here, which takes part by itself.
LIBRARIES = {"fastnn": "fastnn", "torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}
NAMES = {
    "16@7x7 tanh 10": "conv 16 7x7, tanh, dense 10",
    "32@3x3 64@3x3 bn pool 128 10": "CNN, 2 convolutions, batch norm",
}


class Net(NamedTuple):
    """A net of peers.py: its letter (H32), its layers, and its mini-batch and optimizer."""

    letter: str
    layers: str
    training: str


def read(path: Path, threads: int, letters: list[str] | None = None) -> dict[Net, dict[str, float]]:
    """Return seconds per step by net and library, for the nets with these letters (default: all).

    Of each library the fastest variant counts (eager or compiled, either order of the channels), with any
    number of threads up to `threads`; of fastnn exactly that number.
    """
    found: dict[Net, dict[str, float]] = {}
    for benchmark in json.loads(path.read_text())["benchmarks"]:
        info, seconds = benchmark["extra_info"], benchmark["stats"]["median"]
        net, library = parse(info["shape"]), LIBRARIES.get(re.match("[a-z]+", info["contestant"])[0])
        fits = info["threads"] == threads if library == "fastnn" else info["threads"] <= threads
        if library and fits and (letters is None or net.letter in letters):
            times = found.setdefault(net, {})
            times[library] = min(seconds, times.get(library, seconds))
    return {net: times for net, times in found.items() if "fastnn" in times}


def parse(shape: str) -> Net:
    """Parse "B 784-300-10 sigmoid b50 sgd": 784-300-10 sigmoid; batch 50, SGD."""
    letter, layers, batch, optimizer = re.fullmatch(r"(\w+) (.+) b(\d+) (\w+)", shape).groups()
    layers = NAMES.get(layers, layers.replace("relu", "ReLU"))
    return Net(
        letter, layers, f"batch {int(batch):,}, {'Adam' if optimizer == 'adam' else optimizer.upper()}"
    )


def flop(path: Path) -> dict[str, float]:
    """FLOP of a step by the letter of the net."""
    run = json.loads(path.read_text())["benchmarks"]
    return {parse(each["extra_info"]["shape"]).letter: each["extra_info"]["flop"] for each in run}


def machine(path: Path) -> dict[str, Any]:
    """Return what the run says of its machine: name, cpus, fma_gflops by threads, versions, command."""
    return json.loads(path.read_text())["machine_info"]
