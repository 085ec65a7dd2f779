"""Models that use every layer, and what they compute in other libraries."""

import numpy as np

import fastnn as fn
from fastnn.channel_order import returns_sequences, takes_sequences


def layers():
    """Return pairs of a layer and the shape of a sample, by name."""
    return {
        "AvgPool1d": (fn.AvgPool1d(3, 2, 1), (8, 3)),
        "AvgPool1d-same": (fn.AvgPool1d(3, 2, "same"), (8, 3)),
        "AvgPool2d": (fn.AvgPool2d(3, 2, 1), (8, 7, 3)),
        "BatchNorm1d": (fn.BatchNorm1d(6), (6,)),
        "BatchNorm1d-sequences": (fn.BatchNorm1d(3), (5, 3)),
        "BatchNorm2d": (fn.BatchNorm2d(3, epsilon=1e-3, affine=False), (5, 4, 3)),
        "Conv1d": (fn.Conv1d(4, 6, 3, stride=2, padding=(2, 0), dilation=2, groups=2), (9, 4)),
        "Conv1d-same": (fn.Conv1d(3, 4, 4, stride=2, padding="same", bias=False), (9, 3)),
        "Conv1d-one": (fn.Conv1d(1, 2, 3), (6,)),
        "Conv2d": (fn.Conv2d(3, 4, (3, 2), stride=2, padding=((1, 0), (0, 2)), dilation=(1, 2)), (8, 9, 3)),
        "Conv2d-depthwise": (fn.Conv2d(3, 6, 3, padding="same", groups=3, bias=False), (5, 6, 3)),
        "AvgPool2d-same": (fn.AvgPool2d(3, 2, "same"), (8, 7, 3)),
        "AvgPool2d-inside": (fn.AvgPool2d(3, 2, 1, count_include_pad=False), (8, 7, 3)),
        "ConvTranspose2d": (
            fn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=((1, 0), (0, 1)), output_padding=1, groups=2),
            (4, 5, 4),
        ),
        "ConvTranspose2d-same": (
            fn.ConvTranspose2d(2, 3, 3, stride=2, padding="same", bias=False),
            (4, 5, 2),
        ),
        "Conv2d-same": (fn.Conv2d(3, 4, 3, stride=2, padding="same"), (8, 9, 3)),
        "GroupNorm": (fn.GroupNorm(2, 4), (3, 5, 4)),
        "GroupNorm-instances": (fn.GroupNorm(4, 4, affine=False), (3, 5, 4)),
        "GroupNorm-sequences": (fn.GroupNorm(2, 4), (5, 4)),
        "Conv2d-gray": (fn.Conv2d(1, 2, 3), (6, 5)),
        "Dropout": (fn.Dropout(0.5), (6,)),
        "ELU": (fn.ELU(0.7), (4, 3, 2)),
        "Embedding": (fn.Embedding(11, 4, padding_idx=2), (6,)),
        "Embedding-rows": (fn.Embedding(11, 4), (3, 2)),
        "Flatten": (fn.Flatten(), (4, 3, 2)),
        "GELU": (fn.GELU(), (6,)),
        "GELU-tanh": (fn.GELU("tanh"), (4, 3, 2)),
        "GlobalAvgPool1d": (fn.GlobalAvgPool1d(), (4, 3)),
        "GlobalAvgPool2d": (fn.GlobalAvgPool2d(), (4, 3, 2)),
        "Identity": (fn.Identity(), (4, 3, 2)),
        "LayerNorm": (fn.LayerNorm(6), (6,)),
        "LayerNorm-channels": (fn.LayerNorm(2), (4, 3, 2)),
        "LayerNorm-sequences": (fn.LayerNorm(2), (4, 2)),
        "LayerNorm-columns": (fn.LayerNorm((3, 2), affine=False), (4, 3, 2)),
        "LayerNorm-images": (fn.LayerNorm((4, 3, 2)), (4, 3, 2)),
        "LeakyReLU": (fn.LeakyReLU(0.2), (6,)),
        "Linear": (fn.Linear(6, 4), (6,)),
        "Linear-without-bias": (fn.Linear(6, 4, bias=False), (6,)),
        "MaxPool1d": (fn.MaxPool1d(3, 2, 1), (8, 3)),
        "MaxPool2d": (fn.MaxPool2d(3, (2, 1), 1), (8, 7, 3)),
        "ReLU": (fn.ReLU(), (4, 3, 2)),
        "Reshape-from-images": (fn.Reshape(2, 12), (4, 3, 2)),
        "Reshape-to-gray": (fn.Reshape(4, 3, 1), (12,)),
        "Reshape-to-images": (fn.Reshape(3, 2, 2), (12,)),
        "Residual": (fn.Residual(fn.Conv2d(3, 3, 3, padding=1)), (5, 4, 3)),
        "Residual-shortcut": (fn.Residual(fn.Linear(6, 3), fn.Linear(6, 3, bias=False)), (6,)),
        "Residual-sum": (fn.Residual(fn.Identity()), (6,)),
        "Sequential": (fn.Sequential(), (6,)),
        "SiLU": (fn.SiLU(), (6,)),
        "Sigmoid": (fn.Sigmoid(), (6,)),
        "Softmax": (fn.Softmax(), (6,)),
        "Tanh": (fn.Tanh(), (6,)),
    }


