"""The table operator -> converter, which returns the layers for a node and the batch that they return."""

from __future__ import annotations

from collections.abc import Callable

from fastnn.layers import Layer
from fastnn.onnx.batch import Batch
from fastnn.onnx.operators import dense, norms, shapes, windows
from fastnn.onnx.site import Site

Converter = Callable[[Site], tuple[list[Layer], Batch]]

CONVERTERS: dict[str, Converter] = {
    "AveragePool": windows.average_pool,
    "BatchNormalization": norms.batch_norm,
    "Cast": shapes.cast,
    "Clip": dense.clip,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "Dropout": dense.dropout,
    "Elu": dense.elu,
    "Flatten": shapes.flatten,
    "Gather": dense.gather,
    "Gelu": dense.gelu,
    "Gemm": dense.gemm,
    "GlobalAveragePool": windows.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "GroupNormalization": norms.group_norm,
    "Identity": shapes.identity,
    "InstanceNormalization": norms.instance_norm,
    "LayerNormalization": norms.layer_norm,
    "LeakyRelu": dense.leaky_relu,
    "MatMul": dense.mat_mul,
    "MaxPool": windows.max_pool,
    "PRelu": dense.prelu,
    "Pad": windows.pad,
    "ReduceMean": windows.reduce_mean,
    "Relu": dense.relu,
    "Reshape": shapes.reshape,
    "Sigmoid": dense.sigmoid,
    "Softmax": dense.softmax,
    "Squeeze": shapes.squeeze,
    "Swish": dense.swish,
    "Tanh": dense.tanh,
    "Transpose": shapes.transpose,
    "Unsqueeze": shapes.unsqueeze,
}

# What a node before left to do (`Batch.pending`), and the operators that do it or leave it to the next one.
TAKES_PENDING = {
    "a factor": (
        "Cast",
        "Conv",
        "ConvTranspose",
        "Flatten",
        "Gemm",
        "Identity",
        "MatMul",
        "Pad",
        "Transpose",
    ),
    "zeros around it": ("Cast", "Conv", "Identity", "Pad", "Transpose"),
    "an embedding": ("Cast", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Unsqueeze"),
}
