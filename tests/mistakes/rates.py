"""Mistakes in the learning-rate range test."""

from mistake import Mistake

RATE_TEST = "tests/training/test_rate_test.py"

MISTAKES = (
    Mistake(
        "find_lr trains the model itself",
        "fastnn/training/rate_test.py",
        "twin, own = copy.deepcopy(model), ",
        "twin, own = model, ",
        (RATE_TEST,),
    ),
    Mistake(
        "the loss of find_lr may explode",
        "fastnn/training/rate_test.py",
        "mean - self._best > DIVERGED *",
        "mean - self._best < -DIVERGED *",
        (RATE_TEST,),
    ),
)
