"""Ctrl-C while a sweep trains in threads."""

import os
import signal

from fastnn.training import interrupts


def press():
    """Send SIGINT from the thread of a run; returns when the main thread has passed it on to all threads.

    Without the wait, a short run could end before the main thread is awake.
    """
    os.kill(os.getpid(), signal.SIGINT)
    assert interrupts._stop.get().wait(60)
