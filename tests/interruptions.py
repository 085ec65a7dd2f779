"""Ctrl-C at every bytecode: a function is run again and again, interrupted one bytecode later each time.

A trace function raises KeyboardInterrupt, so that every Python has interruptions wherever any Python may have
them.
"""

import contextlib
import sys
from pathlib import Path

import fastnn

PACKAGE = str(Path(fastnn.__file__).parent)


class _Interruption:
    """A trace function that raises KeyboardInterrupt before the given bytecode of the traced files."""

    def __init__(self, bytecode, files):
        self.left, self.files = bytecode, files

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.files):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


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


def _interrupted(function, trace):
    """The KeyboardInterrupt that ended the call of `function()`; None if it ended by itself."""
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 traces bytecodes only if a frame wants it now
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    return None
