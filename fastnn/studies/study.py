"""The results of many trainings: a table over seeds, bands, a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from fastnn.files import write_atomic
from fastnn.history import History, better
from fastnn.tables import aligned

Point = Mapping[str, Any]


class Spread(NamedTuple):
    """A number over several seeds."""

    mean: float
    std: float
    """The standard deviation of the sample (divided by runs - 1); nan for a single one."""
    runs: int

    def __str__(self) -> str:
        if self.runs < 2:
            return f"{self.mean:.4g}"
        # As many digits as the deviation leaves certain, and one more.
        digits = 4 if not self.std > 0 else min(max(1 - math.floor(math.log10(self.std)), 0), 6)
        return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"


@dataclass(frozen=True)
class Member:
    """One training of a study.

    `values` are its results: the last value of each curve, and what `build` returned beside. A training that
    failed has an `error` in their place, and `details`, its traceback. `warnings` are those of
    `fn.GradientWatch`, by their kinds.
    """

    point: Point
    seed: int
    values: dict[str, float] = field(default_factory=dict)
    history: History | None = None
    seconds: float = 0.0
    warnings: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    details: str | None = None


class Study:
    """The members of a sweep, in the order of the grid and the seeds; `str` of it is a table.

    It is filled while the sweep runs, so that after Ctrl-C it holds what was done, and a sweep that gets it
    goes on from there (`fn.sweep(..., study=study)`).
    """

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._members = {_key(member.point, member.seed): member for member in members}

    @property
    def members(self) -> list[Member]:
        """All trainings that were finished, those that failed included."""
        return list(self._members.values())

    @property
    def failed(self) -> list[Member]:
        """The trainings that raised an error."""
        return [member for member in self._members.values() if member.error is not None]

    def __len__(self) -> int:
        return len(self._members)

    def has(self, point: Point, seed: int) -> bool:
        """Whether the training of this point and seed is there, and did not fail."""
        member = self._members.get(_key(point, seed))
        return member is not None and member.error is None

    def add(self, member: Member) -> None:
        """Take up a training, in place of an earlier one of the same point and seed."""
        self._members[_key(member.point, member.seed)] = member

    def sort(self, order: Sequence[tuple[Point, int]]) -> None:
        """Bring the members into this order of (point, seed); others come last."""
        rank = {_key(*member): place for place, member in enumerate(order)}
        keys = sorted(self._members, key=lambda key: rank.get(key, len(rank)))
        self._members = {key: self._members[key] for key in keys}

    def points(self) -> list[tuple[Point, list[Member]]]:
        """The members at each point of the grid that did not fail, without points where all did."""
        found: dict[str, tuple[Point, list[Member]]] = {}
        for member in self._members.values():
            if member.error is None:
                found.setdefault(point_key(member.point), (member.point, []))[1].append(member)
        return list(found.values())

    def rows(self) -> list[dict[str, Any]]:
        """A row for each point: its parameters, and the `Spread` over its seeds of each result."""
        return [
            {
                **point,
                **{
                    name: _spread(m.values[name] for m in members if name in m.values)
                    for name in _names(members)
                },
                "seconds": _spread(m.seconds for m in members),
            }
            for point, members in self.points()
        ]

    def best(self, name: str = "val_accuracy", *, mode: str = "auto") -> Point:
        """The point whose mean of the result `name` is best, the first of several.

        `mode`, "min" or "max", says what is better ("auto": by the name, as `fn.EarlyStopping` does). Raises
        ValueError for a name that no row has.
        """
        sign = 1.0 if better(mode, name) == "max" else -1.0
        rows = [
            (point, _named(row, name)) for (point, _), row in zip(self.points(), self.rows(), strict=True)
        ]
        known = [(sign * spread.mean, -index) for index, (_, spread) in enumerate(rows) if spread is not None]
        known = [(mean, index) for mean, index in known if not math.isnan(mean)]
        if not known:
            names = sorted({name for row in self.rows() for name, value in row.items() if _is_spread(value)})
            raise ValueError(f"no training has a result {name!r}: there are {', '.join(names) or 'none'}")
        return rows[-max(known)[1]][0]

    def plot(self, path: str | os.PathLike[str], *, name: str = "val_accuracy", log: bool = False) -> Path:
        """Draw the curve `name` of each point, mean and deviation over its seeds; returns the path.

        As `fn.viz.save_bands`; ValueError for a curve that a training lacks.
        """
        from fastnn.viz import save_bands

        groups = {
            _label(point) or "all": [member.history for member in members if member.history is not None]
            for point, members in self.points()
        }
        return save_bands(groups, path, name=name, log=log)

    def __str__(self) -> str:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = [names] + [[_cell(row.get(name)) for name in names] for row in rows]
        lines = aligned(table) if rows else ["no training has finished"]
        return "\n".join([*lines, *self._complaints()])

    def _complaints(self) -> Iterator[str]:
        """Errors, and warnings of each kind, of one seed at each point, which stands for the others."""
        told: dict[tuple[str, str], list[Member]] = {}
        for member in self._members.values():
            kinds = member.warnings if member.error is None else ("failed",)
            for kind in kinds:
                told.setdefault((_label(member.point), kind), []).append(member)
        for (label, kind), members in told.items():
            seeds = ", ".join(str(member.seed) for member in members)
            where = ", ".join(filter(None, (label, f"seed{'s' * (len(members) > 1)} {seeds}")))
            yield f"{kind}: {where}: {members[0].error or members[0].warnings[kind]}"

    def __repr__(self) -> str:
        return f"<Study of {len(self)} trainings, {len(self.failed)} failed>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything to a JSON file, whole or not at all; returns its path.

        Parameters that JSON does not know, such as layers, are written as their text.
        """
        members = [
            {
                **vars(member),
                "point": {name: _plain(value) for name, value in member.point.items()},
                "history": None if member.history is None else member.history.as_dict(),
            }
            for member in self._members.values()
        ]
        write_atomic(Path(path), (json.dumps({"members": members}) + "\n").encode())
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """What `save` has written. Raises ValueError for a file that is none of them."""
        try:
            written = json.loads(Path(path).read_bytes())["members"]
            for each in written:
                if each["history"] is not None:
                    each["history"] = History.from_dict(each["history"])
            return cls(Member(**each) for each in written)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{os.fspath(path)} holds no study: {error}") from error


def point_key(point: Point) -> str:
    """What tells a point from others, the same before and after it was saved."""
    return json.dumps({name: _plain(value) for name, value in sorted(point.items())})


def _key(point: Point, seed: int) -> tuple[str, int]:
    """What tells a member from others."""
    return point_key(point), seed


def _label(point: Point) -> str:
    """lr 0.1, hidden 64."""
    return ", ".join(f"{name} {_short(value)}" for name, value in point.items())


def _short(value: Any) -> str:
    """A parameter as people write it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return "-".join(map(_short, value))
    return str(_plain(value))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return getattr(value, "__name__", None) or str(value)


def _names(members: Sequence[Member]) -> list[str]:
    return list(dict.fromkeys(name for member in members for name in member.values))


def _spread(numbers: Iterable[float]) -> Spread:
    values = np.array(list(numbers), np.float64)
    return Spread(
        float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan, len(values)
    )


def _is_spread(value: Any) -> bool:
    return isinstance(value, Spread)


def _named(row: Mapping[str, Any], name: str) -> Spread | None:
    value = row.get(name)
    return value if isinstance(value, Spread) else None


def _cell(value: Any) -> str:
    return "" if value is None else str(value) if _is_spread(value) else _short(value)
