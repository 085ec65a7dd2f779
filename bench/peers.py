"""Time whole training steps of fastnn, PyTorch, JAX, scikit-learn and others in one run on the same cores.

    pip install -e '.[peers]' && python bench/peers.py --threads 1 2 --json peers.json

A step is `Trainer.step(x, y)` or its equivalent: forward, loss, backward, update on one of eight prepared
mini-batches (float32 features, int64 labels or float32 targets), returning the loss as a float. All
contestants start from the same weights and must compute the same losses before they are timed. Each
contestant runs in its own process. The processes take turns over several rounds; waiting processes are
stopped (SIGSTOP), so that all see the same machine. In a table for T threads, fastnn uses T threads; of a
peer, the best result with at most T threads counts.

Nets A to D and I to L are multi-layer perceptrons, E to H have convolutions: H is LeNet-5, I a regression
with tanh, J a binary decision about a table, K a softmax regression on all samples at once. The number behind
a letter is the size of the mini-batch. Images are (N, H, W, C) for fastnn, Keras and JAX, whose CPU
convolutions prefer that layout; PyTorch takes part with (N, C, H, W) and with channels_last. scikit-learn has
no convolutions. Keras (on JAX) and tinygrad (which needs clang) are optional: `pip install keras tinygrad`.

Dropout masks differ between frameworks, so the losses of a net with dropout are compared with all rates set
to 0; then the net is built again and timed with its rates. Below the table of the convolutional nets stands
the peak memory of each contestant's process at the end of its first turn on the net. It includes libraries
and earlier nets (use `--nets G` for one net alone).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from peers_nets import NETS
from peers_worker import CONTESTANTS, takes_part
from tqdm import tqdm

OPTIONAL = ("keras", "tinygrad")
WORKER = Path(__file__).with_name("peers_worker.py")


@dataclass
class Worker:
    """A contestant's process, pinned to one core per thread and stopped unless it is its turn."""

    contestant: str
    threads: int
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        cores = sorted(os.sched_getaffinity(0))[: self.threads]
        count = str(self.threads)
        limits = {"OMP_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), self.contestant, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self.contestant != "fastnn" else None,
            text=True,
            env={**os.environ, **limits, "PYTHONWARNINGS": "ignore"},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, net: str, seconds: float) -> dict[str, Any]:
        """Let the worker run until it answers. Raises RuntimeError if its process ends."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"net": net, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        self.process.send_signal(signal.SIGCONT)
        line = self.process.stdout.readline()
        if not line:
            error = self.process.stderr.read() if self.process.stderr else "it says why above"
            raise RuntimeError(f"{self.contestant} with {self.threads} threads died on {net}: {error[-800:]}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Result:
    """The times of one contestant on one net with one number of threads, over all rounds."""

    contestant: str
    net: str
    threads: int
    times: list[list[float]] = field(default_factory=list)  # per round: seconds per step
    peak_mib: float = 0  # of the process, after the first round

    @property
    def round_medians(self) -> list[float]:
        return [statistics.median(times) for times in self.times]

    @property
    def median(self) -> float:
        return statistics.median(self.round_medians)

    @property
    def best(self) -> float:
        return min(min(times) for times in self.times)


def race(
    contestants: list[str], nets: list[str], threads: list[int], rounds: int, seconds: float
) -> list[Result]:
    """Let every contestant with every number of threads take turns on every net, for `rounds` rounds."""
    pairs = [(net, name) for net in nets for name in contestants if takes_part(name, NETS[net])]
    needed = dict.fromkeys(name for _, name in pairs)
    workers = {(name, count): Worker(name, count) for count in threads for name in needed}
    results = [Result(name, net, count) for net, name in pairs for count in threads]
    losses: dict[str, list[float]] = {}
    try:
        with tqdm(total=rounds * len(results)) as bar:
            for _ in range(rounds):
                for result in results:
                    worker, net = workers[result.contestant, result.threads], result.net
                    bar.set_description(f"{net} {worker.contestant} {worker.threads}t")
                    answer = worker.ask(net, seconds)
                    check_losses(losses.setdefault(net, answer.get("losses", [])), answer, worker, net)
                    result.times.append(answer["times"])
                    result.peak_mib = result.peak_mib or answer["peak_mib"]
                    bar.update()
    finally:
        for worker in workers.values():
            worker.close()
    return results


def check_losses(wanted: list[float], answer: dict[str, Any], worker: Worker, net: str) -> None:
    """Raises RuntimeError if the losses differ from those of the first contestant."""
    got = answer.get("losses", wanted)
    if not np.allclose(got, wanted, rtol=2e-3):
        raise RuntimeError(f"{worker.contestant} computes the losses {got} on net {net}, expected {wanted}")


def best_of(results: list[Result], net: str, threads: int) -> dict[str, Result]:
    """The results that count: fastnn with `threads` threads, each peer with its best number up to that."""
    best: dict[str, Result] = {}
    for r in results:
        allowed = r.threads == threads if r.contestant == "fastnn" else r.threads <= threads
        if r.net == net and allowed and (r.contestant not in best or r.median < best[r.contestant].median):
            best[r.contestant] = r
    return best


def best_peer(best: dict[str, Result]) -> Result | None:
    peers = [result for name, result in best.items() if name != "fastnn"]
    return min(peers, key=lambda result: result.median, default=None)


def table(results: list[Result], threads: int, peak_gflops: float | None) -> str:
    """One row per net: the time of each contestant, the ratio to the best peer, percent of the FMA peak."""
    names = list(dict.fromkeys(result.contestant for result in results))
    lines = [
        f"{threads} thread{'s' if threads > 1 else ''}: median us per step (minimum; spread of the rounds), "
        "ratio of the medians",
        f"{'net':42}"
        + "".join(f"{name:>28}" for name in names)
        + f"{'best peer':>31}{'ratio':>7}{'% peak':>8}",
    ]
    for net in dict.fromkeys(result.net for result in results):
        best = best_of(results, net, threads)
        cells = "".join((_cell(best[name]) if name in best else "").rjust(28) for name in names)
        line = f"{net + ' ' + str(NETS[net]):42}{cells}"
        peer = best_peer(best)
        if peer is not None and "fastnn" in best:
            ratio = peer.median / best["fastnn"].median
            line += f"{peer.contestant:>28} {peer.threads}t{ratio:>6.2f}x"
        if peak_gflops and "fastnn" in best:
            fraction = NETS[net].flop / best["fastnn"].median / (peak_gflops * 1e9)
            line += f"{fraction:>8.0%}"
        lines.append(line)
    return "\n".join(lines)


def _cell(result: Result) -> str:
    low, high = min(result.round_medians), max(result.round_medians)
    spread = (high - low) / result.median
    return f"{result.median * 1e6:.1f} ({result.best * 1e6:.1f}; {spread:.0%})"


def memory(results: list[Result], threads: int) -> str:
    """The peak memory of each contestant on the nets with images, and its ratio to fastnn's."""
    lines = []
    for net in dict.fromkeys(result.net for result in results if NETS[result.net].has_images):
        best = best_of(results, net, threads)
        own = best["fastnn"].peak_mib if "fastnn" in best else None
        cells = (
            f"{name} {result.peak_mib:.0f}" + ("" if own is None else f" ({result.peak_mib / own:.1f}x)")
            for name, result in best.items()
        )
        lines.append(f"peak MiB, {net}: {', '.join(cells)}")
    return "\n".join(lines)


