"""Train the runs of a sweep on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from fastnn._validation import warn
from fastnn.studies.executors import CONNECT_SECONDS
from fastnn.studies.parcel import (
    DISTRIBUTION,
    Parcel,
    Place,
    Train,
    check_versions,
    lost_member,
    run_member,
)
from fastnn.studies.study import Member


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler at "host:port". Raises ConnectionError if none answers."""
    from distributed import Client

    try:
        client = Client(f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False)
    except OSError as error:  # also of a server that is no scheduler
        raise ConnectionError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield client


def run(client: Any, train: Train, places: Sequence[Place], add: Callable[[Member], None]) -> None:
    """Train all places on the workers of `client`. Calls `add` with each run when it ends.

    The scheduler starts the runs of a dead worker again on another one. A run that has lost more workers than
    Dask's setting `distributed.scheduler.allowed-failures` (3) counts as failed.
    """
    import dask
    from distributed import KilledWorker, as_completed

    _check(client)
    parcel = Parcel(train, places)
    # A task that returns the parcel, rather than `scatter`: the scheduler can give it to a worker that starts
    # later, and again if all workers that had it die. Its size is no mistake, which Dask would warn of.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": 2**60}):
        shared = client.submit(_same, parcel, pure=False)
    futures = {client.submit(run_member, shared, index, pure=False): index for index in range(len(places))}
    try:
        for future in as_completed(list(futures), loop=client.loop):
            index = futures.pop(future)
            if future.status == "finished":
                add(future.result())
            elif future.status == "error" and isinstance(error := future.exception(), KilledWorker):
                add(lost_member(places[index], error))
            elif future.status == "error":
                future.result()  # raises
            else:
                where = client.scheduler.address
                raise ConnectionError(
                    f"the Dask scheduler at {where} is gone, or a client cancelled the runs"
                )
    finally:
        client.cancel(list(futures))


def _same(parcel: Parcel) -> Parcel:
    return parcel


def _check(client: Any) -> None:
    """Raise an error unless the client is usable and its cluster has this version of fastnn."""
    if client.status != "running" or client.asynchronous:
        raise ValueError(f"the client must be connected and not asynchronous, not {client!r}")
    found: dict[str, object] = client.run(metadata.version, DISTRIBUTION, on_error="return")
    if not found:
        warn(f"the Dask cluster {client.scheduler.address} has no worker yet: the sweep waits for one")
    try:
        found["scheduler"] = client.run_on_scheduler(metadata.version, DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        found["scheduler"] = error
    check_versions(found)
