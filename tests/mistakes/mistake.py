"""What a planted mistake is, and the names of the tests that several files of mistakes expect to notice."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """Replace `old`, which `file` holds exactly once, by `new`; one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


GRID = "tests/kernels/test_grid.py"
CONTRACT = "tests/kernels/test_contract.py"
EDGES = "tests/kernels/test_edges.py"
BITS = "tests/kernels/test_same_bits.py"
LAYERS = "tests/layers"
LOSSES = "tests/losses/test_losses.py"
OPTIM = "tests/optim/test_optimizers.py"
TRAIN = "tests/training/test_fit.py"
DOOR = "tests/test_validation.py"
PLAN_FAILURES = "tests/plan/test_failures.py"
PARAM = "tests/test_param.py"
