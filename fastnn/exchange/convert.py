"""The public functions that convert models from and to other libraries, which they import."""

from __future__ import annotations

from typing import Any

from fastnn._validation import Shape
from fastnn.layers import Layer, Sequential
from fastnn.layers.base import expect_layers

_TORCH = "PyTorch is not installed: pip install torch==2.13.0"
_KERAS = "Keras is not installed: pip install keras, and one of its backends, such as jax"


def from_torch(module: Any, example_input: Any) -> Sequential:
    """Convert a PyTorch module to a fastnn model, architecture and weights at once.

    `torch.fx` records the calls of the forward method, and each becomes a layer; sums of two paths become
    `Residual`. Images are (N, H, W, C) here, and (N, C, H, W) there; sequences are (N, L, C) here, and
    (N, C, L) there for the modules that take them so: filters are transposed, and the layers after Flatten
    get their weights reordered, so that nothing is transposed when the model runs. Dropout, running
    statistics and frozen parameters are kept, half precision becomes float32. The model can be
    trained further, and is checked: it returns what the module returns for random samples.

    >>> module = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 10))
    >>> model = fn.from_torch(module, torch.zeros(1, 1, 28, 28))

    Args:
        module: A `torch.nn.Module` whose forward method takes one tensor and makes the same calls for every
            input. It does not change.
        example_input: A batch as the module takes it, a tensor or array; integers for an embedding. Only its
            shape counts, not its values. Adaptive pools and `ceil_mode` are converted for the size of its
            images.

    Returns:
        The layers in the order in which they run, in one `Sequential`.

    Raises:
        ConversionError: If the module has a layer, a function or an option that fastnn does not have. The
            message names it, its place in the module, and what is supported.
        TypeError: If the module is no module, or the example no tensor.
        ImportError: If PyTorch is not installed.
    """
    try:
        import torch as _  # noqa: F401
    except ImportError as error:
        raise ImportError(_TORCH) from error
    from fastnn.exchange.from_torch import convert

    return convert(module, example_input)


def to_torch(model: Layer, *, input_shape: Shape | None = None) -> Any:
    """Convert a fastnn model to a PyTorch module with the same outputs and gradients.

    The module is an `nn.Sequential` of PyTorch's own layers, `Residual` is a module of fastnn. It takes
    images (N, C, H, W), where the model takes (N, H, W, C), and returns images in that layout; sequences are
    (N, C, L) if the first layer to care is a convolution, a pool, or batch or group norm. It does not scale
    its input: divide images of bytes by 255. It is in evaluation mode: call `module.train()` first to train
    it.

    >>> module = fn.to_torch(model)
    >>> logits = module(torch.from_numpy(x.transpose(0, 3, 1, 2)))

    Args:
        model: The model.
        input_shape: The shape of a sample as `model` takes it. By default images (H, W, C) are those of the
            model's first training. It is needed if the model begins with Flatten, takes images of several
            channels, (H, W, C), and was not trained here: without it, such a module flattens what it gets,
            with it, the module takes (N, C, H, W). Convolutions of grey images (H, W) need (H, W, 1).
            `padding="same"` with strides depends on the size, and is converted for this one.

    Raises:
        ConversionError: If the model has a layer that PyTorch does not have, or that needs `input_shape`. The
            message names it.
        TypeError: If `model` is no layer.
        ImportError: If PyTorch is not installed.
    """
    expect_layers("fn.to_torch", [model])
    try:
        import torch as _  # noqa: F401
    except ImportError as error:
        raise ImportError(_TORCH) from error
    from fastnn.exchange.to_torch import convert

    return convert(model, input_shape)


def from_keras(model: Any) -> Sequential:
    """Convert a Keras model to a fastnn model, architecture and weights at once.

    Sequential and functional models of Dense, Embedding, convolutions and pools of images and sequences,
    BatchNormalization, GroupNormalization, LayerNormalization, Dropout, Flatten, Reshape, ZeroPadding1D and
    2D, Add, and activations; images and sequences are channels last, as here. The model is checked: it
    returns what the Keras model returns for random samples. Keras updates the running variance with the
    biased variance of a batch, fastnn, as PyTorch, with the unbiased.

    >>> model = fn.from_keras(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))

    Raises:
        ConversionError: If the model has a layer or an option that fastnn does not have, or is not built.
        TypeError: If `model` is no Keras model.
        ImportError: If Keras is not installed.
    """
    try:
        import keras as _  # noqa: F401
    except ImportError as error:
        raise ImportError(_KERAS) from error
    from fastnn.exchange.from_keras import convert

    return convert(model)
