"""Describe everything that must be the same in all processes of a training, and warn of too many threads."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from fastnn._validation import warn
from fastnn.config import environment, get_num_threads
from fastnn.layers import Layer
from fastnn.optim.optimizers import Optimizer
from fastnn.states import held_by
from fastnn.training.fingerprint import describe, describe_array, describe_data
from fastnn.training.options import described_values
from fastnn.training.processes import BATCH, WEIGHTS, Processes
from fastnn.training.samples import Samples

if TYPE_CHECKING:
    from fastnn.training.trainer import Trainer

# On other instruction sets the same update may round differently, and the weights would drift apart.
OF_ENVIRONMENT = {"fastnn": "version of fastnn", "backend": "backend", "instruction_set": "instruction set"}


def compare_trainers(trainer: Trainer, *, is_compared: bool) -> None:
    """Raise `ProcessError` if the trainers of the processes differ, unless `fit` has compared more."""
    if not is_compared:
        parts = {"model": trainer.model, "loss": trainer.loss, "optimizer": trainer.optimizer}
        settings: dict[str, Any] = describe({**parts, **described_values(trainer)})
        trainer.processes.compare({**settings, **describe_state(trainer.model, trainer.optimizer)})
    _warn_of_crowding(trainer.processes)


def compare_batches(processes: Processes, batch: Samples) -> None:
    """Raise `ProcessError` if the processes have different mini-batches."""
    processes.meet()
    processes.compare({BATCH: describe_data(batch)})


def describe_state(model: Layer, optimizer: Optimizer) -> dict[str, Any]:
    """The weights, the state of the optimizer and the environment of this process."""
    found = environment()
    states = {path: optimizer.state(param) for path, param in model.named_parameters()}
    return {
        **{words: found[name] for name, words in OF_ENVIRONMENT.items()},
        WEIGHTS: {name: describe_array(held.master) for name, held in held_by(model).items()},
        "state of the optimizer": {
            path: {"steps": state.steps, **{name: describe_array(array) for name, array in state.items()}}
            for path, state in states.items()
        },
    }


def _warn_of_crowding(processes: Processes) -> None:
    """Warn if the processes on this machine have more threads together than it has CPUs for them."""
    threads, own = get_num_threads(), place()
    others = processes.gather((own, threads))
    here = [rank for rank, (place, _) in enumerate(others) if place == own]
    total, cpus = sum(others[rank][1] for rank in here), len(own[1])
    if processes.rank == here[0] and total > max(cpus, len(here)):
        warn(
            f"{len(here)} processes with {threads} threads each share {cpus} CPUs, and wait for each other: "
            f"call fn.set_num_threads({max(1, cpus // len(here))}), or set OMP_NUM_THREADS"
        )


def place() -> tuple[str, tuple[int, ...]]:
    """The machine of this process, and the CPUs there that it may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return platform.node(), tuple(sorted(os.sched_getaffinity(0)))
    return platform.node(), tuple(range(os.cpu_count() or 1))
