"""Train the runs of a sweep on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib import metadata
from queue import Queue
from typing import Any

from fastnn._waiting import next_of
from fastnn.studies.executors import CONNECT_SECONDS, Workers
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

RESULT_SECONDS = 10  # to fetch the result of a run that has ended


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
    Dask's setting `distributed.scheduler.allowed-failures` (3) counts as failed. Raises ConnectionError if
    the scheduler is gone, or if there was no worker for as long as `no-workers-timeout` says.
    """
    import dask
    from distributed import KilledWorker
    from distributed.scheduler import NoWorkerError

    _check(client)
    where = client.scheduler.address
    workers = Workers(f"the Dask cluster {where}", f"dask worker {where}", lambda: len(client.nthreads()))
    workers.check()
    parcel = Parcel(train, places)
    # A task that returns the parcel, rather than `scatter`: the scheduler can give it to a worker that starts
    # later, and again if all workers that had it die. Its size is no mistake, which Dask would warn of.
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": 2**60}):
        shared = client.submit(_same, parcel, pure=False)
    futures = {client.submit(run_member, shared, index, pure=False): index for index in range(len(places))}
    ended = Queue[Any]()
    for future in futures:
        future.add_done_callback(ended.put)
    try:
        while futures:
            future = next_of(ended, workers.check)
            try:
                member = future.result(RESULT_SECONDS)
            except KilledWorker as error:
                member = lost_member(places[futures[future]], error)
            except NoWorkerError as error:
                raise ConnectionError(
                    f"the Dask cluster {where} had no worker for {error.timeout:g} s, as long as its setting "
                    f"distributed.scheduler.no-workers-timeout allows: {workers.advice} and sweep again"
                ) from error
            except CancelledError as error:
                raise ConnectionError(
                    f"the Dask scheduler at {where} is gone, or a client cancelled the runs"
                ) from error
            except TimeoutError:  # the worker that has the result has died: the run starts again
                future.add_done_callback(ended.put)
                workers.check()
                continue
            del futures[future]
            add(member)
    finally:
        client.cancel(list(futures))


def _same(parcel: Parcel) -> Parcel:
    return parcel


def _check(client: Any) -> None:
    """Raise an error unless the client is usable and its cluster has this version of fastnn."""
    if client.status != "running" or client.asynchronous:
        raise ValueError(f"the client must be connected and not asynchronous, not {client!r}")
    found: dict[str, object] = client.run(metadata.version, DISTRIBUTION, on_error="return")
    try:
        found["scheduler"] = client.run_on_scheduler(metadata.version, DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        found["scheduler"] = error
    check_versions(found)
