"""The error of conversions between libraries."""

from __future__ import annotations


class ConversionError(ValueError):
    """A model cannot be converted; the message names the module, its options, and what is supported."""
