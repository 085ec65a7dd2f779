"""Measure how much faster several processes train one model by MPI, and compare it with a model on paper.

    pip install 'fastnn-kernels[mpi]' mpich && python bench/mpi_efficiency.py

1. Starts `mpirun` with 1, 2 and 4 processes, one thread each, and times epochs of `fn.fit` on byte images,
   with the same batch for all numbers of processes (strong scaling). The efficiency is T(1) / (P T(P)).
   Processes beyond the number of CPUs take turns, and say nothing about the method.
2. Times the sum of all processes alone, by its size.
3. Computes the same for 8 to 1,000 processes on paper. An update takes

       T(P) = fixed + batch / P * row + sum(P)

   `fixed` (Python, the update of the weights) and `row` come from updates of one process with batches of
   several sizes. `sum(P)` is the cheaper one of two algorithms (Thakur, Rabenseifner & Gropp 2005) for a
   network of the given latency and bandwidth, P a power of 2: recursive doubling, log2(P) (latency + bytes /
   bandwidth), and Rabenseifner's, 2 log2(P) latency + 2 (P - 1) / P bytes / bandwidth.
4. Checks the paper by a simulation: one real process trains its share of the batch in a world of P, whose
   messages are waits of the network's time, one by one. The last column also waits for the slowest of P
   processes, whose times are drawn from those of this one: what the paper leaves out.

`overlap` is the efficiency on paper if the sum of every layer but the first were made during the backward
pass, as far as it fits: what the sum in one piece costs at most. `mpi_overlap.py` looks at that more closely.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastnn as fn

NETS: dict[str, Callable[[], fn.Sequential]] = {
    "784-128-64-32-10": lambda: fn.nets.mlp([784, 128, 64, 32, 10]),
    "784-900-400-10": lambda: fn.nets.mlp([784, 900, 400, 10]),
}
BATCHES = 64, 512, 4096
NETWORKS = {"10 Gbit Ethernet": (20e-6, 1.25e9), "InfiniBand, 100 Gbit": (1.5e-6, 12.5e9)}  # s, bytes/s
SIZES = 64, 4096, 65_536, 524_288, 4_194_304  # bytes of a sum
PROCESSES = 8, 32, 128, 1000


class Clock(fn.Callback):
    """Measures the seconds of each epoch; `now` tells the time."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now, self.seconds = now, list[float]()

    def on_epoch_begin(self, training: fn.Training) -> None:
        self.started = self.now()

    def on_epoch_end(self, training: fn.Training, values: object) -> None:
        self.seconds.append(self.now() - self.started)


class UpdateClock(Clock):
    """Measures the seconds of each update."""

    def on_update(self, training: fn.Training, loss: float) -> None:
        now = self.now()
        self.seconds.append(now - self.started)
        self.started = now

    def on_epoch_end(self, training: fn.Training, values: object) -> None:
        pass


def train(net: str, batch: int, communicator: Any, updates: int, clock: Clock) -> list[float]:
    """Train for 4 epochs of `updates` updates; returns what the clock measured, without the first value."""
    generator = np.random.default_rng(0)
    rows = batch * updates
    x, y = generator.integers(0, 256, (rows, 784), np.uint8), generator.integers(0, 10, rows)
    fn.manual_seed(0)
    options = {"optimizer": fn.SGD(0.01), "batch_size": batch, "epochs": 4, "seed": 0, "watch": False}
    fn.fit(NETS[net](), (x, y), callbacks=clock, communicator=communicator, **options)
    return clock.seconds[1:]


def seconds_per_update(
    net: str, batch: int, communicator: Any, updates: int, now: Callable[[], float] = time.perf_counter
) -> float:
    return statistics.median(train(net, batch, communicator, updates, Clock(now))) / updates


def updates_for(seconds: float, batch: int) -> int:
    """How many updates to time: the same in all processes, so not by the clock."""
    return min(max(5, int(seconds * 5e4 / (batch + 50))), 1000)


