"""Send a training function and its points to the workers of a cluster, once per worker.

A `Parcel` has the function, with everything it refers to, and all points; a task names a run by its index.
The arrays stay outside the pickled bytes (pickle protocol 5, PEP 574), so that Dask sends them without a copy
and the workers of Ray read them from the shared memory of their machine.
"""

from __future__ import annotations

import inspect
import pickle
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from fastnn._validation import Array
from fastnn.studies.study import Member, Point

Place = tuple[Point, int]
Dumps = Callable[[Any], Any]

DISTRIBUTION = "fastnn-kernels"


class Train(Protocol):
    """Train `build` at a point with a seed, in any process."""

    @property
    def build(self) -> Callable[..., Any]: ...

    def __call__(self, point: Point, seed: int) -> Member: ...


class Parcel:
    """A training function and the (point, seed) of all runs, pickled by cloudpickle.

    Raises TypeError, naming the function and its variables, if they cannot be pickled.
    """

    def __init__(self, train: Train, places: Sequence[Place]) -> None:
        import cloudpickle

        buffers: list[pickle.PickleBuffer] = []
        try:
            self._pickled = cloudpickle.dumps((train, places), protocol=5, buffer_callback=buffers.append)
        except Exception as error:  # any class may raise its own
            raise not_picklable(train, places, cloudpickle.dumps, error) from error
        self._arrays: list[Array] = [np.asarray(buffer.raw()) for buffer in buffers]
        self._versions = _versions()
        self._opened: tuple[Train, Sequence[Place]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def run(self, index: int) -> Member:
        """Train run number `index`. Raises ImportError if this worker cannot load the function."""
        if self._opened is None:  # by the first task of this worker
            self._opened = self._open()
        train, places = self._opened
        return train(*places[index])

    def _open(self) -> tuple[Train, Sequence[Place]]:
        if (found := _versions()) != self._versions:
            raise ImportError(_other_version(f"worker {platform.node()}", str(found), str(self._versions)))
        try:
            opened: tuple[Train, Sequence[Place]] = pickle.loads(self._pickled, buffers=self._arrays)
        except Exception as error:
            raise ImportError(
                f"worker {platform.node()} cannot load the function build: {type(error).__name__}: {error}: "
                "install or copy the modules it uses on all workers, or define it in the main script"
            ) from error
        return opened


def run_member(parcel: Parcel, index: int) -> Member:
    """Train run number `index` of a parcel: the task that a worker gets."""
    return parcel.run(index)


def lost_member(place: Place, reason: object) -> Member:
    """The failed member of a run whose workers died, again and again."""
    message = f"WorkerDied: {reason}"
    return Member(*place, error=message, details=message)


def check_versions(found: Mapping[str, object]) -> None:
    """Raise ImportError, naming the workers, unless all have the fastnn version of this process.

    `found` has the version of each worker by its name, or the error with which it looked for fastnn.
    """
    own = metadata.version(DISTRIBUTION)
    others = {
        name: "no fastnn" if isinstance(version, Exception) else f"fastnn {version}"
        for name, version in found.items()
        if version != own
    }
    if others:
        names = ", ".join(f"{name} ({version})" for name, version in others.items())
        raise ImportError(_other_version("the cluster", names, f"fastnn {own}"))


def _other_version(who: str, found: str, own: str) -> str:
    return f"{who} has {found}, but this process has {own}: install the same version everywhere"


def _versions() -> str:
    """The versions that must be equal: of fastnn, and of Python, whose bytecode cloudpickle sends."""
    return f"fastnn {metadata.version(DISTRIBUTION)} with Python {sys.version_info[0]}.{sys.version_info[1]}"


def not_picklable(train: Train, places: Sequence[Place], dumps: Dumps, error: Exception) -> TypeError:
    """The error for a function or points that cannot be sent, with the names of the culprits."""
    parameters = {name for point, _ in places for name in _failing(point, dumps)}
    if parameters:
        return TypeError(
            f"the values of {', '.join(sorted(parameters))} in the grid cannot be sent to other processes: "
            f"{error}: use names or numbers that build maps to objects"
        )
    name = getattr(train.build, "__qualname__", None) or repr(train.build)
    variables = ", ".join(_failing(_variables(train.build), dumps))
    because = f", because of its variable {variables}" if variables else ""
    return TypeError(
        f"the function {name} cannot be sent to other processes{because}: {error}: make such objects inside "
        'the function, or train in threads, executor="threads"'
    )


def _failing(values: Mapping[str, Any], dumps: Dumps) -> Iterator[str]:
    """Yield the names of the values that cannot be pickled."""
    for name, value in values.items():
        try:
            dumps(value)
        except Exception:
            yield name


def _variables(function: Any) -> dict[str, Any]:
    """The variables outside a function that it uses, or the attributes of a callable object."""
    if isinstance(function, partial):
        return {**_variables(function.func), **function.keywords}
    if not inspect.isfunction(function):
        return dict(getattr(function, "__dict__", {}))
    used = inspect.getclosurevars(function)
    return {**used.globals, **used.nonlocals}