def tables(results: list[Result], threads: int, peak_gflops: float | None) -> str:
    """One table for the perceptrons and one for the convolutional nets, whose contestants differ."""
    kinds = ([r for r in results if NETS[r.net].has_images is images] for images in (False, True))
    parts = [table(kind, threads, peak_gflops) for kind in kinds if kind] + [memory(results, threads)]
    return "\n\n".join(filter(None, parts))


def versions(contestants: list[str]) -> dict[str, str]:
    """The version of each library that takes part, by its name on PyPI."""
    packages = {"fastnn": "fastnn-kernels", "sklearn": "scikit-learn"}
    names = dict.fromkeys(re.match("[a-z]+", contestant)[0] for contestant in contestants)
    return {name: importlib.metadata.version(packages.get(name, name)) for name in names}


def as_json(results: list[Result], machine: dict[str, Any]) -> dict[str, Any]:
    """The results in the format that `fastnn compare` reads: a subset of pytest-benchmark's."""
    return {
        "machine_info": machine,
        "benchmarks": [
            {
                "group": f"training step {r.threads}t",
                "name": f"{r.net}-{r.contestant}-{r.threads}t",
                "stats": {"median": r.median, "min": r.best},
                "extra_info": {
                    "race": f"training step, {r.threads} thread{'s' if r.threads > 1 else ''}",
                    "shape": f"{r.net} {NETS[r.net]}",
                    "contestant": r.contestant,
                    "flop": NETS[r.net].flop,
                    "threads": r.threads,
                    "peak_mib": r.peak_mib,
                },
            }
            for r in results
        ],
    }


def installed() -> list[str]:
    """The contestants without the optional ones that cannot run here, each of which gets a line."""
    reasons = {name: f"pip install {name}" for name in OPTIONAL if importlib.util.find_spec(name) is None}
    if "tinygrad" not in reasons and shutil.which("clang") is None:
        reasons["tinygrad"] = "it compiles with clang, which is not on PATH"
    for name, reason in reasons.items():
        print(f"{name} does not take part: {reason}", file=sys.stderr)
    return [name for name in CONTESTANTS if name not in reasons]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="thread counts, one table each"
    )
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--contestants", nargs="+", default=installed(), choices=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=0.3, help="time per contestant, net and round")
    parser.add_argument("--json", type=Path, help="write the results to this file, for `fastnn compare`")
    options = parser.parse_args()

    from fastnn.measure import probe

    results = race(options.contestants, options.nets, options.threads, options.rounds, options.seconds)
    peaks = {threads: probe.fma_gflops(threads) for threads in options.threads}
    if options.json:
        machine = {
            "machine": probe.heading(),
            "cpus": os.cpu_count(),
            "fma_gflops": peaks,
            "versions": versions(options.contestants),
            "command": " ".join(["python", "bench/peers.py", *sys.argv[1:]]),
        }
        options.json.write_text(json.dumps(as_json(results, machine), indent=1) + "\n")
    for threads in options.threads:
        print(tables(results, threads, peaks[threads]), end="\n\n")


if __name__ == "__main__":
    main()
