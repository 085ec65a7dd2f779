"""The results of many training runs: a table of means over seeds, curves with bands, a JSON file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, overload

import numpy as np

from fastnn._schema import anything, check_fields, count, each, number, optional, text
from fastnn.files import user_path, write_atomic
from fastnn.history import History, better
from fastnn.tables import aligned, html_table, html_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = Mapping[str, Any]


class Spread(NamedTuple):
    """Mean and standard deviation of a result over several seeds."""

    mean: float
    std: float
    """Standard deviation of the sample (divided by runs - 1); NaN for a single run."""
    runs: int

    def __str__(self) -> str:
        if self.runs < 2:
            return f"{self.mean:.4g}"
        if self.std >= 1e9:  # of diverged runs, perhaps inf
            return f"{self.mean:.4g} ± {self.std:.2g}"
        # Two significant digits of the standard deviation, and the mean to the same place.
        digits = 4 if not self.std > 0 else min(max(1 - math.floor(math.log10(self.std)), 0), 6)
        return f"{self.mean:.{digits}f} ± {self.std:.{digits}f}"


@dataclass(frozen=True)
class Member:
    """One training run of a study.

    Args:
        point: Point of the grid: the parameters of the run, by name.
        seed: Seed of the run.
        values: Results by name: the last value of each curve of the history, or the values that `build`
            returned.
        history: Learning curves, if the run has them.
        seconds: Duration of the run.
        warnings: Warnings of `fn.GradientWatch`, by kind.
        error: Type and message of the error, if the run failed.
        details: Traceback of the error.
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
    """The training runs of a sweep, in the order of the grid and the seeds; `str(study)` is a table.

    A sweep adds each run when it ends. After Ctrl-C the study has the finished runs, and
    `fn.sweep(..., study=study)` continues with the missing ones.
    """

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._members = {_key(member.point, member.seed): member for member in members}

    @property
    def members(self) -> list[Member]:
        """All runs that have ended, including the failed ones."""
        return list(self._members.values())

    @property
    def failed(self) -> list[Member]:
        """The runs that raised an error."""
        return [member for member in self._members.values() if member.error is not None]

    def __len__(self) -> int:
        return len(self._members)

    def has(self, point: Point, seed: int) -> bool:
        """Whether the study has a run with this point and seed that did not fail."""
        member = self._members.get(_key(point, seed))
        return member is not None and member.error is None

    def add(self, member: Member) -> None:
        """Add a run; it replaces an earlier run with the same point and seed."""
        self._members[_key(member.point, member.seed)] = member

    def sort(self, order: Sequence[tuple[Point, int]]) -> None:
        """Sort the runs into this order of (point, seed); all others come last."""
        rank = {_key(*member): place for place, member in enumerate(order)}
        keys = sorted(self._members, key=lambda key: rank.get(key, len(rank)))
        self._members = {key: self._members[key] for key in keys}

    def points(self) -> list[tuple[Point, list[Member]]]:
        """Group the successful runs by their point; a point without successful runs is left out."""
        groups: dict[str, tuple[Point, list[Member]]] = {}
        for member in self._members.values():
            if member.error is None:
                groups.setdefault(point_key(member.point), (member.point, []))[1].append(member)
        return list(groups.values())

    def rows(self) -> list[dict[str, Any]]:
        """One dict per point: its parameters, and the `Spread` of each result over the seeds.

        A result with the name of a parameter, such as "lr", is listed as "lr (result)".
        """
        points = self.points()
        parameters = {name for point, _ in points for name in point}
        return [
            {
                **point,
                **{
                    f"{name} (result)" if name in parameters else name: spread
                    for name, spread in _results(members).items()
                },
            }
            for point, members in points
        ]

    def best(self, name: str = "val_accuracy", *, mode: str = "auto") -> Point:
        """Return the point with the best mean of the result `name`, the first one if several are equal.

        `mode` is "max", "min" or "auto", which decides by the name, as in `fn.EarlyStopping`. Raises
        ValueError if no run has the result.
        """
        sign = 1.0 if better(mode, name) == "max" else -1.0
        results = [(point, _results(members)) for point, members in self.points()]
        spreads = [
            (point, found[name])
            for point, found in results
            if name in found and not math.isnan(found[name].mean)
        ]
        if not spreads:
            names = sorted({key for _, found in results for key in found})
            raise ValueError(f"no run has a result {name!r}: the results are {', '.join(names) or 'none'}")
        point, _ = max(spreads, key=lambda pair: sign * pair[1].mean)  # the first maximum
        return point

    @overload
    def plot(self, path: None = None, *, name: str = ..., log: bool = ...) -> Figure: ...

    @overload
    def plot(self, path: str | os.PathLike[str], *, name: str = ..., log: bool = ...) -> Path: ...

    def plot(
        self, path: str | os.PathLike[str] | None = None, *, name: str = "val_accuracy", log: bool = False
    ) -> Path | Figure:
        """Draw the curve `name` of each point, mean and standard deviation over the seeds.

        Writes the image file `path` and returns its path. Without a path, returns the matplotlib figure,
        which a notebook shows. `name`, `log` and the errors are as in `fn.viz.save_bands`.
        """
        from fastnn.viz._drawing import finish
        from fastnn.viz.curves import draw_bands

        groups = {
            label_of(point) or "all": [member.history for member in members if member.history is not None]
            for point, members in self.points()
        }
        return finish(draw_bands(groups, name=name, log=log), path)

    def __str__(self) -> str:
        table = self._table()
        lines = aligned(table) if len(table) > 1 else ["no run has finished"]
        return "\n".join([*lines, *self._problems()])

    def _repr_html_(self) -> str:
        """The table for notebooks, and the problems below it."""
        table = self._table()
        problems = "\n".join(self._problems())
        shown = html_table(table) if len(table) > 1 else "no run has finished"
        return shown + (html_text(problems) if problems else "")

    def _table(self) -> list[list[str]]:
        """The header, and a row of cells per point."""
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        return [names] + [[_cell(row.get(name)) for name in names] for row in rows]

    def _problems(self) -> Iterator[str]:
        """Yield a line per point and kind of warning or error: the affected seeds and the first message."""
        problems: dict[tuple[str, str], list[Member]] = {}
        for member in self._members.values():
            kinds = member.warnings if member.error is None else ("failed",)
            for kind in kinds:
                problems.setdefault((label_of(member.point), kind), []).append(member)
        for (label, kind), members in problems.items():
            seeds = ", ".join(str(member.seed) for member in members)
            where = ", ".join(filter(None, (label, f"seed{'s' * (len(members) > 1)} {seeds}")))
            first = members[0]
            yield f"{kind}: {where}: {first.warnings[kind] if first.error is None else first.error}"

    def __repr__(self) -> str:
        return f"<Study of {len(self)} runs, {len(self.failed)} failed>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the study to a JSON file atomically and return its path.

        Parameters that JSON cannot represent, such as layers, are written as their name or their text.
        """
        members = [
            {
                **vars(member),
                "point": {name: plain(value) for name, value in member.point.items()},
                "history": None if member.history is None else member.history.as_dict(),
            }
            for member in self._members.values()
        ]
        write_atomic(path, (json.dumps({"members": members}) + "\n").encode())
        return user_path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a study that `save` wrote. Raises ValueError if the file is not a study."""
        try:
            content = json.loads(user_path(path).read_bytes())
            check_fields(content, {"members": _list_of_members})
            return cls(_member(written) for written in content["members"])
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{os.fspath(path)} is not a study: {error}") from error


