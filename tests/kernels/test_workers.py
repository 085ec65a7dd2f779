"""The team's threads as the operating system sees them: blocked signals, and the cores they may use."""

import os

import pytest

from tests.systems import needs_tasks

from .children import run_child

needs_two_cpus = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs"
)


def in_child_signals():
    import os
    import signal

    import numpy as np

    from fastnn.kernels import core, load

    def tasks():
        return set(os.listdir("/proc/self/task"))

    def blocked(task):
        with open(f"/proc/self/task/{task}/status") as file:
            (mask,) = (line.split()[1] for line in file if line.startswith("SigBlk:"))
        return {number for number in range(1, 65) if int(mask, 16) >> number - 1 & 1}

    signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1})
    x = np.ones((300, 300))
    others = tasks()
    core.set_num_threads(4)
    load("aot")["dense_forward"](x, x, None, np.empty_like(x))
    workers = tasks() - others
    assert len(workers) == 3
    for worker in workers:
        assert blocked(worker) >= signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    assert blocked(os.getpid()) == {signal.SIGUSR1}  # as before


@needs_tasks
def test_workers_block_all_signals():
    run_child(in_child_signals)


def in_child_cores(cpus, threads):
    """Call after call, with pauses in which the workers fall asleep: where may they run when woken?"""
    import os
    import time

    import numpy as np

    from fastnn.kernels import core, load

    def tasks():
        return {int(task) for task in os.listdir("/proc/self/task")}

    def own_core():
        with open("/proc/thread-self/stat") as file:
            return int(file.read().rpartition(")")[2].split()[36])

    def product():  # worth waking the team for
        load("aot")["dense_forward"](x, x, None, y)
        assert (y == 300).all()

    x = np.ones((300, 300))
    y = np.empty_like(x)
    others = tasks()
    os.sched_setaffinity(0, cpus)
    core.set_num_threads(threads)
    product()
    workers = tasks() - others
    assert len(workers) == threads - 1
    known = right = 0
    for _ in range(60):
        time.sleep(0.005)
        before = own_core()
        product()
        allowed = [os.sched_getaffinity(worker) for worker in workers]
        assert all(cores and cores <= set(cpus) for cores in allowed), allowed
        if own_core() == before:  # else nobody knows on which one it was when it woke the team
            known += 1
            right += all(cores == set(cpus) - {before} for cores in allowed)
    assert known >= 10, "moved from core to core all the time"
    # Not always: a worker that has not slept yet keeps its cores, and the caller may move and come back.
    assert right >= 0.6 * known, f"off the caller's core in {right} of {known} calls"

    os.sched_setaffinity(0, cpus[:1])  # where only one is left, they share it
    for _ in range(100):
        time.sleep(0.005)
        product()
        if all(os.sched_getaffinity(worker) == set(cpus[:1]) for worker in workers):
            break
    else:
        raise AssertionError("the workers use cores that were taken from the process")


@needs_tasks
@needs_two_cpus
@pytest.mark.parametrize("threads", [2, 3])
def test_workers_keep_off_the_callers_core(threads):
    cpus = sorted(os.sched_getaffinity(0))
    run_child(in_child_cores, cpus[:-1] if len(cpus) > 2 else cpus, threads)
