from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def random_affine(bits: Array, ranges: Array, height: int, width: int, matrix: Array) -> None: ...
def displacement(bits: Array, alpha: float, sigma: float, field: Array) -> None: ...
def warp(
    source: Array, index: Array, matrix: Array, field: Array | None, scale: float, fill: float, out: Array
) -> None: ...
