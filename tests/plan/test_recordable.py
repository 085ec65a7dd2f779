"""Recordable classes call only kernels: no NumPy arithmetic hides between the calls."""

import inspect

import numpy as np
import pytest

import fastnn as fn
from fastnn import kernels, layers, losses
from fastnn.layers.elementwise import Elementwise
from fastnn.optim import optimizers
from fastnn.recording import recorder

from .test_same_as_eager import cubic
from .twins import CLASSES, FEATURES, AsImages, batch, small_net

WRITING = ("copy", "dot", "fill", "put", "sort", "partition", "byteswap", "itemset", "setfield", "resize")


class Locked(np.ndarray):
    """An array for kernels only: NumPy may neither compute with it nor copy it."""

    def __array_ufunc__(self, ufunc, *_, **__):
        raise AssertionError(f"np.{ufunc.__name__} between the kernels")

    def __array_function__(self, function, *_):
        raise AssertionError(f"np.{function.__name__} between the kernels")

    def __setitem__(self, *_):
        raise AssertionError("an assignment between the kernels")

    def astype(self, dtype, **options):
        if np.dtype(dtype) != self.dtype or options.get("copy", True):
            raise AssertionError("astype between the kernels")
        return self


def refuse(name):
    def method(self, *_, **__):
        raise AssertionError(f"{name} between the kernels")

    return method


for _name in WRITING:
    if hasattr(np.ndarray, _name):
        setattr(Locked, _name, refuse(_name))


@pytest.fixture
def locked(monkeypatch):
    """All buffers of a recording, the batch, the weights, gradients and moments are locked."""
    empty, input_buffer = recorder.Arena.empty, recorder.input_buffer
    made = []

    def locked_empty(arena, shape, dtype):
        made.append(empty(arena, shape, dtype).view(Locked))
        return made[-1]

    monkeypatch.setattr(recorder.Arena, "empty", locked_empty)
    monkeypatch.setattr("fastnn.training.steps.input_buffer", lambda array: input_buffer(array).view(Locked))
    return made


def lock(model):
    for param in model.parameters():
        param.master = param.master.view(Locked)
        param.grad_buffer()
        param._grad = param._grad.view(Locked)
    for buffer in model.buffers():
        buffer.master = buffer.master.view(Locked)
    return model


def recordable_classes():
    """All classes of the package that declare themselves recordable."""
    found = set()
    for module in (layers, losses, optimizers):
        found |= {kind for _, kind in inspect.getmembers(module, inspect.isclass)}
    return {kind for kind in found if vars(kind).get("recordable")}