def nets():
    """Return the nets of `fn.nets`, and chains in which Flatten meets each layer of features, by name."""
    front = fn.Conv2d(2, 3, 3), fn.Flatten()
    block = fn.Sequential(fn.Conv2d(3, 3, 3, padding=1, bias=False), fn.BatchNorm2d(3), fn.ReLU())
    return {
        "mlp": (fn.nets.mlp([30, 8, 4], activation="gelu", dropout=0.2), (5, 6)),
        "mlp-of-images": (fn.nets.mlp([30, 8, 4], activation="silu"), (5, 3, 2)),
        "mnist_cnn": (fn.nets.mnist_cnn(image=(8, 8)), (8, 8, 1)),
        "mnist_cnn-gray": (fn.nets.mnist_cnn(image=(8, 9)), (8, 9)),
        "flatten-linear": (fn.Sequential(*front, fn.ReLU(), fn.Linear(36, 3)), (5, 6, 2)),
        "flatten-norms": (
            fn.Sequential(*front, fn.BatchNorm1d(36), fn.LayerNorm(36), fn.Linear(36, 3), fn.Softmax()),
            (5, 6, 2),
        ),
        "flatten-reshape": (fn.Sequential(*front, fn.Reshape(4, 9), fn.LayerNorm(9)), (5, 6, 2)),
        "flatten-residual": (
            fn.Sequential(*front, fn.Residual(fn.Linear(36, 36)), fn.Linear(36, 2)),
            (5, 6, 2),
        ),
        "residual": (
            fn.Sequential(
                *(fn.Conv2d(2, 3, 3), fn.Residual(fn.Sequential(fn.Residual(block), fn.ReLU()))),
                *(fn.GlobalAvgPool2d(), fn.Linear(3, 2)),
            ),
            (6, 7, 2),
        ),
        "sequences": (
            fn.Sequential(
                *(fn.Conv1d(3, 4, 3), fn.BatchNorm1d(4), fn.ReLU(), fn.LayerNorm(4), fn.MaxPool1d(2)),
                *(fn.Flatten(), fn.LayerNorm(16), fn.Linear(16, 3)),
            ),
            (10, 3),
        ),
        "sequences-whole": (
            fn.Sequential(
                *(fn.LayerNorm((6, 3)), fn.Residual(fn.Conv1d(3, 3, 3, padding=1)), fn.LayerNorm((6, 3))),
                fn.AvgPool1d(2),
            ),
            (6, 3),
        ),
        "rows": (fn.Sequential(fn.LayerNorm(3), fn.GELU(), fn.Flatten(), fn.Linear(12, 2)), (4, 3)),
        "tokens": (
            fn.Sequential(
                *(fn.Embedding(11, 4), fn.LayerNorm(4), fn.Dropout(0.2), fn.Conv1d(4, 6, 3, padding="same")),
                *(fn.SiLU(), fn.Residual(fn.Conv1d(6, 6, 1), fn.LayerNorm(6)), fn.GlobalAvgPool1d()),
                fn.Linear(6, 2),
            ),
            (7,),
        ),
        "tokens-flat": (
            fn.Sequential(
                *(fn.Reshape(2, 3), fn.Flatten(), fn.Residual(fn.Embedding(11, 4), fn.Embedding(11, 4))),
                *(fn.Flatten(), fn.Linear(24, 2)),
            ),
            (6,),
        ),
        "sequence-decoder": (
            fn.Sequential(fn.Linear(5, 24), fn.ReLU(), fn.Reshape(6, 4), fn.Conv1d(4, 2, 3)),
            (5,),
        ),
        "decoder": (
            fn.Sequential(fn.Linear(5, 24), fn.ReLU(), fn.Reshape(3, 4, 2), fn.Conv2d(2, 1, 3)),
            (5,),
        ),
    }


def randomized(model, seed=0):
    """Give norms and running statistics values that differ, and return the model."""
    rng = np.random.default_rng(seed)
    for held in (*model.parameters(), *model.buffers()):
        if len(held.shape) == 1 or "gamma" in held.name or "beta" in held.name:
            held.value = rng.uniform(0.2, 1, held.shape)
    return model


def samples(model, shape, count=5, dtype=np.float32):
    """A batch of random samples; of indices if the model takes them."""
    rng = np.random.default_rng(1)
    if model.index_limit is not None:
        return rng.integers(model.index_limit, size=(count, *shape))
    return rng.normal(size=(count, *shape)).astype(dtype)


def inputs_of(model, x):
    """A batch as the ONNX file of `model` takes it: the channels of images and of sequences come first."""
    is_first = x.ndim == 4 or (x.ndim == 3 and takes_sequences(model))
    return np.moveaxis(x, -1, 1) if is_first and model.index_limit is None else x


def outputs_of(model, y):
    """A batch as the ONNX file of `model` returns it."""
    is_first = y.ndim == 4 or (y.ndim == 3 and returns_sequences(model))
    return np.moveaxis(y, -1, 1) if is_first else y
