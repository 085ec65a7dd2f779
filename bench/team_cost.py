"""What the thread team costs: handing out work, waking a sleeping team, and sharing a core with others.

    python bench/team_cost.py

The work is the probe's chain of multiply-adds, of which every thread does the same amount: what two threads
take beyond one is the team's. The thresholds in kernels/native/plan/executor.hpp and team.hpp
rest on these figures.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import numpy as np

import fastnn as fn
from fastnn.kernels import probe

SINK = np.zeros(64, np.float32)
ROUNDS = 2_000  # some 15 us


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
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are wanted")
    one, two = seconds(1), seconds(2)
    print(f"one thread {one * 1e6:.2f} us, two threads with the same work each {two * 1e6:.2f} us")
    print(f"handing out and waiting: {(two - one) * 1e6:.2f} us")
    asleep, asleep_one = seconds(2, 0.01, 100), seconds(1, 0.01, 100)
    print(f"after 10 ms of sleep: {(asleep - asleep_one) * 1e6:.1f} us more than one thread")
    long = 100 * ROUNDS
    quiet = seconds(2, repeats=20, rounds=long)
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(0.5)
        shared_long = seconds(2, repeats=100, rounds=long)
        shared_short = seconds(2)
        busy.kill()
    print(f"beside a busy process, {quiet * 1e3:.1f} ms a thread: {shared_long / quiet:.2f} times as long")
    print(f"beside a busy process, {two * 1e6:.0f} us a thread: {shared_short / two:.2f} times as long")


if __name__ == "__main__":
    main()
