"""Convert what a user passes into a NumPy array, or say what to pass instead.

`numpy.asarray` silently drops masks and units, and turns sparse matrices, dicts and missing values into
arrays of objects. Objects of libraries that may not be installed are recognised by their attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LABELS_FROM_TEXT = "use classes, y = np.unique(y, return_inverse=True)"
REAL_KINDS = "buif"  # of dtypes
PLAIN = frozenset((bool, int, float, list, tuple, np.ndarray))  # types from which nothing can be dropped


def as_array(values: object, name: str) -> Array:
    """Return `values` as an array, of any dtype.

    Raises TypeError for values that an array cannot hold: dicts, sparse matrices, quantities with units,
    masked elements, and objects that are no arrays; ValueError for rows of different lengths.
    """
    if isinstance(values, np.ndarray) and type(values) is np.ndarray:
        return values
    reject_stripped(values, name)
    if isinstance(values, (list, tuple)) and not PLAIN.issuperset(map(type, values)):
        for item in values:
            reject_stripped(item, name)
    try:
        array = _from_other_library(values, name) if hasattr(values, "__dlpack__") else np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be converted to an array, are its rows equally long? {error}"
        ) from error
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(f"{name} must be an array, not {type(values).__name__}")
    return array


def real_array(values: object, name: str) -> Array:
    """Return `values` as an array of real numbers. Raises as `as_array` does, and TypeError for others."""
    array = as_array(values, name)
    if array.dtype.kind not in REAL_KINDS:
        raise TypeError(
            f"{name} must hold real numbers, but its dtype is {array.dtype}: {_advice(array, values, name)}"
        )
    return array


def label_advice(array: Array) -> str:
    """What to do about labels (N,) that are no integers."""
    if array.dtype.kind in "UST":
        return LABELS_FROM_TEXT
    if array.dtype.kind == "f" and array.ndim == 1 and bool(np.isnan(array).any()):
        return f"NaN in {position((int(np.isnan(array).argmax()),))} is missing: drop such samples"
    if array.dtype.kind == "O":
        odd = next(_not_numbers(array), None)
        if odd is None:
            return "use y.astype(int)"
        where, value = odd
        if isinstance(value, str):
            return LABELS_FROM_TEXT
        return f"{value!r} in {position(where)} is missing or no integer: drop such samples"
    return "use y.astype(int)"


def position(index: tuple[int, ...], values: object = None) -> str:
    """The position of an element, such as "row 5, column 2 ('age')"; `values` may name the columns."""
    if len(index) > 2:
        return f"element [{', '.join(map(str, index))}]"
    if len(index) < 2:
        return f"row {index[0]}"
    names = getattr(values, "columns", None)
    name = "" if names is None else f" ({names[index[1]]!r})"
    return f"row {index[0]}, column {index[1]}{name}"


def _from_other_library(values: Any, name: str) -> Array:
    """An array or tensor of another library (PyTorch, JAX, ...) as a NumPy array, without a copy if possible.

    Raises TypeError for what NumPy does not have, such as tensors on a GPU, bfloat16 and sparse tensors.
    """
    if hasattr(values, "detach"):  # PyTorch: the gradient of the features is not needed
        values = values.detach()
    try:
        return np.asarray(values) if hasattr(values, "__array__") else np.from_dlpack(values)
    except (TypeError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"{name}, a {type(values).__name__}, cannot be converted to a NumPy array: {error}. Pass a dense "
            "float32 or float64 array in the memory of the CPU"
        ) from error


def reject_stripped(values: object, name: str) -> None:
    """Raise TypeError for values of which `numpy.asarray` would drop a part, or that it does not convert."""
    if isinstance(values, Mapping):
        raise TypeError(
            f"{name} must be an array, not a {type(values).__name__}: join its columns with "
            f"np.column_stack(list({name}.values()))"
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        hidden = int(np.ma.getmaskarray(values).sum())
        raise TypeError(
            f"{name} has {hidden} masked {'value' if hidden == 1 else 'values'}: fill them with "
            f"{name}.filled(value), or drop those samples"
        )
    if hasattr(values, "isna"):  # pandas, where any other attribute may be a column
        return
    if hasattr(values, "toarray") or hasattr(values, "todense"):
        method = "toarray" if hasattr(values, "toarray") else "todense"
        raise TypeError(f"{name} is a sparse {type(values).__name__}: pass the dense {name}.{method}()")
    unit = getattr(values, "unit", getattr(values, "units", None))
    if unit is not None and str(unit) not in ("", "dimensionless"):
        plain = "magnitude" if hasattr(values, "magnitude") else "value"
        raise TypeError(
            f"{name} has the unit {str(unit)!r}, which training would ignore: convert it to the unit of your "
            f"choice and pass the numbers ({name}.{plain})"
        )


def _advice(array: Array, values: object, name: str) -> str:
    """What to do about an array that does not hold real numbers."""
    kind = array.dtype.kind
    if columns := _columns_without_numbers(values, array):
        more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
        return (
            f"encode or drop the columns {', '.join(columns[:5])}{more}, for example with "
            f"pandas.get_dummies({name}, dtype=float)"
        )
    if kind == "c":
        return f"pass {name}.real and {name}.imag as separate features"
    if kind in "mM":
        return f"pass numbers such as ({name} - {name}.min()) / np.timedelta64(1, 'D')"
    if array.dtype.names is not None:
        return f"pass np.lib.recfunctions.structured_to_unstructured({name})"
    if kind == "V":  # bfloat16 and other types that a package has added to NumPy
        return f"use {name}.astype(np.float32)"
    if kind == "O":
        odd = next(_not_numbers(array), None)
        if odd is None:
            return f"use {name}.astype(np.float32)"
        where, value = odd
        at = position(where, values)
        if not isinstance(value, str):
            return f"{value!r} in {at} is missing or no number: fill such values, or drop those samples"
        return f"{value!r} in {at} is text: encode it as numbers, or drop that column"
    return "encode text as numbers, one column per category"


def _columns_without_numbers(values: object, array: Array) -> list[str]:
    """The columns of a DataFrame that hold text, dates or the like, such as "'city' (object)".

    `array` is what NumPy makes of the DataFrame. Columns of objects may hold numbers only.
    """
    columns, dtypes = getattr(values, "columns", None), getattr(values, "dtypes", None)
    if columns is None or dtypes is None:
        return []
    return [
        f"{column!r} ({dtype})"
        for column, dtype, cells in zip(columns, dtypes, array.T, strict=True)
        if getattr(dtype, "kind", "O") not in (*REAL_KINDS, "O") or any(isinstance(c, str) for c in cells)
    ]


def _not_numbers(array: Array) -> Iterator[tuple[tuple[int, ...], object]]:
    """Yield index and value of the elements of an object array that are no numbers."""
    for index, value in np.ndenumerate(array):
        if not isinstance(value, (bool, int, float, np.number, np.bool)):
            yield index, value
