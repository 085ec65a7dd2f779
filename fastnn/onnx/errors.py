"""The error of model files, and the import of the optional package `onnx`."""

from __future__ import annotations

import importlib
from typing import Any


class ModelFormatError(ValueError):
    """A model file is damaged, or has something for which fastnn has no layer."""


def onnx_module(name: str) -> Any:
    """Import a module of the package `onnx`. Raises ImportError, with the pip command, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            "ONNX files need the package onnx: pip install 'fastnn-kernels[onnx]', or pip install onnx"
        ) from error
