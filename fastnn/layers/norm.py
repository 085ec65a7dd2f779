"""Normalisation layers: batch norm, layer norm and group norm."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastnn._validation import Array, Shape, float_type, positive_int, within
from fastnn.init import initial_param
from fastnn.kernels import empty, ops
from fastnn.layers.base import Layer
from fastnn.layers.shared_batch import SharedBatch, shared_batch
from fastnn.param import Buffer, Param
from fastnn.recording.recorder import Backward


class _BatchNorm(Layer):
    """Base class of batch norm layers. The last axis of the input holds the channels."""

    # The axes of a sample, as error messages name them.
    axes: ClassVar[tuple[str, ...]]

    channels: int
    epsilon: float
    momentum: float
    gamma: Param | None
    beta: Param | None
    running_mean: Buffer
    running_var: Buffer
    _checks: ClassVar = {"epsilon": within(0), "momentum": within(0, 1)}
    _fixed = frozenset({"channels"})

    def __init__(
        self,
        channels: int,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.channels = positive_int(channels, "channels" if len(self.axes) > 1 else "features")
        self.epsilon = epsilon
        self.momentum = momentum
        self.gamma, self.beta = _scale_and_shift((self.channels,), affine, float_type(dtype))
        self.running_mean = Buffer(np.zeros(self.channels, dtype), name="running_mean")
        self.running_var = Buffer(np.ones(self.channels, dtype), name="running_var")

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != len(self.axes) or shape[-1] != self.channels:
            expected = ", ".join((*self.axes[:-1], f"{self.channels} {self.axes[-1]}"))
            raise ValueError(f"{self} expects samples of shape ({expected}), got {shape}")
        return shape

    def smallest_batch(self, shape: Shape | None) -> int:
        # The variance needs two values per channel; of images of unknown size, one is taken to be enough.
        values = len(self.axes) if shape is None else math.prod(shape[:-1])
        return 1 if values > 1 else 2

    def flop(self, shape: Shape) -> int:
        # Per element: subtract the mean, multiply, add beta.
        return 3 * math.prod(self.output_shape(shape))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        self.output_shape(x.shape[1:])
        rows = x.reshape(-1, self.channels)
        gamma, beta, epsilon = self.gamma, self.beta, self.epsilon
        shared = shared_batch(len(rows)) if train else None
        running = self.running_mean.master, self.running_var.master
        mean, var = self._moments(rows, shared) if train else running
        y: Array = empty(rows.shape, x.dtype)
        ops.batch_norm_forward(rows, mean, var, _master(gamma), _master(beta), epsilon, y)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            dy = dy.reshape(rows.shape)
            dgamma, dbeta = (_gradient(param, self.channels, x.dtype) for param in (gamma, beta))
            # Batch statistics depend on x, running statistics do not.
            through_moments = need_dx and train
            if through_moments or self.trainable:
                ops.batch_norm_sums(rows, dy, mean, var, epsilon, dgamma, dbeta)
            if not need_dx:
                return None
            dx: Array = empty(rows.shape, x.dtype)
            sums = (dgamma, dbeta) if through_moments else (None, None)
            if through_moments and shared is not None:
                sums = shared.sums_for_dx(dgamma, dbeta)
            ops.batch_norm_dx(rows, dy, mean, var, _master(gamma), epsilon, *sums, dx)
            return dx.reshape(x.shape)

        return y.reshape(x.shape), backward

    def _moments(self, rows: Array, shared: SharedBatch | None) -> tuple[Array, Array]:
        """Return mean and biased variance of the batch, and update the running statistics."""
        if len(rows) < 2 and shared is None:
            raise ValueError(
                f"{self} normalises by batch statistics in training and needs more than one value "
                f"per channel, got {len(rows)}"
            )
        mean, var = (empty((self.channels,), rows.dtype) for _ in range(2))
        ops.batch_moments(rows, mean, var)
        running = self.running_mean.writable_master(), self.running_var.writable_master()
        before = empty((2, self.channels), rows.dtype)  # a plan restores these if its step fails

        def update_running(count: int) -> None:
            ops.running_moments(mean, var, count, self.momentum, *running, before)

        if shared is None:
            update_running(len(rows))
        else:
            shared.take_moments(mean, var, running[0], update_running)
        return mean, var

    def arguments(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "affine": self.gamma is not None,
            "dtype": self.running_mean.dtype.name,
        }


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of x (N, features) or (N, length, features), per feature (Ioffe & Szegedy 2015).

    y = (x - mean) / sqrt(var + epsilon) gamma + beta. In training, mean and (biased) variance are those of
    the batch, and the running statistics are updated: running = (1 - momentum) running + momentum batch, with
    the unbiased variance, as in PyTorch. Otherwise the layer normalises with the running statistics. They are
    buffers, which are saved with the weights. Training on a single sample raises ValueError; `fit` lets a
    single last sample join the mini-batch before it.

    Args:
        channels: Number of features.
        epsilon: Added to the variance, at least 0.
        momentum: Weight of the batch in the running statistics, in [0, 1].
        affine: Whether to scale by gamma and shift by beta, both (features,), which start at 1 and 0.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    axes = ("features",)

    def output_shape(self, shape: Shape) -> Shape:
        is_sequence = len(shape) == 2 and shape[1] == self.channels
        return shape if is_sequence else super().output_shape(shape)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, H, W, channels), per channel (Ioffe & Szegedy 2015).

    Mean and variance are taken over all pixels of all images. See `BatchNorm1d` for equations and arguments.
    """

    recordable = True
    axes = ("height", "width", "channels")


