"""Experiments: what one trains and shows, and where `fastnn reproduce` finds them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from fastnn import data
from fastnn.reproduction.report import Report

OWN = "fastnn.experiments"  # the module with the experiments that fastnn brings along
GROUP = "fastnn.experiments"  # the entry points of other packages

# The data that an experiment may name, with the function that finds out whether it is there.
DATA: dict[str, Callable[[], object]] = {
    "digits": data.digits,
    "mnist": lambda: data.mnist(download=False),
    "cifar10": data.cifar10,
    "att_faces": data.att_faces,
}

Result = Mapping[str, Any]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment that `fastnn reproduce` runs.

    `train` gets the parameters as attributes and returns the result by name: arrays, numbers, texts,
    `fn.History` objects, and lists and dicts of these. It is stored, and `show` gets it, perhaps in a later
    process, with a `fn.Report` to fill. Both must be functions of a module, and `train` must depend on
    nothing but its parameters, its module and the named data: a stored result is used again as long as
    these are the same.

    Args:
        id: Name, such as "s1.part5". The part before the dot is the report.
        title: What the experiment shows, in one line.
        items: Items of the report that it decides.
        train: Slow function of the parameters.
        show: Quick function of the result and the `fn.Report`.
        full: Parameters, by name.
        quick: Parameters that differ in a short run on fewer data.
        variants: Parameters that differ, by the name of the variant; the first is the default.
        data: Names of the data sets that it needs: keys of `DATA`.
        minutes: Estimated duration of a full run on one core.
        expected: What the report says, in one line.
        alone: Whether it needs all cores or the whole memory bandwidth.
        stand_in: Why the data are not those of the report; empty if they are.
    """

    id: str
    title: str
    items: tuple[str, ...]
    train: Callable[[Any], Result]
    show: Callable[[Result, Report], None]
    full: Parameters = field(default_factory=dict)
    quick: Parameters = field(default_factory=dict)
    variants: Mapping[str, Parameters] = field(default_factory=lambda: {"corrected": {}})
    data: tuple[str, ...] = ()
    minutes: float = 1.0
    expected: str = ""
    alone: bool = False
    stand_in: str = ""

    def __post_init__(self) -> None:
        for name, parameters in {"quick": self.quick, **self.variants}.items():
            if unknown := parameters.keys() - self.full.keys():
                raise ValueError(f"{self.id}: {name} has parameters that full lacks: {sorted(unknown)}")
        if unknown := set(self.data) - DATA.keys():
            raise ValueError(f"{self.id}: unknown data {sorted(unknown)}: choose from {', '.join(DATA)}")

    def parameters(self, variant: str, *, quick: bool) -> dict[str, Any]:
        """Return the parameters of a run. Raises ValueError for an unknown variant."""
        if variant not in self.variants:
            names = ", ".join(self.variants)
            raise ValueError(f"{self.id} has no variant {variant!r}: choose from {names}")
        return {**self.full, **self.variants[variant], **(self.quick if quick else {})}

    def run(self, parameters: Parameters) -> Result:
        """Call `train` with the parameters as attributes."""
        return self.train(SimpleNamespace(**parameters))


def known_experiments() -> dict[str, Experiment]:
    """Return all experiments by their id: those of fastnn, and those that other packages register.

    A package registers a list of experiments under the entry point group "fastnn.experiments". Raises
    ValueError if two experiments have the same id, TypeError if an entry point gives something else.
    """
    from importlib.metadata import entry_points  # 12 ms

    found: dict[str, Experiment] = {}
    sources = [(OWN, importlib.import_module(OWN).EXPERIMENTS)]
    sources += [(entry.value, entry.load()) for entry in entry_points(group=GROUP)]
    for source, experiments in sources:
        for experiment in experiments:
            if not isinstance(experiment, Experiment):
                raise TypeError(
                    f"{source} must be a list of fn.Experiment objects, it has {experiment!r:.80}"
                )
            if experiment.id in found:
                raise ValueError(f"{source}: there is another experiment {experiment.id!r}")
            found[experiment.id] = experiment
    return found


def known_items() -> dict[str, str]:
    """Return the items of the reports that fastnn reproduces: their texts by their names, such as "S1-8"."""
    items: dict[str, str] = importlib.import_module(OWN).ITEMS
    return items


def chosen(
    ids: Iterable[str], known: Mapping[str, Experiment], variant: str | None = None
) -> list[Experiment]:
    """Return the experiments with these ids, in order; "all" stands for all, "s1" for all of that report.

    Of several for which an id stands, those that have the variant are chosen, if there are any.

    Raises ValueError, with the nearest ids, for an unknown one.
    """
    import difflib

    picked: dict[str, Experiment] = {}
    for wanted in ids:
        matching = [
            experiment
            for name, experiment in known.items()
            if wanted == "all" or name == wanted or name.startswith(f"{wanted}.")
        ]
        if not matching:
            near = difflib.get_close_matches(wanted, known, n=3) or list(known)
            names = ", ".join(near)
            raise ValueError(f"unknown experiment {wanted!r}: choose from {names}, or all")
        having = [experiment for experiment in matching if variant in experiment.variants]
        if wanted not in known and having:
            matching = having
        picked.update((experiment.id, experiment) for experiment in matching)
    return list(picked.values())
