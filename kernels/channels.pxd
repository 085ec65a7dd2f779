"""Checks of arrays (C,) with an element for each channel, for the compiled families of norms.

This file holds only inline functions: there is no module of this name.
"""

cimport numpy as cnp

from native cimport Call, floats, shape_error


cdef inline int per_channel(Call *call, const char *name, object channels, cnp.ndarray x) except -1:
    """Make an array (C,) an operand; the last axis of x has the channels."""
    cdef cnp.ndarray array = floats(call, name, channels)
    if array.ndim != 1 or array.shape[0] != x.shape[x.ndim - 1]:
        raise shape_error(f"{name.decode()} (C,), x (..., C)", {name.decode(): array, "x": x})
    return 0


cdef inline int per_channel_or_none(
    Call *call, const char *name, object channels, cnp.ndarray x
) except -1:
    """The same unless it is None."""
    return 0 if channels is None else per_channel(call, name, channels, x)
