"""Print the largest differences of each layer, exported and imported, as in docs/guide/onnx.md.

python -m tests.onnx.table
"""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import fastnn as fn

from .cases import channels_first, layers, nets, randomized, samples


def differences(model, shape, path):
    """The largest difference to `predict` of onnxruntime, and of the model that is imported again."""
    x = samples(shape, 50)
    expected = randomized(model).predict(x)
    fn.export_onnx(model, path, input_shape=shape, opset=21)  # the first with GroupNormalization
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {"input": channels_first(x)})[0]
    again = fn.import_onnx(path).predict(x)
    return np.abs(found - channels_first(expected)).max(), np.abs(again - expected).max()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, shape) in {**layers(), **nets()}.items():
            out, back = differences(model, shape, Path(folder, "model.onnx"))
            print(f"| {name} | {out:.1g} | {back:.1g} |")
