"""Optimizers, learning-rate schedules, gradient clipping and moving averages of the weights (EMA).

May import `layers`, `recording`, `param`, `history` and what is below them.
"""

import typing as _typing

from fastnn.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]

if not _typing.TYPE_CHECKING:  # a type checker would accept any name
    from fastnn._attributes import names_of_module as _names_of_module

    __getattr__ = _names_of_module(__name__)
