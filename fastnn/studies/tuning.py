"""The result of a hyper-parameter search: the best point, a table of all trials, a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from fastnn.studies.study import Point, short
from fastnn.tables import aligned, html_table, html_text

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Args:
        point: The parameters, by name.
        state: "complete"; "pruned", stopped because others were better after as many epochs; "diverged", with
            a result that is not finite; "failed", with an error; "running", in another process or in one that
            was killed.
        value: The value of the monitored curve at the end, also of a pruned trial; NaN if there is none.
        curve: The monitored values after each epoch.
        seconds: Duration.
        error: Type and message of the error.
    """

    point: Point
    state: str
    value: float = math.nan
    curve: list[float] = field(default_factory=list)
    seconds: float = math.nan
    error: str | None = None


class Tuning:
    """The trials of `fn.tune`, in their order; `print` shows a table of them.

    `study` is the study of Optuna, for its own pictures and statistics.
    """

    trials: list[Trial]
    monitor: str
    mode: str
    study: optuna.Study

    def __init__(self, trials: Sequence[Trial], monitor: str, mode: str, study: Any) -> None:
        self.trials = list(trials)
        self.monitor, self.mode, self.study = monitor, mode, study

    @property
    def best_trial(self) -> Trial:
        """The complete trial with the best value, the first of several. ValueError if none is."""
        sign = 1.0 if self.mode == "max" else -1.0
        complete = [trial for trial in self.trials if trial.state == "complete"]
        if not complete:
            raise ValueError(f"no trial is complete:\n{self}")
        return max(complete, key=lambda trial: sign * trial.value)

    @property
    def best(self) -> Point:
        """The best point: the parameters of `best_trial`, ready for `build(**tuning.best)`."""
        return self.best_trial.point

    @property
    def best_value(self) -> float:
        """The value of `best_trial`."""
        return self.best_trial.value

    def rows(self) -> list[dict[str, Any]]:
        """One dict per trial, for a data frame: its parameters, value, state, epochs and seconds.

        A result with the name of a parameter, such as "epochs", is listed as "epochs (result)".
        """
        parameters = {name for trial in self.trials for name in trial.point}
        return [
            {
                **trial.point,
                **{
                    f"{name} (result)" if name in parameters else name: value
                    for name, value in (
                        (self.monitor, trial.value),
                        ("state", trial.state),
                        ("epochs", len(trial.curve)),
                        ("seconds", trial.seconds),
                    )
                },
            }
            for trial in self.trials
        ]

    def _table(self) -> list[list[str]]:
        rows = self.rows()
        names = list(dict.fromkeys(name for row in rows for name in row))
        return [["trial", *names]] + [
            [str(number), *(short(row.get(name, "")) for name in names)] for number, row in enumerate(rows, 1)
        ]

    def _errors(self) -> list[str]:
        return [
            f"trial {i} {each.state}: {each.error}" for i, each in enumerate(self.trials, 1) if each.error
        ]

    def __str__(self) -> str:
        return "\n".join([*aligned(self._table()), *self._errors()])

    def _repr_html_(self) -> str:
        errors = "\n".join(self._errors())
        return html_table(self._table()) + (html_text(errors) if errors else "")

    def __repr__(self) -> str:
        return f"<Tuning of {len(self.trials)} trials>"

    @overload
    def plot(self, path: None = None, *, log: bool = ...) -> Figure: ...

    @overload
    def plot(self, path: str | os.PathLike[str], *, log: bool = ...) -> Path: ...

    def plot(self, path: str | os.PathLike[str] | None = None, *, log: bool = False) -> Path | Figure:
        """Draw the value of each trial, and the best one so far.

        Writes the image file `path` and returns its path. Without a path, returns the matplotlib figure,
        which a notebook shows. `log` draws the values on a logarithmic scale.
        """
        from fastnn.viz._drawing import finish
        from fastnn.viz.trials import draw_trials

        values = [(trial.state, trial.value) for trial in self.trials]
        return finish(draw_trials(values, name=self.monitor, mode=self.mode, log=log), path)
