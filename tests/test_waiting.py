"""Waits of the main thread: Ctrl-C ends them although the system does not wake the thread, as on Windows."""

from queue import Queue

import pytest

from fastnn._waiting import next_of
from tests.kernels.children import run_child
from tests.systems import needs_kill


def test_the_next_item_is_returned_and_the_check_is_called_while_there_is_none():
    queue, calls = Queue(), []

    def check():
        calls.append(None)
        if len(calls) == 2:
            queue.put("late")

    queue.put("ready")
    assert next_of(queue, check) == "ready"
    assert not calls
    assert next_of(queue, check) == "late"
    assert len(calls) == 2


def test_an_error_of_the_check_ends_the_wait():
    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next_of(Queue(), fail)


def in_child_ctrl_c_that_does_not_wake_the_main_thread(jobs):
    """The signal goes to another thread, since the main thread blocks it."""
    import os
    import signal
    import threading
    import time

    import numpy as np

    import fastnn as fn

    def build(lr, seed):
        if seed == 0:
            return {"result": lr}
        (running if seed == 1 else threading.Event()).set()
        model = fn.Sequential(fn.Linear(4, 3))
        data = np.zeros((30, 4), np.float32), np.arange(30) % 3
        return {"model": model, "data": data, "epochs": 10**9, "optimizer": fn.SGD(lr)}

    def press():
        running.wait(30)
        time.sleep(0.5)  # now the main thread waits
        os.kill(os.getpid(), signal.SIGINT)

    running = threading.Event()
    threading.Thread(target=press, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    study, started = fn.Study(), time.monotonic()
    try:
        fn.sweep(build, {"lr": [0.1]}, seeds=range(3), jobs=jobs, study=study, progress=False)
    except KeyboardInterrupt:
        print([member.seed for member in study.members], time.monotonic() - started < 30)


@needs_kill
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_a_sweep_whose_main_thread_is_not_woken(jobs):
    assert run_child(in_child_ctrl_c_that_does_not_wake_the_main_thread, jobs, limit=40) == "[0] True\n"
