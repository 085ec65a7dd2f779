"""A small model around each layer, and each of fn.nets, with the shape of a sample."""

import numpy as np

import fastnn as fn


def chain(*layers):
    return fn.Sequential(*layers)


# name: (function that makes the model, shape of a sample)
CASES = {
    "Linear": (lambda: chain(fn.Linear(5, 3)), (5,)),
    "Linear, no bias": (lambda: chain(fn.Linear(5, 3, bias=False)), (5,)),
    "Conv2d": (lambda: chain(fn.Conv2d(3, 4, 3)), (6, 5, 3)),
    "Conv2d, strides": (
        lambda: chain(fn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2, bias=False)),
        (7, 6, 4),
    ),
    "Conv2d, dilation": (lambda: chain(fn.Conv2d(2, 3, 3, dilation=2, padding="same")), (7, 6, 2)),
    "Conv2d, same": (lambda: chain(fn.Conv2d(2, 3, (3, 4), stride=2, padding="same")), (8, 5, 2)),
    "Conv2d, padding of one side": (
        lambda: chain(fn.Conv2d(2, 3, 2, padding=((1, 0), (0, 2)))),
        (5, 6, 2),
    ),
    "Conv2d, depthwise": (lambda: chain(fn.Conv2d(4, 8, 3, groups=4)), (5, 6, 4)),
    "ConvTranspose2d": (
        lambda: chain(fn.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, output_padding=1, groups=2)),
        (4, 5, 4),
    ),
    "GroupNorm": (lambda: chain(fn.Conv2d(2, 6, 2), fn.GroupNorm(3, 6, 1e-3)), (4, 5, 2)),
    "GroupNorm, features": (lambda: chain(fn.Linear(5, 6), fn.GroupNorm(2, 6, affine=False)), (5,)),
    "Conv1d": (lambda: chain(fn.Conv1d(4, 6, 3, stride=2, dilation=2, groups=2, padding=1)), (9, 4)),
    "Conv1d, padding of one side": (lambda: chain(fn.Conv1d(3, 4, 3, padding=(2, 0), bias=False)), (6, 3)),
    "MaxPool1d": (lambda: chain(fn.MaxPool1d(3, stride=2, padding=1), fn.Conv1d(3, 2, 2)), (8, 3)),
    "AvgPool1d": (lambda: chain(fn.AvgPool1d(3, 2, padding=1)), (8, 3)),
    "AvgPool1d without padding": (
        lambda: chain(fn.AvgPool1d(3, 2, padding=1, count_include_pad=False)),
        (8, 3),
    ),
    "GlobalAvgPool1d": (lambda: chain(fn.GlobalAvgPool1d(), fn.Linear(3, 2)), (5, 3)),
    "BatchNorm1d, sequences": (lambda: chain(fn.BatchNorm1d(3)), (5, 3)),
    "GroupNorm, sequences": (lambda: chain(fn.GroupNorm(2, 4)), (5, 4)),
    "LayerNorm, sequences": (lambda: chain(fn.LayerNorm(3)), (5, 3)),
    "LayerNorm, between convolutions": (
        lambda: chain(fn.Conv1d(2, 3, 2), fn.LayerNorm(3), fn.LayerNorm((5, 3)), fn.Conv1d(3, 2, 2)),
        (6, 2),
    ),
    "Flatten, sequences": (
        lambda: chain(
            *(fn.Conv1d(2, 3, 2), fn.ReLU(), fn.Flatten(), fn.BatchNorm1d(15), fn.LayerNorm(15)),
            fn.Linear(15, 4),
        ),
        (6, 2),
    ),
    "Flatten, rows": (lambda: chain(fn.LayerNorm(3), fn.Flatten(), fn.Linear(12, 2)), (4, 3)),
    "Reshape, sequences": (lambda: chain(fn.Linear(5, 12), fn.Reshape(4, 3), fn.Conv1d(3, 2, 2)), (5,)),
    "Residual, sequences": (
        lambda: chain(
            *(fn.Residual(chain(fn.Conv1d(3, 3, 3, padding=1), fn.BatchNorm1d(3))), fn.ReLU()),
            *(fn.Flatten(), fn.Linear(15, 2)),
        ),
        (5, 3),
    ),
    "Embedding": (lambda: chain(fn.Embedding(9, 4, padding_idx=2), fn.Flatten(), fn.Linear(24, 2)), (6,)),
    "Embedding, rows": (lambda: chain(fn.Embedding(9, 4), fn.LayerNorm(4)), (3, 2)),
    "Embedding, convolutions": (
        lambda: chain(
            *(fn.Embedding(9, 4), fn.LayerNorm(4), fn.Dropout(0.0), fn.Conv1d(4, 6, 3, padding=1), fn.GELU()),
            *(fn.Residual(fn.Conv1d(6, 6, 1), fn.LayerNorm(6)), fn.GlobalAvgPool1d(), fn.Linear(6, 2)),
        ),
        (6,),
    ),
    "Embedding, residual": (
        lambda: chain(
            fn.Residual(chain(fn.Embedding(9, 4), fn.Conv1d(4, 4, 3, padding=1)), fn.Embedding(9, 4)),
            *(fn.AvgPool1d(2), fn.Conv1d(4, 2, 1)),
        ),
        (6,),
    ),
    "MaxPool2d": (lambda: chain(fn.MaxPool2d(3, stride=2, padding=1)), (7, 8, 3)),
    "AvgPool2d": (lambda: chain(fn.AvgPool2d((3, 2), padding=1)), (7, 8, 3)),
    "AvgPool2d without padding": (
        lambda: chain(fn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
        (7, 8, 3),
    ),
    "GlobalAvgPool2d": (lambda: chain(fn.GlobalAvgPool2d(), fn.Linear(3, 2)), (4, 5, 3)),
    "BatchNorm1d": (lambda: chain(fn.BatchNorm1d(4, epsilon=1e-3, momentum=0.3)), (4,)),
    "BatchNorm1d, not affine": (lambda: chain(fn.Linear(5, 4), fn.BatchNorm1d(4, affine=False)), (5,)),
    "BatchNorm2d": (lambda: chain(fn.BatchNorm2d(3)), (4, 5, 3)),
    "LayerNorm": (lambda: chain(fn.LayerNorm(6, epsilon=1e-3)), (6,)),
    "LayerNorm, channels": (lambda: chain(fn.LayerNorm(3)), (4, 5, 3)),
    "LayerNorm, images": (lambda: chain(fn.LayerNorm((4, 5, 3))), (4, 5, 3)),
    "LayerNorm, not affine": (lambda: chain(fn.LayerNorm((4, 5, 3), affine=False)), (4, 5, 3)),
    "Flatten": (lambda: chain(fn.Flatten(), fn.Linear(60, 4)), (4, 5, 3)),
    "Flatten, norms": (
        lambda: chain(
            *(fn.Conv2d(2, 3, 2), fn.Flatten(), fn.BatchNorm1d(36), fn.GELU(), fn.LayerNorm(36)),
            *(fn.Dropout(0.0), fn.Linear(36, 4), fn.BatchNorm1d(4)),
        ),
        (4, 5, 2),
    ),
    "Reshape": (lambda: chain(fn.Reshape(4, 3, 1), fn.Conv2d(1, 2, 2)), (12,)),
    "Reshape, channels": (
        lambda: chain(
            fn.Linear(5, 36), fn.BatchNorm1d(36), fn.ReLU(), fn.Reshape(3, 4, 3), fn.Conv2d(3, 2, 2)
        ),
        (5,),
    ),
    "Residual": (lambda: chain(fn.Residual(chain(fn.Linear(4, 4), fn.Tanh())), fn.Linear(4, 2)), (4,)),
    "Residual, shortcut": (
        lambda: chain(
            fn.Residual(
                chain(fn.Conv2d(2, 4, 3, stride=2, padding=1), fn.BatchNorm2d(4)),
                fn.Conv2d(2, 4, 1, stride=2),
            ),
            *(fn.ReLU(), fn.Flatten(), fn.Linear(36, 3)),
        ),
        (5, 6, 2),
    ),
    "Residual, nested": (
        lambda: chain(fn.Residual(fn.Residual(fn.Linear(4, 4), fn.Tanh())), fn.Linear(4, 2)),
        (4,),
    ),
    "Dropout": (lambda: chain(fn.Linear(4, 5), fn.Dropout(0.3), fn.Linear(5, 2)), (4,)),
    "Identity": (lambda: chain(fn.Identity(), fn.Linear(4, 5)), (4,)),
    "ELU": (lambda: chain(fn.Linear(4, 5), fn.ELU(1.5)), (4,)),
    "GELU": (lambda: chain(fn.Linear(4, 5), fn.GELU("tanh")), (4,)),
    "LeakyReLU": (lambda: chain(fn.Linear(4, 5), fn.LeakyReLU(0.2)), (4,)),
    "ReLU": (lambda: chain(fn.Linear(4, 5), fn.ReLU()), (4,)),
    "SiLU": (lambda: chain(fn.Linear(4, 5), fn.SiLU()), (4,)),
    "Sigmoid": (lambda: chain(fn.Linear(4, 5), fn.Sigmoid()), (4,)),
    "Softmax": (lambda: chain(fn.Linear(4, 5), fn.Softmax()), (4,)),
    "Tanh": (lambda: chain(fn.Linear(4, 5), fn.Tanh()), (4,)),
    "Sequential in a Sequential": (
        lambda: chain(chain(fn.Linear(4, 5), chain(fn.ReLU())), fn.Linear(5, 2)),
        (4,),
    ),
    "nets.mlp": (lambda: fn.nets.mlp([12, 8, 3]), (3, 4)),
    "nets.mnist_cnn": (lambda: fn.nets.mnist_cnn((12, 12), dropout=0.0), (12, 12, 1)),
    "nets.alexnet": (lambda: fn.nets.alexnet(5, dropout=0.0), (227, 227, 3)),
}


def model_of(name, dtype=np.float32):
    """The model of a case, and the shape of a sample. No bias is 0, no gamma or running variance 1."""
    make, shape = CASES[name]
    model = make().to(dtype)
    generator = np.random.default_rng(1)
    for held in (*model.parameters(), *model.buffers()):
        if len(held.shape) == 1:
            held.value = 0.5 + generator.random(held.shape)
    return model, shape


def samples(shape, count=4, dtype=np.float32, model=None):
    """Random samples; indices if `model` takes them."""
    rng = np.random.default_rng(0)
    if model is not None and model.index_limit is not None:
        return rng.integers(model.index_limit, size=(count, *shape))
    return rng.standard_normal((count, *shape)).astype(dtype)
