"""kernels/native/plan/kernels.def agrees with the Python kernels: names, operands and outputs."""

import inspect

import numpy as np
import pytest

from fastnn.kernels import FAMILIES, load
from fastnn.kernels.plan import kernels

from .cases import CASES
from .columns import KERNELS

# The rows of kernels.def that belong to Python kernels. The others are internal: fused kernels, checks, ...
ROWS = [row for row in kernels() if row[1] in FAMILIES]

# Operands that no Python function has, since other calls of the same step provide them.
INTERNAL = {name: {"y"} for name in ("dense_dx", "dense_dx_bf16", "conv_dx", "max_pool_dx")} | {
    name: {"factors"}
    for name in FAMILIES["loss"]
    if name.startswith(("cross_entropy", "focal", "hinge", "weigh_loss"))
}


def python_kernels(name, family):
    """The kernels of Python that run the native kernel: gather runs gather_bytes, gather_floats, ..."""
    exact = [kernel for kernel in FAMILIES[family] if kernel == name]
    variants = [
        kernel
        for kernel in FAMILIES[family]
        if f"{name}_".startswith(f"{kernel}_") or f"{kernel}_".startswith(f"{name}_")
    ]
    return exact or variants


def test_names_are_unique():
    names = [name for name, _, _ in kernels()]
    assert len(set(names)) == len(names)


def test_list_has_the_kernels_of_each_family():
    listed = {(family, kernel) for name, family, _ in ROWS for kernel in python_kernels(name, family)}
    assert listed == {(family, kernel) for family, names in FAMILIES.items() for kernel in names}
    assert all(python_kernels(name, family) for name, family, _ in ROWS)


@pytest.mark.parametrize(("name", "family", "operands"), ROWS, ids=[name for name, _, _ in ROWS])
def test_operands_are_parameters_and_outputs_come_last(name, family, operands):
    parameters = [
        list(inspect.signature(load("ref")[kernel]).parameters) for kernel in python_kernels(name, family)
    ]
    inputs = {operand for operand, is_output in operands if not is_output}
    outputs = [operand for operand, is_output in operands if is_output]
    assert inputs <= set().union(*parameters, INTERNAL.get(name, set()))
    for names in parameters:
        written = names[names.index(outputs[0]) :]
        assert outputs == [parameter for parameter in written if parameter != "loss"]  # reduce_loss writes it


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_write_their_outputs_and_nothing_else(kernel):
    outputs = {
        operand
        for name, family, operands in ROWS
        for operand, is_output in operands
        if is_output and kernel in python_kernels(name, family)
    }
    changed = set()
    for case in CASES:
        if case.kernel != kernel:
            continue
        before, after = case.arguments(np.float32), case.arguments(np.float32)
        load("aot")[kernel](**after)
        changed |= {
            name
            for name, array in before.items()
            if isinstance(array, np.ndarray) and array.tobytes() != after[name].tobytes()
        }
    assert changed - {"loss"} == outputs
