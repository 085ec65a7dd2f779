from typing import Any

import numpy.typing as npt

from fastnn.kernels.jit.scalar import ScalarFunction

Array = npt.NDArray[Any]

def elementwise_forward(function: ScalarFunction, x: Array, y: Array) -> None: ...
def elementwise_dx(function: ScalarFunction, x: Array, dy: Array, dx: Array) -> None: ...
