"""A fixture that restores the instruction set and the number of threads after each kernel test."""

import pytest

from fastnn.kernels import core


@pytest.fixture(autouse=True)
def restored():
    """Leaves the instruction set and the number of threads as they were."""
    isa, threads = core.isa(), core.get_num_threads()
    yield
    core.select_isa(isa)
    core.set_num_threads(threads)
