"""Limits of single parameters: `clip_value` bounds a gradient, `mask` holds elements fixed.

The functions only call kernels, so recorded steps contain them. A parameter without limits has no calls.
"""

from __future__ import annotations

import numpy as np

from fastnn._validation import Array
from fastnn.kernels import empty, ops
from fastnn.optim.state import State
from fastnn.param import Param


def limit_gradient(param: Param) -> None:
    """Clip the gradient to [-clip_value, clip_value] and set it to 0 where the mask is 0.

    A second call changes nothing more.
    """
    if param.clip_value is not None:
        ops.clamp(np.array([param.clip_value]), param.grad_buffer())
    if param.mask_master is not None:
        ops.hold(param.mask_master, None, param.grad_buffer())


def held_elements(param: Param) -> Array | None:
    """A copy of the elements that the mask holds, beside undefined others; None without a mask."""
    if param.mask_master is None:
        return None
    held: Array = empty(param.shape, param.dtype)
    ops.hold(param.mask_master, param.master, held)
    return held


def restore_held(param: Param, state: State, held: Array) -> None:
    """Undo the update of the elements that the mask holds, and set their part of the state to 0.

    The state would otherwise grow with the weight decay, and move the elements when they are released.
    """
    mask = param.mask_master
    ops.hold(mask, held, param.writable_master())
    for array in state.values():
        if (array.shape, array.dtype) == (param.shape, param.dtype):
            ops.hold(mask, None, array)
