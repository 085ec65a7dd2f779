"""A readers-writer lock of all processes of a test run: tests share the machine, or have it alone."""

import fcntl
import tempfile
from pathlib import Path

from fastnn.kernels import core

GATE, ROOM = 0, 1  # two bytes of a file, locked one by one


class Turns:
    """Every test passes the gate and then is in the room, among others or alone.

    Who waits for an empty room holds the gate meanwhile, so that it is not overtaken for ever. Among others
    a test has one thread to begin with, alone as many as the machine: results do not depend on it.
    """

    def __init__(self, run):
        self.path = Path(tempfile.gettempdir(), f"fastnn-tests-{run}.lock")
        self.file = self.path.open("w+")  # readable for shared locks, writable for exclusive ones
        self.threads = core.get_num_threads()
        self.inside = False

    def _lock(self, kind, byte):
        fcntl.lockf(self.file, kind, 1, byte)

    def enter(self, alone):
        if not self.inside:
            self._lock(fcntl.LOCK_EX, GATE)
            self._lock(fcntl.LOCK_EX if alone else fcntl.LOCK_SH, ROOM)
            self._lock(fcntl.LOCK_UN, GATE)
            core.set_num_threads(self.threads if alone else 1)
            self.inside = True

    def leave(self):
        self._lock(fcntl.LOCK_UN, ROOM)
        self.inside = False

    def close(self):
        self.path.unlink(missing_ok=True)
        self.file.close()
