"""Every kernel of every backend agrees with its specification: kernel x type x column, over all cases."""

import numpy as np
import pytest

from fastnn.kernels import FAMILIES, load

from .cases import CASES
from .columns import both_types, every_column, every_kernel, kernels_of
from .comparison import arrays, assert_same, cases_of, check_each, copied, specified

# The same bits in all backends: nothing is rounded, or once, or it is a promise (a mask is part of a run).
BITWISE = {
    *("random_next", "dropout", "gather", "gather_labels", "count_nonfinite", "count_outside"),
    *("im2col", "add", "add_bias"),
    *(*FAMILIES["pool"], *FAMILIES["embedding"]),
}

# Relative to the largest element: the longest sum has 130 terms, and n terms in another order may differ
# by n units of the last place, 6e-8 in float32 and 1.1e-16 in float64.
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


@every_column
@both_types
@every_kernel
def test_kernel_meets_the_specification(kernel, dtype, column):
    """Outputs are those of the specification, and inputs stay as they are."""
    call = kernels_of(column)[kernel]

    def check(case, arguments, expected):
        actual = copied(arguments)
        call(**actual)
        tolerance = 0 if case.whole else TOLERANCE[dtype]  # whole numbers are exact
        assert_same(actual, expected, bitwise=kernel in BITWISE, rtol=tolerance, atol=tolerance)

    check_each(specified(kernel, dtype), check)


@pytest.mark.parametrize("kernel", sorted({case.kernel for case in CASES if case.whole}))
def test_whole_cases_are_exact_in_float32(kernel):
    """The sums of absolute values stay below 2^24, so no order of the terms rounds."""

    def check(case):
        arguments = case.arguments(np.float64)
        positive = arguments | {name: np.abs(value) for name, value in arrays(arguments).items()}
        load("ref")[kernel](**positive)
        for name, value in arrays(positive).items():
            assert value.max(initial=0) < 2**24, name

    check_each(([case] for case in cases_of(kernel) if case.whole), check)
