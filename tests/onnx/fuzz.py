"""Read damaged ONNX files: each gives an error, or a model that predicts as onnxruntime does.

`python -m tests.onnx.fuzz --count 5000` reads that many; the suite reads a few hundred.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import fastnn as fn
from tests.mutations import mutations

from .cases import inputs_of, outputs_of, samples

SLOW = 5.0  # seconds for one small file


def models():
    """Yield models that together have most operators, and the shape of a sample."""
    block = fn.Sequential(fn.Conv2d(2, 2, 3, padding=1), fn.BatchNorm2d(2), fn.GELU())
    yield (
        fn.Sequential(
            *(fn.Conv2d(1, 2, 3, bias=False), fn.SiLU(), fn.Residual(block), fn.MaxPool2d(2), fn.Flatten()),
            *(fn.Linear(18, 4), fn.LayerNorm(4), fn.ReLU(), fn.Linear(4, 3), fn.Softmax()),
        ),
        (8, 8, 1),
    )
    yield (
        fn.Sequential(
            *(fn.Embedding(9, 4), fn.Conv1d(4, 4, 3, padding=1), fn.Residual(fn.BatchNorm1d(4))),
            *(fn.MaxPool1d(2), fn.GlobalAvgPool1d(), fn.Linear(4, 3)),
        ),
        (6,),
    )
    yield fn.Sequential(fn.Reshape(4, 4, 1), fn.AvgPool2d(2), fn.LayerNorm(1), fn.GlobalAvgPool2d()), (16,)


def changed_protos(content, count, seed):
    """Yield copies of a file whose syntax is valid: numbers and names changed, fields removed or repeated."""
    import onnx

    rng = np.random.default_rng(seed)
    for _ in range(count):
        model = onnx.ModelProto.FromString(content)
        for _ in range(rng.integers(1, 4)):
            _change(model, rng)
        yield model.SerializeToString()


STRANGE = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, -(2**31), 2**62, -(2**63))
OPERATORS = (
    "Add",
    "Mul",
    "Transpose",
    "Reshape",
    "Tile",
    "ConstantOfShape",
    "If",
    "Flatten",
    "Squeeze",
    "Pad",
    "X",
)


def _change(message, rng):
    """Change one random field somewhere in a message."""
    fields = message.ListFields()
    if not fields:
        return
    field, value = fields[rng.integers(len(fields))]
    number = int(STRANGE[rng.integers(len(STRANGE))])
    items = list(value) if hasattr(value, "append") or hasattr(value, "add") else None
    inner = items[rng.integers(len(items))] if items else value
    if rng.random() < 0.08:
        message.ClearField(field.name)
    elif hasattr(inner, "ListFields"):
        if items is not None and rng.random() < 0.1:
            getattr(message, field.name).add().CopyFrom(inner)
        elif items is not None and rng.random() < 0.1:
            del getattr(message, field.name)[int(rng.integers(len(items)))]
        else:
            _change(inner, rng)
    elif isinstance(inner, str):
        new = str(rng.choice([inner, inner + "x", "", "input", "output", *OPERATORS]))
        _set(message, field, items, new, rng)
    elif isinstance(inner, bytes):
        _set(message, field, items, inner[: int(rng.integers(len(inner) + 1))], rng)
    elif isinstance(inner, float):
        _set(message, field, items, float(rng.choice([0, -1, 1e30, np.nan, np.inf])), rng)
    elif isinstance(inner, int):
        try:
            _set(message, field, items, number, rng)
        except ValueError:  # out of the range of the field, or an enum
            _set(message, field, items, abs(number) % 17, rng)


def _set(message, field, items, value, rng):
    if items is None:
        setattr(message, field.name, value)
    else:
        getattr(message, field.name)[int(rng.integers(len(items)))] = value


def fuzz(count, seed=0):
    """Read `count` damaged files; return how often each outcome came."""
    outcomes = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for index, (model, shape) in enumerate(models()):
            fn.export_onnx(model, path, input_shape=shape)
            content = path.read_bytes()
            for damage in (mutations, changed_protos):
                for damaged in damage(content, count // 6, seed + index):
                    path.write_bytes(damaged)
                    outcomes[_outcome(path, shape)] += 1
    return outcomes


def _outcome(path, shape):
    start = time.perf_counter()
    try:
        model = fn.import_onnx(path)
    except fn.ModelFormatError as error:
        return "error" if len(str(error)) < 2000 else "an error with a message that is too long"
    finally:
        assert time.perf_counter() - start < SLOW, "reading took too long"
    x = samples(model, shape, 2)
    expected = _expected(path, inputs_of(model, x))
    if expected is None:
        return "unused by onnxruntime"
    with np.errstate(all="ignore"):
        y = model.predict(x)
    if np.isfinite(y).all():  # fastnn hands NaN on, onnxruntime's Relu makes it 0
        np.testing.assert_allclose(outputs_of(model, y), expected, 1e-4, 1e-4)
    return "equal"


def _expected(path, x):
    """What onnxruntime computes; None if it refuses the file, as it does for a wrong shape of an output."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x})[0]
    except Exception:  # of many kinds
        return None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(dict(fuzz(options.count, options.seed)))
