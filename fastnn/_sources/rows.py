"""Tell features in memory from those that are read on demand."""

from __future__ import annotations

import sys

from fastnn._arrays import real_array
from fastnn._sources.base import Rows, Source
from fastnn._sources.sparse import SparseRows
from fastnn._sources.stored import stored_rows


def feature_rows(x: object, name: str) -> Rows:
    """Return features as an array of real numbers or, where that would cost memory, as a `Source`.

    Raises TypeError or ValueError for anything else.
    """
    if isinstance(x, Source):
        return x
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(x):
        return SparseRows(x, name)
    stored = stored_rows(x, name)
    return real_array(x, name) if stored is None else stored