MEMBER = {
    "point": each(anything),
    "seed": count,
    "values": each(number),
    "history": anything,  # checked by `History.from_dict`
    "seconds": number,
    "warnings": each(text),
    "error": optional(text),
    "details": optional(text),
}


def _list_of_members(value: Any, field: str) -> None:
    if not isinstance(value, list):
        raise ValueError(f"{field} must be a list")
    for index, member in enumerate(value):
        check_fields(member, MEMBER, f"{field}[{index}]")


def _member(written: dict[str, Any]) -> Member:
    """The member that `Study.save` wrote."""
    history = None if written["history"] is None else History.from_dict(written["history"])
    return Member(**{name: written[name] for name in MEMBER} | {"history": history})


def point_key(point: Point) -> str:
    """Identify a point by a text, which is the same before and after the point was saved."""
    return json.dumps({name: plain(value) for name, value in sorted(point.items())})


def _key(point: Point, seed: int) -> tuple[str, int]:
    """Identify a run."""
    return point_key(point), seed


def label_of(point: Point) -> str:
    """Describe a point, such as "lr 0.1, hidden 64"."""
    return ", ".join(f"{name} {short(value)}" for name, value in point.items())


def short(value: Any) -> str:
    """Format a parameter briefly: 0.1, adam, 784-128-10."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return "-".join(map(short, value))
    return str(plain(value))


def plain(value: Any) -> Any:
    """Convert a parameter to a value that JSON can represent."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    return getattr(value, "__name__", None) or str(value)


def _results(members: Sequence[Member]) -> dict[str, Spread]:
    """The results of the runs of one point, by name, over the seeds."""
    names = dict.fromkeys(name for member in members for name in member.values)
    return {name: _spread(m.values[name] for m in members if name in m.values) for name in names} | {
        "seconds": _spread(m.seconds for m in members)
    }


def _spread(numbers: Iterable[float]) -> Spread:
    values = np.array(list(numbers), np.float64)
    with np.errstate(all="ignore"):  # the loss of a diverged run is inf
        std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
        return Spread(float(values.mean()), std, len(values))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, Spread) else short(value)