class LayerNorm(Layer):
    """Layer normalisation over the last axes of each sample (Ba, Kiros & Hinton 2016).

    y = (x - mean) / sqrt(var + epsilon) gamma + beta, with mean and (biased) variance over the last axes.

    Args:
        shape: The sizes of the last axes: an integer or a tuple.
        epsilon: Added to the variance, at least 0.
        affine: Whether to scale by gamma and shift by beta, both of shape `shape`, which start at 1 and 0.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid.
    """

    recordable = True
    shape: Shape
    epsilon: float
    gamma: Param | None
    beta: Param | None
    _checks: ClassVar = {"epsilon": within(0)}
    _fixed = frozenset({"shape"})

    def __init__(
        self,
        shape: int | Shape,
        epsilon: float = 1e-5,
        affine: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
        self.shape = tuple(positive_int(size, "shape") for size in sizes)
        if not self.shape:
            raise ValueError("shape must have at least one axis, got ()")
        self.epsilon = epsilon
        self.gamma, self.beta = _scale_and_shift(self.shape, affine, float_type(dtype))

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-len(self.shape) :] != self.shape:
            raise ValueError(f"{self} expects samples whose last axes are {self.shape}, got {shape}")
        return shape

    def flop(self, shape: Shape) -> int:
        # Per element: add to the mean; subtract, square, add to the variance; then 3 as for batch norm.
        return 7 * math.prod(self.output_shape(shape))

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        self.output_shape(x.shape[1:])
        features = math.prod(self.shape)
        rows = x.reshape(-1, features)
        gamma, beta = self.gamma, self.beta
        y, moments = empty(rows.shape, x.dtype), empty((len(rows), 2), x.dtype)
        ops.layer_norm_forward(rows, _flat(gamma), _flat(beta), self.epsilon, y, moments)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            dy = dy.reshape(rows.shape)
            if self.trainable:
                dgamma, dbeta = (_gradient(param, features, x.dtype) for param in (gamma, beta))
                ops.layer_norm_dw(rows, dy, moments, dgamma, dbeta)
            if not need_dx:
                return None
            dx: Array = empty(rows.shape, x.dtype)
            ops.layer_norm_dx(rows, dy, _flat(gamma), moments, dx)
            return dx.reshape(x.shape)

        return y.reshape(x.shape), backward

    def arguments(self) -> dict[str, Any]:
        return {
            "shape": self.shape[0] if len(self.shape) == 1 else self.shape,
            "epsilon": self.epsilon,
            "affine": self.gamma is not None,
            "dtype": "float32" if self.gamma is None else self.gamma.dtype.name,
        }


