"""Gradients the slow way: weight by weight, path by path, and backpropagation in plain Python.

Everything here is a yardstick: compared with the kernels by tests, benchmarks and `fastnn complexity`.
May import `training` and everything below it.
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
