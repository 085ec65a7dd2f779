"""Processes that train together, as threads of one process: a communicator with the methods of mpi4py's."""

import threading
from concurrent.futures import ThreadPoolExecutor

SECONDS = 60  # that a process waits for the others


class ThreadCommunicator:
    """What one thread sees. Its calls fail if the threads make different ones."""

    def __init__(self, rank, slots, barrier):
        self.rank, self.slots, self.barrier = rank, slots, barrier
        self.calls = []

    def Get_rank(self):  # noqa: N802
        return self.rank

    def Get_size(self):  # noqa: N802
        return len(self.slots)

    def Allreduce(self, sendbuf, recvbuf):  # noqa: N802
        assert sendbuf is None, "the sum is made in place"
        parts = self._exchange("Allreduce", recvbuf.copy())
        recvbuf[:] = parts[0]
        for part in parts[1:]:
            recvbuf += part

    def allgather(self, sendobj):
        return self._exchange("allgather", sendobj)

    def _exchange(self, call, value):
        self.calls.append(call)
        self.slots[self.rank] = call, value
        self.barrier.wait(SECONDS)
        found = list(self.slots)
        self.barrier.wait(SECONDS)
        assert {name for name, _ in found} == {call}, "the processes make different calls"
        return [value for _, value in found]


def together(count, function):
    """Call `function(communicator)` in `count` threads; returns what each returns or raises, by rank."""
    slots, barrier = [None] * count, threading.Barrier(count)

    def run(rank):
        try:
            return function(ThreadCommunicator(rank, slots, barrier))
        except (AssertionError, threading.BrokenBarrierError):
            barrier.abort()
            raise
        except BaseException as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