def worker(seconds: float) -> None:
    """What each process of mpirun runs; the first one prints the results as JSON."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    fn.set_num_threads(1)
    steps, sums = {}, {}
    for net in NETS:
        for batch in BATCHES:
            updates = updates_for(seconds, batch)
            steps[f"{net} {batch}"] = seconds_per_update(net, batch, world, updates)
    for size in SIZES:
        array, times = np.zeros(size // 4, np.float32), []
        for _ in range(200):
            start = time.perf_counter()
            world.Allreduce(None, array)
            times.append(time.perf_counter() - start)
        sums[size] = statistics.median(times)
    if world.Get_rank() == 0:
        print(json.dumps({"steps": steps, "sums": sums}))


def started(processes: int, *words: str, **variables: str) -> Any:
    """Start a script in several processes, with these environment variables; returns the JSON it prints."""
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    mpirun = shutil.which("mpirun", path=place)
    if mpirun is None:
        sys.exit("there is no mpirun: pip install mpich")
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=True).stdout
    options = ["--oversubscribe", "--allow-run-as-root"] if "Open MPI" in version else []
    command = [mpirun, *options, "-n", str(processes), sys.executable, *words]
    environment = {**os.environ, **variables}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(result.stdout.splitlines()[-1])


def sum_on_paper(processes: int, size: int, latency: float, bandwidth: float) -> float:
    """Seconds for the sum of `size` bytes over all processes."""
    rounds = math.ceil(math.log2(processes))
    doubling = rounds * (latency + size / bandwidth)
    halving = 2 * rounds * latency + 2 * (processes - 1) / processes * size / bandwidth
    return min(doubling, halving)


class Simulated:
    """A communicator of a world of processes that do what this one does, on a network of the given speed."""

    def __init__(self, processes: int, latency: float, bandwidth: float, others: np.ndarray | None) -> None:
        self.processes, self.latency, self.bandwidth = processes, latency, bandwidth
        self.others, self.generator = others, np.random.default_rng(0)
        self.started = time.perf_counter()

    def Get_rank(self) -> int:  # noqa: N802
        return 0

    def Get_size(self) -> int:  # noqa: N802
        return self.processes

    def allgather(self, sendobj: Any) -> list[Any]:
        return [sendobj] * self.processes

    def Allreduce(self, sendbuf: None, recvbuf: np.ndarray) -> None:  # noqa: N802
        if self.others is not None:
            slowest = self.generator.choice(self.others, self.processes - 1).max()
            self._wait_until(self.started + slowest)
        rounds, now = math.ceil(math.log2(self.processes)), time.perf_counter()
        if rounds * recvbuf.nbytes / self.bandwidth < rounds * self.latency + recvbuf.nbytes / self.bandwidth:
            messages = [recvbuf.nbytes] * rounds
        else:  # halves, quarters, ... there and back
            messages = 2 * [recvbuf.nbytes / 2 ** (1 + each) for each in range(rounds)]
        for size in messages:
            now += self.latency + size / self.bandwidth
            self._wait_until(now)
        recvbuf *= self.processes
        self.started = time.perf_counter()

    @staticmethod
    def _wait_until(moment: float) -> None:
        while time.perf_counter() < moment:
            pass


def row_costs(net: str, seconds: float) -> tuple[float, float]:
    """The fixed seconds of an update that is made together, and those of each row (least squares).

    They are seconds of the CPU, since a process that computes alone waits for nobody but other programs.
    """
    rows, times = (2, 8, 64, 512), []  # batch norm needs two
    for count in rows:  # two processes, so that this one has `count` rows; the network costs nothing
        world, updates = Simulated(2, 0.0, math.inf, None), updates_for(seconds, count)
        times.append(seconds_per_update(net, 2 * count, world, updates, time.process_time))
    weights = 1 / np.array(times)  # relative errors
    columns = np.stack([np.ones(len(rows)), np.array(rows)], axis=1)
    fixed, row = np.linalg.lstsq(columns * weights[:, None], np.ones(len(rows)), rcond=None)[0]
    return max(float(fixed), 0.0), float(row)


def on_paper(
    costs: tuple[float, float], batch: int, processes: int, sums: tuple[float, float]
) -> tuple[float, float]:
    """The efficiency with the sum after the backward pass, and with as much of it during it as fits.

    `costs` are those of `row_costs`, `sums` the seconds of the sum of all layers and of the first one alone.
    """
    fixed, row = costs
    own, (added, of_first) = math.ceil(batch / processes), sums
    after = fixed + own * row + added
    hidden = min(max(0.0, added - of_first), 2 / 3 * own * row)
    alone = (fixed + batch * row) / processes
    return alone / after, alone / (after - hidden)


def show_measured(results: dict[int, dict[str, Any]]) -> None:
    print(f"\nMeasured, one thread per process, {os.cpu_count()} CPUs: ms per update (efficiency)")
    one = results[min(results)]["steps"]
    for case in one:
        cells = []
        for processes, result in results.items():
            seconds = result["steps"][case]
            cells.append(f"P={processes}: {1e3 * seconds:8.3f} ({one[case] / processes / seconds:4.0%})")
        print(f"  {case:24}  {'   '.join(cells)}")
    print("\nThe sum alone: us by the number of bytes")
    for processes, result in results.items():
        cells = [f"{int(size):,}: {1e6 * seconds:.1f}" for size, seconds in result["sums"].items()]
        print(f"  P={processes}  {'   '.join(cells)}")


def show_paper(seconds: float) -> list[dict[str, Any]]:
    rows = []
    for net, make in NETS.items():
        fixed, row = row_costs(net, seconds)
        params = make().parameters()
        size = 4 * sum(param.size for param in params)
        first = 4 * sum(param.size for param in params[:2])
        print(f"\n{net}: {size / 1e6:.2f} MB of gradients, {1e6 * fixed:.0f} us + {1e6 * row:.2f} us per row")
        for network, (latency, bandwidth) in NETWORKS.items():
            print(f"  {network}: {1e6 * latency:g} us, {bandwidth / 1e9:g} GB/s")
            for batch in BATCHES:
                for processes in PROCESSES:
                    own = math.ceil(batch / processes)
                    alone = fixed + batch * row
                    sums = tuple(sum_on_paper(processes, each, latency, bandwidth) for each in (size, first))
                    paper, overlap = on_paper((fixed, row), batch, processes, sums)
                    updates = updates_for(seconds / 4, own)
                    world = Simulated(processes, latency, bandwidth, None)
                    found = seconds_per_update(net, batch, world, updates)
                    free = Simulated(2, 0.0, math.inf, None)
                    others = np.array(train(net, 2 * own, free, updates, UpdateClock()))
                    world = Simulated(processes, latency, bandwidth, others)
                    slow = seconds_per_update(net, batch, world, updates)
                    values = {
                        "paper": paper,
                        "overlap": overlap,
                        "simulated": alone / processes / found,
                        "stragglers": alone / processes / slow,
                    }
                    case = {"net": net, "network": network, "batch": batch, "processes": processes}
                    rows.append(case | values)
                    shown = "  ".join(f"{name} {value:5.1%}" for name, value in values.items())
                    print(f"    batch {batch:5}  P={processes:5}  {shown}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], help="numbers to start")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long to time each case")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of crowded CPUs
    if options.worker:
        worker(options.seconds)
        return
    words = (__file__, "--worker", "--seconds", str(options.seconds))
    results = {count: started(count, *words) for count in options.processes}
    show_measured(results)
    fn.set_num_threads(1)
    paper = show_paper(options.seconds)
    if options.json is not None:
        options.json.write_text(json.dumps({"measured": results, "paper": paper}, indent=1))


if __name__ == "__main__":
    main()
