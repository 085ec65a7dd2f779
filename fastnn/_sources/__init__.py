"""Features that are not NumPy arrays. Rows are converted to an array when a mini-batch needs them.

Optional libraries are used, never imported, before an object of theirs is passed.
"""

from __future__ import annotations

import sys

from fastnn._arrays import real_array
from fastnn._sources.base import Features as Features
from fastnn._sources.base import Rows as Rows
from fastnn._sources.base import Selection as Selection
from fastnn._sources.base import Source as Source
from fastnn._sources.base import block_numbers as block_numbers
from fastnn._sources.base import reading_ahead as reading_ahead
from fastnn._sources.base import rows_at_once as rows_at_once
from fastnn._sources.items import ItemRows as ItemRows
from fastnn._sources.items import Items as Items
from fastnn._sources.items import has_items as has_items
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
