"""Ctrl-C at every bytecode: a function is run again and again, interrupted one bytecode later each time.

A monitor of bytecodes (PEP 669), or in Python 3.11 a trace function, raises KeyboardInterrupt, so that every
Python has interruptions wherever any Python may have them.
"""

import contextlib
import sys
import threading
from pathlib import Path

import fastnn

PACKAGE = str(Path(fastnn.__file__).parent)
# Trace functions see not all bytecodes of Python 3.13 and 3.14.
MONITORING = getattr(sys, "monitoring", None)
TOOL = 4  # of those from 0 to 5, one without a meaning of its own


class _Interruption:
    """Raises KeyboardInterrupt in this thread before the given bytecode of these files, in a `with` block."""

    def __init__(self, bytecode, files):
        self.left, self.files, self.thread = bytecode, files, threading.get_ident()

    def __enter__(self):
        if MONITORING is None:
            self.before = sys.gettrace()
            sys.settrace(self._trace)
        else:
            MONITORING.use_tool_id(TOOL, __name__)
            MONITORING.register_callback(TOOL, MONITORING.events.INSTRUCTION, self._count)
            MONITORING.set_events(TOOL, MONITORING.events.INSTRUCTION)

    def __exit__(self, *error):
        if MONITORING is None:
            sys.settrace(self.before)
        else:
            MONITORING.set_events(TOOL, MONITORING.events.NO_EVENTS)
            MONITORING.register_callback(TOOL, MONITORING.events.INSTRUCTION, None)
            MONITORING.free_tool_id(TOOL)

    def _count(self, code, *place):
        if code.co_filename.startswith(self.files) and threading.get_ident() == self.thread:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def _trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.files):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self._count(frame.f_code)
        return self._trace


def interruptions(function, *, files=(PACKAGE, contextlib.__file__), step=1):
    """Call `function()` with KeyboardInterrupt at its first bytecode, at the next one, ..., until it ends.

    Yields the number of the bytecode after each call that was interrupted, while the exception and the frames
    in its traceback are alive, as they are in an interactive session. Counts the bytecodes of the files whose
    names begin with one of `files`; `step` leaves some out.
    """
    bytecode = 1
    while True:
        error = _interrupted(function, _Interruption(bytecode, files))
        if error is None:
            assert bytecode > 20, "no bytecodes were traced"
            return
        yield bytecode
        bytecode += step


def _interrupted(function, interruption):
    """The KeyboardInterrupt that ended the call of `function()`; None if it ended by itself."""
    try:
        with interruption:
            function()
    except KeyboardInterrupt as error:
        return error
    return None
