"""The mistakes in the executors of sweeps that `planted_mistakes.py` plants."""

from mistake import Mistake

EXECUTORS = "tests/studies/test_executors.py"

MISTAKES = (
    Mistake(
        "the first thread of a worker that ends restores the number of threads for all",
        "kernels/core.pyx",
        "if (--users == 0) fastnn_threads = before;",
        "--users, fastnn_threads = before;",
        (EXECUTORS,),
    ),
    Mistake(
        "a dead worker process ends the sweep",
        "fastnn/studies/executors.py",
        "if attempt == RETRIES:",
        "if True:",
        (EXECUTORS,),
    ),
    Mistake(
        "a worker with another version of fastnn trains",
        "fastnn/studies/parcel.py",
        "if (found := _versions()) != self._versions:",
        "if (found := _versions()) is None:",
        (EXECUTORS,),
    ),
)
