from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]

def sgd(g: Array, hyper: Array, v: Array | None, p: Array) -> None: ...
def adam(g: Array, hyper: Array, m: Array, v: Array, p: Array) -> None: ...
