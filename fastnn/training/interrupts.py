"""Ctrl-C between two updates: never in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

_stop: ContextVar[threading.Event | None] = ContextVar("fastnn_stop", default=None)


@contextmanager
def stopped_by(event: threading.Event) -> Iterator[None]:
    """Trainings in this context end with KeyboardInterrupt after the update at which `event` is set.

    This is how Ctrl-C, which only the main thread gets, reaches trainings in other threads.
    """
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


@contextmanager
def ctrl_c_between_updates() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back; yields a function that raises the KeyboardInterrupt that is due, if one is.

    Without this, an update may end with some of the weights changed and the others not. A second Ctrl-C
    does not wait. Does nothing outside the main thread, or where a program handles SIGINT itself, unless
    the context is `stopped_by` an event.
    """
    stop = _stop.get()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours:

        def raise_if_stopped() -> None:
            if stop is not None and stop.is_set():
                raise KeyboardInterrupt

        yield raise_if_stopped
        raise_if_stopped()
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
