"""Ctrl-C between two updates: never in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def ctrl_c_between_updates() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back; yields a function that raises the KeyboardInterrupt that is due, if one is.

    Without this, an update may end with some of the weights changed and the others not. A second Ctrl-C
    does not wait. Does nothing outside the main thread, or where a program handles SIGINT itself.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:
        yield lambda: None
        return
    due = False

    def hold(number: int, frame: FrameType | None) -> None:
        nonlocal due
        if due:
            raise KeyboardInterrupt
        due = True

    def raise_if_due() -> None:
        if due:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hold)
    try:
        yield raise_if_due
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_if_due()
