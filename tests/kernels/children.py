"""Run a function in a child process, for tests that would end or change the process of the tests.

The source of a function `in_child_*` runs there on its own, within a time limit, and fails by an exception.
"""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.systems import kill_with_children

# Lets a child import the tests. Appended, so that `import fastnn` finds the installed package first.
TESTS_ON_PATH = f"import sys; sys.path.append({str(Path(__file__).resolve().parents[2])!r})"


def run_child(function, *arguments, limit=60, **environment):
    """Call a self-contained function in a new interpreter; returns what it printed.

    `environment` is set, the settings of this process are not inherited. After `limit` seconds the child and
    its children are killed and the test fails.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "FASTNN_ISA")}
    # A shell lets its background jobs ignore Ctrl-C, and their children inherit that.
    heeds_ctrl_c = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    call = f"{function.__name__}(*{arguments!r})"
    code = "\n".join((heeds_ctrl_c, TESTS_ON_PATH, inspect.getsource(function), call))
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **environment},
        start_new_session=True,
    )
    with child:
        try:
            output, errors = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            kill_with_children(child)
            output, errors = child.communicate()
            pytest.fail(f"still running after {limit} s; so far: {output}{errors}")
    assert child.returncode == 0, f"status {child.returncode}: {output}{errors}"
    return output
