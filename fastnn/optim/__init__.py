"""Optimizers, learning-rate schedules, gradient clipping, averages of the weights (EMA).

May import `layers`, `recording`, `param`, `history` and what is below them.
"""

from fastnn.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]
