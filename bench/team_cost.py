"""Measure the cost of the thread team: handing out work, waking a sleeping team, sharing a core.

    python bench/team_cost.py

Each thread does the same amount of work, the multiply-adds of `fastnn probe`, so the extra time of two
threads over one is the cost of the team. The thresholds in kernels/native/plan/executor.hpp and team.hpp are
based on these figures. Needs two cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

import fastnn as fn
from fastnn.kernels import probe

SINK = np.zeros(64, np.float32)
ROUNDS = 2_000  # about 15 us


def seconds(threads: int, pause: float = 0.0, repeats: int = 300, rounds: int = ROUNDS) -> float:
    """The median time of a call on `threads` threads, each after a pause."""
    fn.set_num_threads(threads)
    times = []
    for _ in range(repeats):
        if pause:
            time.sleep(pause)
        times.append(probe.fma_seconds(SINK, rounds))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("this benchmark needs two cores, and this process may use only one")
    one, two = seconds(1), seconds(2)
    print(f"one thread {one * 1e6:.2f} us, two threads with the same work each {two * 1e6:.2f} us")
    print(f"handing out work and waiting for it: {(two - one) * 1e6:.2f} us")
    asleep, asleep_one = seconds(2, 0.01, 100), seconds(1, 0.01, 100)
    print(f"after 10 ms of sleep: two threads take {(asleep - asleep_one) * 1e6:.1f} us longer than one")
    long = 100 * ROUNDS
    quiet = seconds(2, repeats=20, rounds=long)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(0.5)
        shared_long = seconds(2, repeats=100, rounds=long)
        shared_short = seconds(2)
        busy.kill()
    print(f"next to a busy process, {quiet * 1e3:.1f} ms per thread: {shared_long / quiet:.2f} x the time")
    print(f"next to a busy process, {two * 1e6:.0f} us per thread: {shared_short / two:.2f} x the time")


if __name__ == "__main__":
    main()
