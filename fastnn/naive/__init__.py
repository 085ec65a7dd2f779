"""Slow reference gradients: weight by weight, path by path, and backpropagation in pure Python.

Tests, benchmarks and `fastnn complexity` compare the kernels with them. May import `training` and everything
below it.
"""

from fastnn.naive.gradients import (
    central_differences,
    count_paths,
    path_gradients,
    pure_python_differences,
    pure_python_gradients,
    pure_python_mlp,
)

__all__ = [
    "central_differences",
    "count_paths",
    "path_gradients",
    "pure_python_differences",
    "pure_python_gradients",
    "pure_python_mlp",
]
