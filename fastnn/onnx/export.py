"""Write a model as an ONNX file."""

from __future__ import annotations

import os
from pathlib import Path

from fastnn._validation import Shape, choose, positive_int
from fastnn.feeding import sample_shape
from fastnn.files import user_path, write_atomic
from fastnn.layers import Layer
from fastnn.layers.base import expect_layers
from fastnn.onnx.errors import onnx_module
from fastnn.onnx.graph_writer import LAYOUTS, GraphWriter
from fastnn.onnx.layer_writers import WRITERS

OLDEST_OPSET = 17  # the first with LayerNormalization


def export_onnx(
    model: Layer,
    path: str | os.PathLike[str],
    *,
    opset: int = OLDEST_OPSET,
    input_shape: Shape | None = None,
    layout: str = "nchw",
) -> Path:
    """Write `model` to the ONNX file `path`, for inference; returns the path.

    >>> fn.export_onnx(model, "model.onnx", input_shape=(28, 28, 1))

    The graph has one input, "input", and one output, "output", both with a batch of any size, in the dtype of
    the model; indices are int64. It computes what `predict` returns for float features that are scaled
    already: dropout is left out, and batch norm uses the running statistics.

    The channels of images come first, as usual in ONNX: fastnn's (N, H, W, C) is (N, C, H, W) in the file,
    and a sequence is (N, C, L) if the first layer to care is a convolution, a pool, or batch or group norm.
    Other samples (H, W) stay (N, H, W). Weights are reordered on export, so images are not transposed when
    the graph runs, unless `layout` is "nhwc" or a layer needs it (`LayerNorm` over some of an image's axes, a
    convolution behind `Embedding`, `Reshape` to or from images with several channels).

    The metadata of the file have the key `fastnn`, a JSON object with the classes and how the model was fed
    in its training, with the scale of its features. `import_onnx` reads them.

    Args:
        model: Any model of fastnn's own layers, except `fn.elementwise`.
        path: Name of the file, which is written atomically.
        opset: Version of the operators, from 17 to the newest of the installed package `onnx`.
        input_shape: Shape of one sample as fastnn has it, such as (28, 28, 1). The default is what the first
            layer needs, or else the shape in the training.
        layout: "nchw", or "nhwc" for a graph that takes and returns images as fastnn does; it transposes them
            once.

    Raises:
        ImportError: If the package `onnx` is not installed.
        ValueError: If an argument is not valid, the shape does not fit the model, or a layer has no
            counterpart in ONNX.
    """
    expect_layers("fn.export_onnx", [model])
    channels_first = choose(layout, LAYOUTS, "layout")
    onnx = onnx_module("onnx")
    newest = onnx.defs.onnx_opset_version()
    if isinstance(opset, bool) or not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise ValueError(f"opset must be an integer from {OLDEST_OPSET} to {newest}, not {opset!r}")
    shape = _sample_shape(model, input_shape)
    writer = GraphWriter(onnx, opset, model.dtype, WRITERS)
    content: bytes = writer.write(model, shape, channels_first).SerializeToString(deterministic=True)
    write_atomic(path, content)
    return user_path(path)


def _sample_shape(model: Layer, given: Shape | None) -> Shape:
    """The shape of one sample. Raises ValueError if it is unknown or does not fit the model."""
    if given is None:
        given = sample_shape(model)
    if given is None:
        raise ValueError(
            "the model does not know the shape of a sample: pass it, as in input_shape=(28, 28, 1)"
        )
    sides = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    shape = tuple(positive_int(side, "a size of input_shape") for side in sides)
    model.output_shape(shape)
    return shape