# Each class, in all of its forms: (model, loss, optimizer, targets).
CASES = {
    fn.Linear: [
        {"model": lambda: fn.Linear(FEATURES, CLASSES)},
        {"model": lambda: fn.Linear(FEATURES, CLASSES, bias=False)},
        {"model": lambda: fn.Sequential(fn.Linear(FEATURES, 5).set_lr_scale(0), fn.Linear(5, CLASSES))},
    ],
    **{
        kind: [{"model": lambda kind=kind: small_net(kind())}]
        for kind in (fn.ReLU, fn.Sigmoid, fn.Tanh, fn.Softmax, fn.Identity, fn.Flatten, fn.Dropout)
    },
    fn.Conv2d: [
        {
            "model": lambda options=options: small_net(
                AsImages(), fn.Conv2d(2, 2, (1, 3), **options), fn.Flatten()
            )
        }
        for options in ({"padding": "same"}, {"padding": (0, 1), "groups": 2, "bias": False})
    ],
    fn.Conv1d: [
        {
            "model": lambda options=options, outputs=outputs: small_net(
                fn.Reshape(8, 2), fn.Conv1d(2, 2, 3, **options), fn.Flatten(), fn.Linear(outputs, 16)
            )
        }
        for options, outputs in (({"padding": "same", "stride": 2}, 8), ({"groups": 2, "bias": False}, 12))
    ],
    fn.ConvTranspose2d: [
        {
            "model": lambda options=options, rows=rows: small_net(
                AsImages(),
                fn.ConvTranspose2d(2, 2, (2, 1), **options),
                fn.Flatten(),
                fn.Linear(rows * 16, 16),
            )
        }
        for options, rows in (({"stride": (2, 1)}, 2), ({"groups": 2, "bias": False}, 2))
    ],
    fn.Embedding: [
        {
            "model": lambda padding=padding: fn.Sequential(
                fn.Embedding(10, 5, padding), fn.Flatten(), fn.Linear(5 * FEATURES, CLASSES)
            ),
            "indices": True,
        }
        for padding in (None, 2)
    ],
    **{
        kind: [
            {
                "model": lambda kind=kind, options=options: small_net(
                    fn.Reshape(8, 2), kind(*options), fn.Flatten(), fn.Linear(8, 16)
                )
            }
            for options in ((2,), (3, 2, 1), (3, 2, "same"))
        ]
        for kind in (fn.MaxPool1d, fn.AvgPool1d)
    },
    fn.GlobalAvgPool1d: [
        {"model": lambda: small_net(fn.Reshape(8, 2), fn.GlobalAvgPool1d(), fn.Linear(2, 16))},
    ],
    fn.GroupNorm: [
        {"model": lambda: small_net(fn.Reshape(4, 4), fn.GroupNorm(2, 4), fn.Flatten())},
        {"model": lambda: small_net(fn.GroupNorm(4, 16, affine=False))},
    ],
    **{
        kind: [
            {"model": lambda kind=kind, options=options: small_net(AsImages(), kind(*options), fn.Flatten())}
            for options in (((1, 1),), ((1, 3), 1, (0, 1)))
        ]
        for kind in (fn.MaxPool2d, fn.AvgPool2d)
    },
    fn.GlobalAvgPool2d: [
        {"model": lambda: small_net(AsImages(), fn.GlobalAvgPool2d(), fn.Linear(2, 16))},
    ],
    fn.BatchNorm1d: [
        {"model": lambda options=options: small_net(fn.BatchNorm1d(16, **options))}
        for options in ({}, {"affine": False})
    ],
    fn.BatchNorm2d: [
        {"model": lambda: small_net(AsImages(), fn.BatchNorm2d(2), fn.Flatten())},
        {"model": lambda: small_net(AsImages(), fn.BatchNorm2d(2).set_lr_scale(0), fn.Flatten())},
    ],
    fn.LayerNorm: [
        {"model": lambda: small_net(fn.LayerNorm(16))},
        {"model": lambda: small_net(AsImages(), fn.LayerNorm((8, 2), affine=False), fn.Flatten())},
    ],
    fn.Reshape: [{"model": lambda: small_net(fn.Reshape(2, -1), fn.Flatten())}],
    fn.Residual: [
        {"model": lambda: small_net(fn.Residual(small_net_inside()))},
        {"model": lambda: small_net(fn.Residual(fn.Tanh(), fn.Linear(16, 16)), fn.Residual(fn.Identity()))},
        {"model": lambda: fn.Residual(fn.Linear(FEATURES, CLASSES), fn.Linear(FEATURES, CLASSES))},
    ],
    fn.LeakyReLU: [{"model": lambda: small_net(fn.LeakyReLU(0.1))}],
    fn.ELU: [{"model": lambda: small_net(fn.ELU(0.5))}],
    fn.GELU: [{"model": lambda kind=kind: small_net(fn.GELU(kind))} for kind in ("none", "tanh")],
    fn.SiLU: [{"model": lambda: small_net(fn.SiLU())}],
    Elementwise: [{"model": lambda: small_net(cubic())}],
    fn.Sequential: [{"model": lambda: fn.Sequential(fn.Sequential(), small_net(small_net_inside()))}],
    fn.CrossEntropy: [
        {"loss": lambda options=options: fn.CrossEntropy(**options), "target": target}
        for options in (
            *({}, {"weight": [1, 2, 3]}, {"label_smoothing": 0.1}, {"reduction": "sum"}),
            *({"ignore_index": 1}, {"ignore_index": 1, "weight": [1, 2, 3]}),
        )
        for target in ("labels", "rows")
    ],
    **{
        kind: [
            {"loss": lambda kind=kind, reduction=reduction: kind(reduction=reduction), "target": "rows"}
            for reduction in ("mean", "sum")
        ]
        for kind in (fn.SquaredError, fn.AbsoluteError, fn.Huber, fn.Poisson, fn.BinaryHinge)
    },
    fn.Hinge: [
        {"loss": lambda options=options: fn.Hinge(**options), "target": target}
        for options in ({}, {"weight": [1, 2, 3], "margin": 0.5}, {"ignore_index": 1})
        for target in ("labels", "rows")
    ],
    fn.Focal: [
        {"loss": lambda options=options: fn.Focal(**options), "target": target}
        for options in ({}, {"weight": [1, 2, 3], "gamma": 0.5}, {"reduction": "sum"})
        for target in ("labels", "rows")
    ],
    **{
        kind: [
            {"loss": lambda kind=kind, options=options: kind(**options), "target": "rows"}
            for options in ({}, {"weight": [1, 2, 3]}, {"reduction": "sum"})
        ]
        for kind in (fn.BinaryCrossEntropy, fn.BinaryFocal)
    },
    fn.Dice: [
        {"loss": lambda options=options: fn.Dice(**options), "target": "rows"}
        for options in ({}, {"smooth": 0.5, "weight": [2]}, {"reduction": "sum"})
    ],
    fn.SGD: [
        {"optimizer": lambda options=options: fn.SGD(**options)}
        for options in ({}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1})
    ],
    fn.Adam: [{"optimizer": fn.Adam}, {"optimizer": lambda: fn.Adam(weight_decay=0.1)}],
    fn.AdamW: [{"optimizer": fn.AdamW}],
    fn.RMSprop: [
        {"optimizer": fn.RMSprop},
        {"optimizer": lambda: fn.RMSprop(momentum=0.5, centered=True, weight_decay=0.1)},
    ],
}


