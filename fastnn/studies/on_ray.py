"""Train the runs of a sweep on the workers of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from fastnn.studies.executors import ASK_SECONDS, RETRIES, Workers
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
def connected(address: str | None) -> Iterator[None]:
    """Connect to the Ray server at "host:port"; for None as `ray.init` does, or use the present connection.

    Disconnects at the end, unless the program was connected before. Raises ConnectionError if none answers.
    """
    import ray

    if ray.is_initialized():
        if address is not None:
            raise ValueError('this program is connected to Ray already: use executor="ray"')
        yield
        return
    try:
        ray.init(address and f"ray://{address}", log_to_driver=False)
    except (ConnectionError, TimeoutError) as error:
        raise ConnectionError(f"no Ray server answers at {address or 'RAY_ADDRESS'}: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def run(train: Train, places: Sequence[Place], add: Callable[[Member], None]) -> None:
    """Train all places on the workers of Ray. Calls `add` with each run when it ends.

    A run whose worker dies starts again on another one, `RETRIES` times; then it counts as failed.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    _check(ray)
    address = ray.get_runtime_context().gcs_address
    workers = Workers(
        f"the Ray cluster {address}",
        f"ray start --address {address}",
        lambda: ray.cluster_resources().get("CPU", 0.0),
    )
    shared = ray.put(Parcel(train, places))
    task = ray.remote(run_member).options(max_retries=RETRIES)
    results = {task.remote(shared, index): index for index in range(len(places))}
    try:
        while results:
            workers.check()
            for result in ray.wait(list(results), timeout=ASK_SECONDS)[0]:
                index = results.pop(result)
                try:
                    member = ray.get(result)
                except RayTaskError:  # not of the training, whose errors the member has
                    raise
                except RayError as error:
                    member = lost_member(places[index], error)
                add(member)
    finally:  # after Ctrl-C, the runs in progress stop after their current update
        for result in results:
            ray.cancel(result)


def _check(ray: Any) -> None:
    """Raise ImportError unless all machines of the cluster have this version of fastnn."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    version = ray.remote(metadata.version)
    found: dict[str, object] = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = version.options(num_cpus=0, scheduling_strategy=there).remote(DISTRIBUTION)
            try:
                found[node["NodeName"]] = ray.get(asked)
            except ray.exceptions.RayError as error:
                found[node["NodeName"]] = error
    check_versions(found)
