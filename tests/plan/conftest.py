"""Fixtures for the tests of recorded steps."""

from functools import partial

import pytest

from fastnn.kernels import core

from .twins import Twins


@pytest.fixture(autouse=True)
def restored():
    """Leaves the instruction set and the number of threads as they were."""
    isa, threads = core.isa(), core.get_num_threads()
    yield
    core.select_isa(isa)
    core.set_num_threads(threads)


@pytest.fixture
def twins(snapshot):
    """A function that makes `Twins`."""
    return partial(Twins, snapshot)