def small_net_inside():
    return fn.Sequential(fn.Linear(16, 16), fn.Tanh(), fn.Dropout(0.2))


def run(case, *, dtype=np.float32, bytes_=False):
    """Record one step and replay two, all memory being locked; returns the trainer."""
    model = lock(case.get("model", small_net)().to(dtype))
    loss, optimizer = case.get("loss", fn.CrossEntropy)(), case.get("optimizer", fn.SGD)()
    trainer = fn.Trainer(model, loss=loss, optimizer=optimizer, seed=0)
    x, y = batch(dtype=dtype)
    x = (50 * x + 128).clip(0, 255).astype(np.uint8) if bytes_ else x
    x = (np.abs(x) % 9).round() if case.get("indices") else x
    target = np.eye(CLASSES, dtype=dtype)[y] if case.get("target") == "rows" else y
    for _ in range(3):
        trainer.step(x, target)
    return trainer


ALL = [(kind, case) for kind, cases in CASES.items() for case in cases]


def test_every_recordable_class_is_tried():
    assert set(CASES) == recordable_classes()


@pytest.mark.parametrize("bytes_", [False, True], ids=["floats", "bytes"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("kind", "case"), ALL, ids=[kind.__name__ for kind, _ in ALL])
def test_recordable_classes_call_only_kernels(kind, case, dtype, bytes_, locked):
    trainer = run(case, dtype=dtype, bytes_=bytes_)
    assert locked
    assert not trainer._plans.last.has_callbacks
    # It was one recording, which then was replayed.
    assert len(trainer._plans._recorded) == 1


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_fit_calls_only_kernels(micro_batch, locked):
    x, y = batch(rows=50)
    options = {"batch_size": 8, "epochs": 2, "micro_batch": micro_batch}
    for target in (y, np.eye(CLASSES)[y]):
        fn.fit(lock(small_net(fn.Dropout(0.1))), (x, target), optimizer=fn.Adam(), **options)
    assert locked


class Cheating(fn.Layer):
    """It says that it only calls kernels, but does something in between."""

    recordable = True

    def __init__(self, cheat):
        self.cheat = cheat

    def forward(self, x, *, train=False):
        y = kernels.empty(x.shape, x.dtype)
        kernels.ops.relu_forward(x, y)
        return self.cheat(y), lambda dy, *, need_dx=True: dy


def assigned(y):
    y[0, 0] = 1
    return y


CHEATS = {
    "ufunc": lambda y: y * np.float32(2),
    "method": lambda y: y - y.mean(),
    "function": lambda y: np.concatenate([y]),
    "assignment": assigned,
    "copy": lambda y: y.copy(),
    "dot": lambda y: y.dot(np.eye(16, dtype=np.float32)),
    "conversion": lambda y: y.astype(np.float64),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_arithmetic_between_kernels_is_noticed(cheat, locked):
    with pytest.raises(AssertionError, match="between the kernels"):
        run({"model": lambda: small_net(Cheating(CHEATS[cheat]))})


def test_subclasses_do_not_inherit_the_claim():
    for kind in recordable_classes():
        assert not recorder.declares_recordable(object.__new__(type("Mine", (kind,), {})))
