"""What tests need of the system that runs them, and Windows or macOS may lack."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path("/proc/self/task")  # the threads of this process, on Linux


def needs(is_there, what):
    """A mark of tests that are skipped unless `is_there`; `what` says what the system lacks then."""
    return pytest.mark.skipif(not is_there, reason=f"this system has no {what}")


needs_fork = needs(hasattr(os, "fork"), "fork")
needs_pipes = needs(hasattr(os, "mkfifo"), "named pipes")
needs_modes = needs(sys.platform != "win32", "modes of files and folders")
needs_timer = needs(hasattr(signal, "setitimer"), "timer that sends a signal")
needs_kill = needs(hasattr(signal, "SIGKILL"), "SIGKILL")
needs_tasks = needs(TASKS.exists(), "list of a process's threads")
needs_linux = needs(sys.platform == "linux", "/proc, mprotect or RLIMIT_AS as Linux has them")
needs_affinity = needs(hasattr(os, "sched_setaffinity"), "way to bind threads to CPUs")


def peak_memory():
    """The most memory that this process has had, in bytes; 0 on Windows, where Python cannot tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def kill_with_children(process: subprocess.Popen):
    """End a process that was started with `start_new_session=True`, and on POSIX its children, too."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
