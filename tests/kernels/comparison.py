"""Run all cases of a kernel in one test and report every case that fails, with its first difference."""

from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import load

from .cases import CASES


def arrays(arguments):
    return {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}


def copied(arguments):
    """The same arguments, the arrays copied."""
    return {name: a.copy() if isinstance(a, np.ndarray) else a for name, a in arguments.items()}


def cases_of(kernel):
    return [case for case in CASES if case.kernel == kernel]


@lru_cache(maxsize=2)  # all columns of a kernel and a type follow each other
def specified(kernel, dtype):
    """(case, arguments, the same after the specification's call) of all cases; not to be written to."""
    found = []
    for case in cases_of(kernel):
        arguments = case.arguments(dtype)
        results = copied(arguments)
        load("ref")[kernel](**results)
        found.append((case, arguments, results))
    return found


def check_each(rows, check):
    """Calls check(*row) for every row; fails once, with all errors, each behind str(row[0])."""
    rows, failures = list(rows), []
    assert rows, "nothing to check"
    for row in rows:
        try:
            check(*row)
        except (Exception, pytest.fail.Exception) as error:  # the other rows are of interest all the same
            failures.append(f"{row[0]}: {type(error).__name__}: {error}")
    if failures:
        pytest.fail("\n".join([f"{len(failures)} of {len(rows)} fail:", *failures]), pytrace=False)


def assert_same(actual, expected, *, bitwise=False, rtol=0.0, atol=0.0):
    """Fails with the names of the arrays that differ, each with the first element that does.

    `bitwise` compares bytes; otherwise elements may be `atol` + `rtol` * |expected| apart, where `atol` is
    relative to the array's largest finite element, and any nan equals any other.
    """
    differences = []
    for name, wanted in arrays(expected).items():
        found = actual[name]
        if found.tobytes() == wanted.tobytes():
            continue
        if bitwise:
            bits = np.dtype(f"u{wanted.itemsize}")
            wrong = found.view(bits) != wanted.view(bits)
        else:
            largest = np.max(np.abs(wanted), initial=0, where=np.isfinite(wanted))
            wrong = ~np.isclose(found, wanted, rtol, atol * largest, equal_nan=True)
        if wrong.any():
            first = np.unravel_index(np.argmax(wrong), wrong.shape)
            place = ", ".join(map(str, first))
            differences.append(
                f"{name}[{place}] is {found[first]!r}, not {wanted[first]!r} "
                f"({np.count_nonzero(wrong)} of {wrong.size} elements differ)"
            )
    assert not differences, "; ".join(differences)
