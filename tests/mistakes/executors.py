"""The mistakes in the executors of sweeps that `planted_mistakes.py` plants."""

from mistake import Mistake

EXECUTORS = "tests/studies/test_executors.py"

MISTAKES = (
    Mistake(
        "the first thread of a worker that ends restores the number of threads for all",
        "fastnn/studies/sweep.py",
        "            _limited -= 1\n            if _limited == 0:",
        "            _limited -= 1\n            if True:",
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
