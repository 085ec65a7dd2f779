"""Would it pay to sum gradients during the backward pass? Measured on this machine, on paper for networks.

    pip install 'fastnn-kernels[mpi]' mpich && python bench/mpi_overlap.py

Starts two processes with `mpirun`, and prints:

1. Who makes the progress of a sum. Process 0 starts it (MPI_Iallreduce) and calls MPI again after a second,
   or 8 times in that second (MPI_Test). After how many seconds is process 1 done, at which call process 0?
   Again with a thread of MPICH that makes progress in the background (MPIR_CVAR_ASYNC_PROGRESS=1).
2. How long kernels and a sum take, where the kernels take about twice as long: one after the other, the sum
   during the kernels, and the same with a call of MPI between the kernels. Interleaved; minima and medians.
3. The efficiency on paper (`mpi_efficiency.py`) with the sum after the backward pass, and during it, if a
   network made the progress by itself. The gradient of the first layer comes last; so its sum stays.

With `--progress` it prints 1 alone, which does not depend on the load of the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import mpi_efficiency
import numpy as np
from mpi_efficiency import NETS, NETWORKS, on_paper, row_costs, started, sum_on_paper

import fastnn as fn
from fastnn.kernels import ops

WEIGHTS = 111_000, 1_070_000, 9_000_000
PROCESSES = 2, 8, 32, 128
BATCHES = 512, 4096
MORE_NETS: dict[str, Callable[[], fn.Sequential]] = {
    "784-2048-2048-1024-10": lambda: fn.nets.mlp([784, 2048, 2048, 1024, 10]),
    "mnist_cnn": lambda: fn.Sequential(fn.Reshape(28, 28, 1), *fn.nets.mnist_cnn(dropout=0.0)),
}


def progress(world: Any, weights: int, calls: int) -> tuple[float, int | None]:
    """The seconds until process 1 has its sum, and how many calls of MPI process 0 needed for its own."""
    array, needed = np.ones(weights, np.float32), None
    world.Barrier()
    start = time.perf_counter()
    request = world.Iallreduce(None, array)
    if world.Get_rank() == 0:
        for call in range(1, calls + 1):
            time.sleep(1 / calls)
            if request.Test() and needed is None:
                needed = call
    request.Wait()
    return world.bcast(time.perf_counter() - start, root=1), world.bcast(needed, root=0)


def kernels_of(seconds: float) -> Callable[[Callable[[], object]], None]:
    """A function that runs kernels for about so long, and a given function after every quarter of them."""
    x, w = (np.ones(shape, np.float32) for shape in ((32, 512), (512, 256)))
    b, y = np.zeros(256, np.float32), np.empty((32, 256), np.float32)

    def run(count: int, between: Callable[[], object]) -> None:
        for _ in range(4):
            for _ in range(count):
                ops.dense_forward(x, w, b, y)
            between()

    run(10, int)
    start = time.perf_counter()
    run(50, int)
    count = max(1, round(50 * seconds / (time.perf_counter() - start)))
    return lambda between: run(count, between)


def times(world: Any, weights: int, repetitions: int) -> dict[str, tuple[float, float]]:
    """Minimum and median of the seconds that kernels and a sum take, by the order of the calls."""
    array = np.zeros(weights, np.float32)

    def add_up() -> None:
        world.Allreduce(None, array)

    def seconds(function: Callable[[], object]) -> float:
        world.Barrier()
        start = time.perf_counter()
        function()
        world.Barrier()
        return time.perf_counter() - start

    add_up()
    compute = kernels_of(2 * world.bcast(min(seconds(add_up) for _ in range(5))))

    def one_after_the_other() -> None:
        compute(int)
        add_up()

    def at_once() -> None:
        request = world.Iallreduce(None, array)
        compute(int)
        request.Wait()

    def with_calls() -> None:
        request = world.Iallreduce(None, array)
        compute(request.Test)
        request.Wait()

    ways: dict[str, Callable[[], object]] = {
        "kernels": lambda: compute(int),
        "sum": add_up,
        "one after the other": one_after_the_other,
        "at once": at_once,
        "at once, with calls": with_calls,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, way in ways.items():
            found[name].append(seconds(way))
    return {name: (min(each), statistics.median(each)) for name, each in found.items()}


def worker(repetitions: int) -> None:
    """What both processes run; the first one prints the results as JSON."""
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    fn.set_num_threads(1)
    results = {
        "progress": {size: [progress(world, size, calls) for calls in (1, 8)] for size in WEIGHTS},
        "times": {size: times(world, size, repetitions) for size in WEIGHTS if repetitions},
    }
    if world.Get_rank() == 0:
        print(json.dumps(results))


def show_progress(results: dict[str, Any], title: str) -> None:
    print(f"\n{title}: process 1 is done after")
    for size, ((once, _), (often, needed)) in results["progress"].items():
        print(
            f"  {int(size):9,} weights  {once:.2f} s; with 8 calls {often:.2f} s, process 0 at call {needed}"
        )


def show_times(results: dict[str, Any]) -> None:
    print("\nMinimum (median) in ms")
    for size, found in results["times"].items():
        cells = [f"{name} {1e3 * low:.2f} ({1e3 * middle:.2f})" for name, (low, middle) in found.items()]
        print(f"  {int(size):9,} weights  {'   '.join(cells)}")


def show_paper(seconds: float) -> None:
    print("\nEfficiency on paper: the sum after the backward pass -> during it")
    mpi_efficiency.NETS |= MORE_NETS
    for net, make in NETS.items():
        costs, sizes = row_costs(net, seconds), [4 * param.size for param in make().parameters()]
        print(f"{net}: {sum(sizes) / 1e6:.1f} MB, {1e6 * costs[0]:.0f} us + {1e6 * costs[1]:.1f} us per row")
        for network, speed in NETWORKS.items():
            for batch in BATCHES:
                cells = []
                for processes in PROCESSES:
                    sums = [sum_on_paper(processes, size, *speed) for size in (sum(sizes), sum(sizes[:2]))]
                    after, during = on_paper(costs, batch, processes, sums)
                    cells.append(f"P={processes}: {after:4.0%} -> {during:4.0%}")
                print(f"  {network:20}  batch {batch:4}  {'   '.join(cells)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=40, help="of every measurement of 2")
    parser.add_argument("--seconds", type=float, default=0.2, help="about how long to time each case of 3")
    parser.add_argument("--progress", action="store_true", help="print 1 alone")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    repetitions = 0 if options.progress else options.repetitions
    if options.worker:
        worker(repetitions)
        return
    words = (__file__, "--worker", "--repetitions", str(repetitions))
    results = started(2, *words)
    show_progress(results, "Progress by calls of MPI")
    background = started(2, *words[:2], "--progress", MPIR_CVAR_ASYNC_PROGRESS="1")
    show_progress(background, "Progress by a thread of MPICH")
    if not options.progress:
        show_times(results)
        fn.set_num_threads(1)
        show_paper(options.seconds)


if __name__ == "__main__":
    main()
