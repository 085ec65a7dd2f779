"""Run the node tests of the package onnx, and the models that it ships, and count the outcomes.

`python -m tests.onnx.node_tests` prints the counts, and with `--all` each test with the reason of a refusal.
"""

import importlib
import pkgutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

import fastnn as fn
from fastnn.onnx.operators import CONVERTERS
from fastnn.onnx.patterns import ARITHMETIC

OPERATORS = sorted({*CONVERTERS, *ARITHMETIC})


def node_cases():
    """Yield the name, the model, and the inputs and outputs of each test of a supported operator."""
    from onnx.backend.test.case import node

    # To import a module makes its tests. `collect_testcases` imports all 200 modules, which takes seconds.
    modules = {each.name: each.name.replace("_", "") for each in pkgutil.iter_modules(node.__path__)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, operator in modules.items():
            if any(known.lower() in (operator, f"{operator}alization") for known in OPERATORS):
                importlib.import_module(f"{node.__name__}.{name}")
    for case in node._NodeTestCases:
        graph = case.model.graph
        if {node.op_type for node in graph.node} <= {*OPERATORS} and not graph.node[0].domain:
            yield case.name, case.model, *case.data_sets[0]


def shipped_cases():
    """Yield the same for the exports of PyTorch that the package ships."""
    import onnx

    data = Path(onnx.__file__).parent / "backend" / "test" / "data"
    for path in sorted(data.glob("pytorch-*/*")):
        arrays = (
            [_array(each) for each in sorted(path.glob(f"*_0/{kind}_*.pb"))] for kind in ("input", "output")
        )
        yield path.name, onnx.load(path / "model.onnx"), *arrays


def _array(path):
    import onnx

    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


def run(model, inputs, outputs, path):
    """The outcome of one test, "equal", "refused" or "wrong", and the reason.

    The tests pass weights as inputs of the graph: all but the first become weights of the file `path`.
    """
    from onnx import numpy_helper

    if (
        not inputs
        or isinstance(inputs[0], list)
        or not all(isinstance(each, np.ndarray) for each in inputs[1:])
    ):
        return "refused", "an input is no tensor"
    weights = {each.name for each in model.graph.initializer}
    values = [each for each in model.graph.input if each.name not in weights]
    for value, array in list(zip(values, inputs, strict=True))[1:]:
        model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        model.graph.input.remove(value)
    path.write_bytes(model.SerializeToString())
    x, expected = _plain(inputs[0]), _plain(outputs[0])
    name = model.graph.output[0].name
    try:
        net = fn.import_onnx(path, layout="nchw", output=name)
        x = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    except fn.ModelFormatError as error:
        try:
            net = fn.import_onnx(path, layout="nhwc", output=name)
        except fn.ModelFormatError:
            return "refused", str(error).partition(": ")[2]
    y = net.predict(x)
    # Half precision is read as float32, and the outputs of one test have four digits.
    half = any(kind in path.name for kind in ("FLOAT16", "last_window_starts"))
    tolerance = 1e-2 if half else 1e-5
    for found in (y, np.moveaxis(y, -1, 1)):
        if found.shape == expected.shape and np.allclose(
            found, expected, tolerance, tolerance, equal_nan=True
        ):
            return "equal", ""
    return "wrong", f"{y.shape} instead of {expected.shape}, from {x.shape}: {net}"


def _plain(tensor):
    """An array, float32 for the types that NumPy does not have."""
    from onnx import numpy_helper

    return (
        np.asarray(tensor)
        if isinstance(tensor, (np.ndarray, np.generic))
        else numpy_helper.to_array(tensor).astype(np.float32)
    )


def count(cases):
    """Yield the name, the outcome and the reason of each test."""
    with tempfile.TemporaryDirectory() as folder:
        for name, *case in cases:
            yield name, *run(*case, Path(folder, f"{name}.onnx"))


if __name__ == "__main__":
    for title, cases in (("node tests", node_cases()), ("shipped models of PyTorch", shipped_cases())):
        results = list(count(cases))
        for name, outcome, reason in results if "--all" in sys.argv else ():
            print(f"{outcome:8} {name:60} {reason[:150]}")
        print(title, dict(Counter(outcome for _, outcome, _ in results)))
