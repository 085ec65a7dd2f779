from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def random_next(state: Array, bits: Array) -> None: ...
def dropout(x: Array, bits: Array, rate: float, y: Array) -> None: ...
