"""Trainings in turns: one thread trains several small models, and makes their updates together.

`fit` is a generator inside: it yields the updates that it needs next, and is sent how many were made. Called
as a function, it makes them itself. A sweep holds many such trainings at the same time. One call makes the
updates of all models of one architecture, each model in a lane of the vectors (`run_together`). The rest,
such as validation and the history, is the same code as for a model that is trained alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import ParamSpec, TypeVar, cast

from fastnn._validation import Array
from fastnn.kernels.guards import run_with
from fastnn.kernels.population import lanes, run_together
from fastnn.training.callbacks import Training
from fastnn.training.plans import RUN_SECONDS, RecordedStep, StepLock
from fastnn.training.watch import SparingWatch

P = ParamSpec("P")
R = TypeVar("R")

# The weights of 16 such models fill half of a second-level cache (512 KiB as float32). 784-32-10, with 25,000
# weights, takes longer together than one model after the other.
MOST_WEIGHTS = 1 << 13

# Updates are made together if that is faster. An update made alone spends the time of OVERHEAD_FLOP between
# its kernels. Kernels of a whole vector of models take LANE_COST of the time of as many kernels of single
# models.
OVERHEAD_FLOP = 9e4
LANE_COST = 0.5


@dataclass(frozen=True)
class Updates:
    """One or more updates that a training needs next; the fields are those of `Trainer.updates_from`."""

    training: Training
    order: Array
    losses: Array
    batch_size: int
    count: bool

    def make(self) -> int:
        """Make some of the updates; returns how many."""
        training = self.training
        return training.trainer.updates_from(
            training.samples, self.order, self.losses, self.batch_size, self.count
        )


Turns = Generator[Updates, int, R]


def in_one_turn(turns: Callable[P, Turns[R]]) -> Callable[P, R]:
    """The function that runs a training in turns from its beginning to its end."""

    @wraps(turns)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        training = turns(*args, **kwargs)
        try:
            updates = next(training)
            while True:
                updates = take_turn(training, updates)
        except StopIteration as end:
            return cast(R, end.value)
        finally:  # a second Ctrl-C can come here, while the training holds back the first one
            training.close()

    signature = inspect.signature(turns)
    result = str(signature.return_annotation).removeprefix("Turns[").removesuffix("]")
    run.__signature__ = signature.replace(return_annotation=result)  # type: ignore[attr-defined]
    return run


def turns_of(function: Callable[P, R]) -> Callable[P, Turns[R]]:
    """The training in turns of which `in_one_turn` made the function."""
    return cast(Callable[P, Turns[R]], function.__wrapped__)  # type: ignore[attr-defined]


def take_turn(training: Turns[R], updates: Updates) -> Updates:
    """Make updates that the training needs, as if it made them itself; returns those that it needs next.

    Raises StopIteration with the result at the end of the training, and what the training raises.
    """
    try:
        done = updates.make()
    except BaseException as error:
        return training.throw(error)
    return training.send(done)


def can_join(updates: Updates) -> bool:
    """Whether updates can be made together with those of other trainings: they have a plan, and it suits.

    The model must be small, and there must be no callbacks, which may have a state that trainings one after
    the other can share.
    """
    training = updates.training
    if any(type(callback) is not SparingWatch for callback in training.callbacks):
        return False
    if training.trainer.processes.size > 1:
        return False
    plan = training.trainer.recorded_update(training.samples, updates.batch_size, updates.count)
    size = sum(param.size for param in training.model.parameters())
    return plan is not None and plan.likeness is not None and size <= MOST_WEIGHTS


@dataclass(frozen=True)
class _Ready:
    """Updates that can be made together with others: the model is locked, and its plan is up to date."""

    place: int
    updates: Updates
    plan: RecordedStep
    rates: Array | None


def make_together(requests: Sequence[Updates]) -> list[tuple[int, int] | None]:
    """Make updates of several trainings; of each, returns how many were made, together with how many models.

    None for a training whose updates must be made alone: its plan is like no other one, or has kernels that
    run for a single model only, or its next update fails, or another thread uses its model. Nothing has
    changed then.
    """
    locks = [StepLock(updates.training.model).lock for updates in requests]
    results: list[tuple[int, int] | None] = run_with(locks, partial(_make_together, requests))
    return results


def _make_together(requests: Sequence[Updates], locked: list[int]) -> list[tuple[int, int] | None]:
    """Do what `make_together` does, but only for requests whose places are in `locked`."""
    results: list[tuple[int, int] | None] = [None] * len(requests)
    alike: dict[tuple[int, int], list[_Ready]] = {}
    with ExitStack() as preparations:
        for place in locked:
            updates = requests[place]
            with suppress(Exception):  # made alone, the updates raise it again
                trainer, samples = updates.training.trainer, updates.training.samples
                rates = preparations.enter_context(trainer.prepared(samples, len(updates.losses)))
                plan = trainer.recorded_update(samples, updates.batch_size, updates.count)
                if plan is not None and plan.likeness is not None:
                    ready = _Ready(place, updates, plan, rates)
                    alike.setdefault((plan.likeness, updates.batch_size), []).append(ready)
        for group in alike.values():
            for members in _in_vectors(group):
                done = run_together(
                    [each.plan.plan for each in members],
                    [each.updates.order for each in members],
                    members[0].updates.batch_size,
                    [each.updates.losses for each in members],
                    [each.rates for each in members],
                    RUN_SECONDS,
                )
                for each in members if done else ():
                    each.updates.training.trainer.end_updates(each.rates, done)
                    results[each.place] = done, len(members)
    return results


def _in_vectors(group: list[_Ready]) -> list[list[_Ready]]:
    """The updates of alike models in parts of even size, each of at most as many as a vector has lanes.

    Without the parts for which that would take longer than one model after the other.
    """
    width = lanes(group[0].updates.training.model.dtype)
    count = -(-len(group) // width)
    parts = [group[len(group) * i // count : len(group) * (i + 1) // count] for i in range(count)]
    work = group[0].plan.plan.work
    least = max(2, width * work * LANE_COST / (OVERHEAD_FLOP + work))
    return [part for part in parts if len(part) >= least]
