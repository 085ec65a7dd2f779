"""Optimizers, learning-rate schedules, gradient clipping and moving averages of the weights (EMA).

May import `layers`, `recording`, `param`, `history` and what is below them.
"""

from fastnn.optim.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop"]
