"""The stopping rule of scikit-learn's neural networks, as a callback that also records their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastnn._validation import Array
from fastnn.layers import Layer
from fastnn.states import held_by
from fastnn.training.callbacks import Callback, Training


class Recorder(Callback):
    """Records the curves of an estimator, decides when its training has converged and sets the learning rate.

    Training has converged when the loss, or with `scored` the validation score, has not improved by at least
    `tol` for more than `n_iter_no_change` epochs in a row. With `scored`, the model ends with the weights of
    the best score. The object stays with its estimator, so `partial_fit` and warm starts continue its curves.

    Args:
        scored: Whether the validation score decides, instead of the training loss.
    """

    scored: bool
    losses: list[float]
    validation_losses: list[float]
    scores: list[float]
    best_loss: float
    best_score: float
    best_weights: dict[str, Array]
    without_improvement: int
    epochs: int  # of the current call of fit
    samples: int  # seen in all calls
    converged: bool
    # Set by the estimator before each training.
    tol: float
    n_iter_no_change: float
    verbose: bool
    penalty: float  # factor of half the sum of the squared weights
    inverse_scaling: tuple[float, float] | None  # first learning rate, power_t
    divides_rate: bool

    def __init__(self, *, scored: bool) -> None:
        self.scored = scored
        self.losses, self.validation_losses, self.scores = [], [], []
        self.best_loss, self.best_score, self.best_weights = math.inf, -math.inf, {}
        self.without_improvement = self.epochs = self.samples = 0
        self.converged = self.verbose = self.divides_rate = False
        self.tol, self.n_iter_no_change = 0.0, math.inf
        self.penalty, self.inverse_scaling = 0.0, None

    def configure(self, estimator: Any) -> None:
        """Take over the parameters of `estimator` for the next training."""
        self.tol = estimator.tol
        self.n_iter_no_change = estimator.n_iter_no_change
        self.verbose = bool(estimator.verbose)
        self.epochs = 0
        self.converged = False

    def on_epoch_end(self, training: Training, values: Mapping[str, float]) -> None:
        self.epochs += 1
        self.samples += len(training.samples)
        self.losses.append(values["loss"] + self._penalty_of(training.model))
        if self.verbose:
            print(f"Iteration {self.epochs}, loss = {self.losses[-1]:.8f}")
        if "val_loss" in values:
            self.validation_losses.append(values["val_loss"])
        if self.scored:
            self._compare_score(training, values["val_score"])
        else:
            self._compare_loss(self.losses[-1])
        if self.inverse_scaling is not None:
            rate, power = self.inverse_scaling
            training.optimizer.lr = rate / (self.samples + 1) ** power
        if self.without_improvement > self.n_iter_no_change:
            self._converge(training)

    def _penalty_of(self, model: Layer) -> float:
        if not self.penalty:
            return 0.0
        decaying = (param.master.ravel() for param in model.parameters() if param.decay_scale)
        return self.penalty / 2 * sum(float(weights @ weights) for weights in decaying)

    def _compare_score(self, training: Training, score: float) -> None:
        self.scores.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        self._count(not score < self.best_score + self.tol)
        if score > self.best_score:
            self.best_score = score
            self.best_weights = {name: held.value for name, held in held_by(training.model).items()}

    def _compare_loss(self, loss: float) -> None:
        self._count(not loss > self.best_loss - self.tol)
        self.best_loss = min(self.best_loss, loss)

    def _count(self, improved: bool) -> None:
        self.without_improvement = 0 if improved else self.without_improvement + 1

    def _converge(self, training: Training) -> None:
        """Stop, or divide the learning rate by 5 while it is above 1e-6 and `divides_rate` is set."""
        what = "Validation score" if self.scored else "Training loss"
        reason = (
            f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} consecutive "
            "epochs."
        )
        if self.divides_rate and training.optimizer.lr > 1e-6:
            training.optimizer.lr /= 5
            self.without_improvement = 0
            if self.verbose:
                print(f"{reason} Setting learning rate to {training.optimizer.lr:f}")
            return
        if self.verbose:
            print(f"{reason} Stopping.")
        self.converged = True
        training.stop(reason)

    def restore_best(self, model: Layer) -> None:
        """Give `model` the weights of the best validation score."""
        for name, held in held_by(model).items():
            if name in self.best_weights:
                held.value = self.best_weights[name]
