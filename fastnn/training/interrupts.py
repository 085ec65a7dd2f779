"""Handle Ctrl-C between two updates, never in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import FrameType

from fastnn.kernels.guards import Setting

_stop: ContextVar[threading.Event | None] = ContextVar("fastnn_stop", default=None)


def stopped_by(event: threading.Event) -> AbstractContextManager[None]:
    """Make trainings in this context raise KeyboardInterrupt after the update during which `event` is set.

    Only the main thread receives Ctrl-C: the event passes it on to trainings in other threads.
    """
    stop: AbstractContextManager[None] = Setting(_stop, event)
    return stop


@contextmanager
def ctrl_c_between_updates() -> Iterator[Callable[[], None]]:
    """Delay Ctrl-C; yields a function that raises the pending KeyboardInterrupt, if there is one.

    Without the delay, an update could end with some weights changed and others not. A second Ctrl-C takes
    effect at once. Does nothing outside the main thread, or if the program handles SIGINT itself, unless the
    context is `stopped_by` an event.
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
    pending = False

    def delay(number: int, frame: FrameType | None) -> None:
        nonlocal pending
        if pending:  # it may come in the middle of the `finally` below
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt
        pending = True

    def raise_if_pending() -> None:
        if pending:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, delay)
    try:
        yield raise_if_pending
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_if_pending()
