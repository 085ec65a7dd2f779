"""Every kernel of every backend does what its specification does: backend x type x shape."""

import numpy as np
import pytest

from fastnn.kernels import BACKENDS, FAMILIES, load

from .cases import CASES

# The same bits in all backends: nothing is rounded, or once, or it is a promise (a mask is part of a run).
BITWISE = {
    *("random_next", "dropout", "gather", "gather_labels", "count_nonfinite", "im2col", "add"),
    *FAMILIES["pool"],
}

# Relative to the largest element: the longest sum has 130 terms, and n terms in another order may differ
# by n units of the last place, 6e-8 in float32 and 1.1e-16 in float64.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "ref"])
def test_kernel_meets_specification(backend, dtype, case):
    expected, actual = case.arguments(dtype), case.arguments(dtype)
    load("ref")[case.kernel](**expected)
    load(backend)[case.kernel](**actual)
    for name, wanted in expected.items():  # all arrays, since an input must stay as it was
        if not isinstance(wanted, np.ndarray):
            continue
        if case.kernel in BITWISE:
            assert actual[name].tobytes() == wanted.tobytes(), name
        elif case.whole:
            np.testing.assert_array_equal(actual[name], wanted, name)
        else:
            tolerance = TOLERANCE[dtype]
            largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
            np.testing.assert_allclose(actual[name], wanted, tolerance, tolerance * largest, err_msg=name)


@pytest.mark.parametrize("case", [case for case in CASES if case.whole], ids=str)
def test_whole_cases_are_exact_in_float32(case):
    """The sums of absolute values stay below 2^24, so no order of the terms rounds."""
    arguments = {
        name: np.abs(value) if isinstance(value, np.ndarray) else value
        for name, value in case.arguments(np.float64).items()
    }
    load("ref")[case.kernel](**arguments)
    for value in arguments.values():
        assert not isinstance(value, np.ndarray) or value.max(initial=0) < 2**24
