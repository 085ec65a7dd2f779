"""Apply a user's scalar Python function to arrays: compiled by Numba, or called once per element."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

Scalar = Callable[..., float]


class ScalarFunction:
    """y_e = function(x_e, ...) for each element e of one or more inputs of one shape and type.

    Raises TypeError if `function` is not a callable that takes `inputs` numbers.
    """

    def __init__(self, function: Scalar, inputs: int, name: str) -> None:
        if not callable(function):
            raise TypeError(f"{name} must be a function of {inputs} numbers, not {function!r}")
        try:
            inspect.signature(function).bind(*range(inputs))
        except TypeError:
            numbers = "a number" if inputs == 1 else f"{inputs} numbers"
            raise TypeError(
                f"{name} must take {numbers}, but its signature is {inspect.signature(function)}"
            ) from None
        self.function = function
        self.inputs = inputs
        self.name = name
        self._compiled: dict[str, Any] = {}

    def call_each(self, *arrays: np.typing.NDArray[Any]) -> None:
        """Call the Python function for each element; the last array is the output."""
        *inputs, out = arrays
        each = zip(*(array.reshape(-1) for array in inputs), strict=True)
        out.reshape(-1)[:] = [self.function(*numbers) for numbers in each]

    def compiled(self, dtype: np.typing.DTypeLike) -> Any:
        """The loop as a Numba `cfunc` on (in*, ..., out*, n) of that dtype, compiled on first use.

        All threads get the same one, since plans hold its bare address: of several that compile it at the
        same time, the first one counts.

        Raises ImportError without Numba, TypeError if Numba cannot compile the function.
        """
        name = np.dtype(dtype).name
        if name not in self._compiled:
            return self._compiled.setdefault(name, self._compile(name))
        return self._compiled[name]

    def address(self, dtype: np.typing.DTypeLike) -> int:
        """The address of the machine code of `compiled(dtype)`."""
        return int(self.compiled(dtype).address)

    def _compile(self, name: str) -> Any:
        try:
            import numba
            from numba.core.errors import NumbaError
        except ImportError as error:
            raise ImportError(
                "a scalar function is compiled by Numba: pip install numba, or write a subclass of fn.Layer"
            ) from error
        number = getattr(numba.types, name)
        pointers = [numba.types.CPointer(number)] * (self.inputs + 1)
        # LLVM inlines the function, so the loop can be vectorized. error_model: 1 / 0 is inf, no exception.
        options = {"nopython": True, "nogil": True, "error_model": "numpy"}
        scalar = numba.jit(**options)(self.function)
        try:
            signature = numba.types.void(*pointers, numba.types.int64)
            return numba.cfunc(signature, **options)(LOOPS[self.inputs](scalar))
        except NumbaError as error:
            reason = str(error).strip().splitlines()
            raise TypeError(
                f"{self.name} cannot be compiled by Numba, which supports numbers and the module math: "
                f"{reason[-1] if reason else error}; write a subclass of fn.Layer instead"
            ) from error

    # Machine code cannot be pickled or copied; the copy compiles again.
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compiled": {}}


def _loop_over_one(scalar: Scalar) -> Callable[..., None]:
    def loop(x: Any, out: Any, n: int) -> None:
        for i in range(n):
            out[i] = scalar(x[i])

    return loop


def _loop_over_two(scalar: Scalar) -> Callable[..., None]:
    def loop(x: Any, dy: Any, out: Any, n: int) -> None:
        for i in range(n):
            out[i] = scalar(x[i], dy[i])

    return loop


LOOPS = {1: _loop_over_one, 2: _loop_over_two}