class GroupNorm(Layer):
    """Group normalisation of each sample (..., channels), over groups of channels (Wu & He 2018).

    y = (x - mean) / sqrt(var + epsilon) gamma + beta, with mean and (biased) variance over all positions (the
    pixels of an image, the elements of a sequence) and the channels of a group. The result does not depend on
    the other samples of the batch, nor on whether the model is being trained. `groups=channels` is instance
    normalisation.

    Args:
        groups: Number of groups of neighbouring channels; it divides `channels`.
        channels: Size of the last axis.
        epsilon: Added to the variance, at least 0.
        affine: Whether to scale by gamma and shift by beta, both (channels,), which start at 1 and 0.
        dtype: float32 or float64.

    Raises:
        ValueError: If an argument is not valid, or `groups` does not divide `channels`.
    """

    recordable = True
    groups: int
    channels: int
    epsilon: float
    gamma: Param | None
    beta: Param | None
    _checks: ClassVar = {"epsilon": within(0)}
    _fixed = frozenset({"groups", "channels"})

    def __init__(
        self,
        groups: int,
        channels: int,
        epsilon: float = 1e-5,
        affine: bool = True,
        *,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.groups = positive_int(groups, "groups")
        self.channels = positive_int(channels, "channels")
        if channels % groups:
            raise ValueError(f"groups must divide the channels: {groups} does not divide {channels}")
        self.epsilon = epsilon
        self.gamma, self.beta = _scale_and_shift((self.channels,), affine, float_type(dtype))

    def output_shape(self, shape: Shape) -> Shape:
        if shape[-1:] != (self.channels,):
            raise ValueError(f"{self} expects samples with {self.channels} channels last, got shape {shape}")
        return shape

    def flop(self, shape: Shape) -> int:
        return 7 * math.prod(self.output_shape(shape))  # as for layer norm

    def forward(self, x: Array, *, train: bool = False) -> tuple[Array, Backward]:
        shape = x.shape
        self.output_shape(shape[1:])
        x = x.reshape(len(x), math.prod(shape[1:-1]), self.channels)
        gamma, beta = self.gamma, self.beta
        y, moments = empty(x.shape, x.dtype), empty((len(x), 2, self.channels), x.dtype)
        ops.group_norm_forward(x, self.groups, _master(gamma), _master(beta), self.epsilon, y, moments)

        def backward(dy: Array, *, need_dx: bool = True) -> Array | None:
            dy = dy.reshape(x.shape)
            if self.trainable:
                dgamma, dbeta = (_gradient(param, self.channels, x.dtype) for param in (gamma, beta))
                ops.group_norm_dw(x, dy, moments, dgamma, dbeta)
            if not need_dx:
                return None
            dx: Array = empty(x.shape, x.dtype)
            ops.group_norm_dx(x, dy, self.groups, _master(gamma), moments, dx)
            return dx.reshape(shape)

        return y.reshape(shape), backward

    def arguments(self) -> dict[str, Any]:
        return {
            "groups": self.groups,
            "channels": self.channels,
            "epsilon": self.epsilon,
            "affine": self.gamma is not None,
            "dtype": "float32" if self.gamma is None else self.gamma.dtype.name,
        }


def _scale_and_shift(shape: Shape, affine: bool, dtype: np.dtype[Any]) -> tuple[Param | None, Param | None]:
    """Return the parameters gamma (ones) and beta (zeros), or None for both if not `affine`."""
    if not affine:
        return None, None
    fans = math.prod(shape), math.prod(shape)
    gamma = initial_param("ones", shape, fans, "gamma", dtype)
    return gamma, initial_param("zeros", shape, fans, "beta", dtype)


def _master(param: Param | None) -> Array | None:
    return None if param is None else param.master


def _flat(param: Param | None) -> Array | None:
    return None if param is None else param.master.reshape(-1)


def _gradient(param: Param | None, size: int, dtype: np.dtype[Any]) -> Array:
    """Return the array (size,) for the gradient of gamma or beta: a scratch array if it is not trained."""
    if param is None or param.frozen:
        scratch: Array = empty((size,), dtype)
        return scratch
    return param.grad_buffer().reshape(size)
