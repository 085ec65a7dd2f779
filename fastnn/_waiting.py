"""Waits in the main thread that Ctrl-C can end on every system."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, Queue
from typing import TypeVar

T = TypeVar("T")

# Windows tells a waiting thread of Ctrl-C only when its wait ends: each one lasts so many seconds at most.
WAIT = 0.1


def next_of(queue: Queue[T], check: Callable[[], None] = lambda: None) -> T:
    """Take the next item of a queue, and wait for it if there is none; calls `check` every 0.1 s meanwhile.

    Not for a SimpleQueue: in Python 3.11 its `get` forgets the timeout when a signal comes.
    """
    while True:
        try:
            return queue.get(timeout=WAIT)
        except Empty:
            check()
