"""Profile a planned training step of a trainer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy.typing as npt

from fastnn._sources import Features
from fastnn.config import get_num_threads
from fastnn.measure.profile import Profile, profile_plan
from fastnn.training.options import piece_size
from fastnn.training.processes import ALONE
from fastnn.training.samples import check_data

if TYPE_CHECKING:
    from fastnn.training.trainer import Trainer


def profile_step(trainer: Trainer, x: Features, y: npt.ArrayLike, steps: int) -> Profile:
    """Profile `steps` steps of a copy of the trainer on the batch x, y.

    Raises RuntimeError if steps are not planned, or computed in pieces, and the errors of `Trainer.step`.
    """
    twin = copy.deepcopy(trainer)
    twin.processes = ALONE
    samples = check_data(twin.model, twin.loss, (x, y), twin.scale)
    twin.scale = samples.scale
    twin.model.classes = None  # the labels are encoded already
    if piece_size(twin, len(samples)) is not None:
        raise RuntimeError(
            f"only whole updates can be profiled, but micro_batch={twin.micro_batch} cuts this batch of "
            f"{len(samples)}: pass at most {twin.micro_batch} samples"
        )

    def step() -> None:  # the plan keeps reading the arrays of `samples`
        if samples.weight is None:
            twin.step(samples.x, samples.target)
        else:  # the loss ignores labels, and has replaced them by a number that `Trainer.step` refuses
            twin.update_from(samples, count=False)

    step()
    step()
    recorded = twin.last_plan
    if recorded is None:
        raise RuntimeError('only planned steps can be profiled: use plan=True and the backend "aot"')
    return profile_plan(recorded.plan, step, get_num_threads(), steps)
