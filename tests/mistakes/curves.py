"""Mistakes in validation sets, in the curves of a training, and in what ends it."""

from mistake import Mistake

SETS = "tests/training/test_validation_sets.py"

MISTAKES = (
    Mistake(
        "a validation that was due before an interruption is left out",
        "fastnn/training/loop.py",
        "            self._validate_within_epoch(bar, decisions)  # a training that resumes may have to\n",
        "",
        (SETS,),
    ),
    Mistake(
        "the running accuracy counts updates before the last validation",
        "fastnn/training/loop.py",
        "training.trainer.correct - training.counted",
        "training.trainer.correct",
        (SETS,),
    ),
    Mistake(
        "a plan goes on after an update that hardly changed the weights",
        "kernels/native/plan/plan.hpp",
        "            if (change && change->look()) return step + 1;\n",
        "",
        ("tests/training/test_still.py",),
    ),
    Mistake(
        "a net in its warm-up is said to have learned nothing",
        "fastnn/training/watch.py",
        " or _warms_up(training)",
        "",
        ("tests/training/test_watch.py",),
    ),
    Mistake(
        "a sweep checks the gradients of every run after every epoch",
        "fastnn/studies/sweep.py",
        "watches = [SparingWatch(silent=True)]",
        "watches = [GradientWatch(silent=True)]",
        ("tests/studies/test_sweep.py",),
    ),
)
