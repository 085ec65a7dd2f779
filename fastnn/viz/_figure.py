"""Figures that a notebook shows without pyplot."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that a notebook shows as the value of a cell.

    matplotlib itself does this only after pyplot has chosen the notebook's backend, which is global state.
    """

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
