"""The parameters of the kernel tests: kernels, backends, instruction sets and types.

Without FASTNN_ISA the tests run every build that this machine can use. With it they run that one build: who
names an instruction set wants to know about no other.
"""

import os

import numpy as np
import pytest

from fastnn.kernels import BACKENDS, FAMILIES, core, cpu, load

# Without those in bf16, which have no float64 and which most machines lack: test_bf16.py.
KERNELS = tuple(kernel for family, names in FAMILIES.items() if family != "dense_bf16" for kernel in names)
LEVELS = (core.isa(),) if os.environ.get("FASTNN_ISA") else cpu.supported()

# What is compared with the specification: Numba, and the compiled backend for each instruction set.
COLUMNS = ("jit", *LEVELS)

every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_column = pytest.mark.parametrize("column", COLUMNS)
every_isa = pytest.mark.parametrize("isa", LEVELS)
every_backend = pytest.mark.parametrize("backend", BACKENDS)
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def kernels_of(column):
    """The kernels of a column, by name; selects its instruction set."""
    if column == "jit":
        return load("jit")
    core.select_isa(column)
    return load("aot")
