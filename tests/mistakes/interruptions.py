"""Mistakes that leave something behind when Ctrl-C comes at a bad moment."""

from mistake import Mistake

LOCKS = "tests/plan/test_interruptions.py"
SETTINGS = "tests/test_interrupted_settings.py"

# A lock that bytecodes take and give back, as `with threading.Lock()` does.
PYTHON_LOCK = """
class Lock:
    def __init__(self, message):
        import threading

        self._lock, self.message = threading.Lock(), message

    is_taken = property(lambda self: self._lock.locked())

    def check(self):
        assert not self.is_taken

    def run(self, function, *arguments):
        with self._lock:
            return function(*arguments)

    run_if_free = run
"""

MISTAKES = (
    Mistake(
        "Ctrl-C leaves the averages in place of the weights",
        "kernels/guards.pyx",
        """    def __dealloc__(self):
        self._restore()

    cdef _restore(self):
        values, self.values""",
        """    cdef _restore(self):
        values, self.values""",
        (SETTINGS,),
    ),
    Mistake(
        "an update that is counted is taken back",
        "kernels/guards.pyx",
        "(self.done is None or self.done[0] == self.before)",
        "True",
        (SETTINGS,),
    ),
    Mistake(
        "Ctrl-C can come before a model is unlocked",
        "fastnn/training/plans.py",
        "from fastnn.kernels.guards import Lock\n",
        PYTHON_LOCK,
        (LOCKS,),
    ),
    Mistake(
        "Ctrl-C can come before a prediction is unlocked",
        "fastnn/prediction.py",
        "from fastnn.kernels.guards import Lock\n",
        PYTHON_LOCK,
        (LOCKS,),
    ),
    Mistake(
        "a step that raises leaves its model locked",
        "kernels/guards.pyx",
        """        try:
            return function(*arguments)
        finally:
            self.native.give_back(taken)
""",
        """        result = function(*arguments)
        self.native.give_back(taken)
        return result
""",
        (LOCKS,),
    ),
    Mistake(
        "models updated together stay locked",
        "kernels/guards.pyx",
        "            lock.native.give_back(taken[place])\n",
        "            lock.native.give_back(0)\n",
        (LOCKS,),
    ),
    Mistake(
        "Ctrl-C in a with statement leaves a setting behind",
        "kernels/guards.pyx",
        "    def __dealloc__(self):\n        self._reset()\n",
        "",
        (SETTINGS,),
    ),
    Mistake(
        "Ctrl-C in a with statement leaves one thread behind",
        "kernels/core.pyx",
        "    def __dealloc__(self):\n        self._leave()\n",
        "",
        (SETTINGS,),
    ),
    Mistake(
        "kernels are recorded after a call that raised",
        "kernels/plan.pyx",
        "        finally:\n            record_into(NULL)\n",
        "        except ValueError:\n            record_into(NULL)\n",
        (SETTINGS,),
    ),
    Mistake(
        "a second Ctrl-C can leave the first one delayed for ever",
        "fastnn/training/interrupts.py",
        "            signal.signal(signal.SIGINT, signal.default_int_handler)\n            raise",
        "            raise",
        (SETTINGS,),
    ),
    Mistake(
        "a child process has the locks of its parent's threads",
        "kernels/guards.pyx",
        "    generation += 1\n",
        "    generation += 0\n",
        ("tests/training/test_fork.py",),
    ),
    Mistake(
        "each trainer of a model has a lock of its own",
        "fastnn/recording/per_object.py",
        "return self._items.setdefault(id(owner), self._item(owner, value))[1]",
        "self.set(owner, value)\n        return value",
        (LOCKS,),
    ),
)
