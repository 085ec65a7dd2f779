"""Cut data into mini-batches, and a mini-batch into pieces whose gradients are summed.

The gradient of a mini-batch is a sum over its samples, divided by one divisor. So an update can be computed
piece by piece (accumulated gradients): only one piece is in memory at a time, and a piece of the right size
stays in the cache, where a large mini-batch streams all its activations through main memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from fastnn._validation import Array, Shape
from fastnn.kernels import active_recorder, ops
from fastnn.layers import Layer
from fastnn.losses import Loss
from fastnn.metrics import are_pixel_labels
from fastnn.param import Param
from fastnn.recording.recorder import Recorder, declares_recordable
from fastnn.training.samples import Samples

BLOCK = 4096  # samples whose divisors are added together


def batch_sizes(count: int, batch_size: int, smallest: int = 1, *, drop_last: bool = False) -> Array:
    """The sizes of the mini-batches of `count` samples; the last one may be smaller.

    A last one of fewer than `smallest` samples joins the one before it. With `drop_last`, a smaller last one
    is left out; raises ValueError if it is the only one.
    """
    if drop_last:
        if count < batch_size:
            raise ValueError(
                f"drop_last=True leaves out the only mini-batch, of {count} samples: pass batch_size={count}"
            )
        return np.full(count // batch_size, batch_size)
    sizes = np.full(-(-count // batch_size), batch_size)
    sizes[-1] = count - (len(sizes) - 1) * batch_size
    if len(sizes) > 1 and sizes[-1] < smallest:
        sizes[-2] += sizes[-1]
        sizes = sizes[:-1]
    return sizes


def piece_sizes(model: Layer, loss: Loss, shape: Shape, count: int, size: int) -> Array:
    """The sizes of the pieces of a mini-batch of `count` samples of this shape: `size`, and the rest.

    Raises ValueError if the model or the loss cannot be computed in such pieces.
    """
    check_summable(loss, "micro_batch")
    smallest = model.smallest_batch(shape)
    if size < smallest:
        raise ValueError(
            f"the model cannot be trained with micro_batch={size}: its layers, such as batch norm, "
            f"need at least {smallest} samples at once. Use larger pieces, or LayerNorm instead of batch norm"
        )
    return batch_sizes(count, size, smallest)


def check_summable(loss: Loss, option: str) -> None:
    """Raise ValueError, which names the `option` that needs it, if the losses of pieces cannot be summed."""
    if getattr(loss.value_and_gradient, "__func__", None) is not Loss.value_and_gradient:
        raise ValueError(
            f"{option} needs the sum of the losses of each piece, but {type(loss).__name__} overrides "
            f"value_and_gradient: override evaluate, which is passed the reduction, or leave out {option}"
        )


def batch_divisor(loss: Loss, samples: Samples, index: Array | None) -> float:
    """What the reduction divides the sum of the losses of the samples `index` (None: all) by.

    inf, which makes the loss 0, if all sample weights are 0; NaN if all class weights are.
    """
    if loss.reduction == "sum":
        return 1.0
    divisor, target = 0.0, samples.target
    # For the losses of fastnn, only labels have weights; of other targets the shape counts.
    has_labels = target.ndim == 1 or are_pixel_labels(target) or not declares_recordable(loss)
    count = len(samples) if index is None else len(index)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        chosen = slice(start, stop) if index is None else index[start:stop]
        weight = None if samples.weight is None else samples.weight[chosen]
        divisor += loss.divisor(target[chosen] if has_labels else target[: stop - start], weight)
    return divisor or (math.nan if samples.weight is None else math.inf)


@contextmanager
def summed_gradients(params: list[Param]) -> Iterator[None]:
    """Sum the gradients that the `with` block passes to `add_gradients`, starting from 0.

    After the block, the sums are the gradients of the parameters; after an exception there are none.
    """
    for param in params:
        param.drop_grad()
        if not param.frozen:
            param.grad_sum_buffer().fill(0)
    try:
        yield
    except BaseException:
        for param in params:
            param.drop_grad()
        raise
    for param in params:
        if param.has_grad and not param.frozen:
            param.use_grad_buffer(param.grad_sum_buffer())


def add_gradients(params: Iterable[Param]) -> None:
    """Add the gradients of the last backward pass to their sums."""
    recorder = active_recorder()
    for param in params:
        if param.frozen:
            continue
        if param.has_grad:
            _add_gradient(param)
        elif isinstance(recorder, Recorder) and recorder.has_callbacks:
            # Python code may compute its gradient in a later step.
            recorder.callback(partial(_add_gradient_if_late, param))


def _add_gradient(param: Param) -> None:
    total = param.grad_sum_buffer()
    ops.add(total, param.grad_buffer(), total)


def _add_gradient_if_late(param: Param) -> None:
    if param.has_grad and not param.frozen:
        _add_gradient(param)
