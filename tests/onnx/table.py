"""Print what each layer loses on its way out and in, as in docs/guide/onnx.md.

python -m tests.onnx.table
"""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import fastnn as fn

from .cases import inputs_of, layers, nets, outputs_of, randomized, samples

COLUMNS = ("layer", "save, load", "ONNX out", "ONNX in", "PyTorch out", "PyTorch in")


def differences(model, shape, folder):
    """The largest difference to `predict` of each other model, in the order of COLUMNS; None if refused."""
    x = samples(model, shape, 50)
    given, expected = inputs_of(model, x), randomized(model).predict(x)

    def largest(found, wanted=expected):
        return np.abs(found - wanted).max()

    yield largest(fn.load(fn.save(model, folder / "model.safetensors")).predict(x))
    path = fn.export_onnx(model, folder / "model.onnx", input_shape=shape, opset=21)  # has GroupNormalization
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    yield largest(session.run(None, {"input": given})[0], outputs_of(model, expected))
    yield largest(fn.import_onnx(path).predict(x))
    try:
        module = fn.to_torch(model, input_shape=shape)
    except fn.ConversionError:
        yield from (None, None)
        return
    batch = torch.from_numpy(np.ascontiguousarray(given))
    found, moved = module(batch).detach().numpy(), outputs_of(model, expected)
    yield largest(found, moved if found.shape == moved.shape else expected)
    yield largest(fn.from_torch(module, batch).predict(x))


def main():
    print("|", " | ".join(COLUMNS), "|")
    print("|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (model, shape) in {**layers(), **nets()}.items():
            found = differences(model, shape, Path(folder))
            print("|", " | ".join([name, *("" if each is None else f"{each:.1g}" for each in found)]), "|")


if __name__ == "__main__":
    main()
