"""Masks of parameters as text in JSON files: their bits in C order, eight in a byte, in base64."""

from __future__ import annotations

import base64
import math
import reprlib
from typing import Any

import numpy as np

from fastnn._validation import Array, Shape


def mask_to_text(mask: Array | None) -> str | None:
    """The text of a boolean mask; None for None."""
    return None if mask is None else base64.b64encode(np.packbits(mask).tobytes()).decode()


def mask_from_text(text: Any, shape: Shape, field: str) -> Array | None:
    """The mask of this shape. Raises ValueError, which names the field, unless `text` holds one."""
    if text is None:
        return None
    size = math.prod(shape)
    try:
        packed = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        packed = b""
    if len(packed) != -(-size // 8) or not isinstance(text, str):
        raise ValueError(f"{field} must be the {size:,} bits of a mask in base64, got {reprlib.repr(text)}")
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=size).reshape(shape).astype(bool)
