"""Where the runs of a sweep train, apart from the threads of this process: joblib, Dask and Ray."""

from __future__ import annotations

import math
import os
import pickle
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastnn._validation import positive_int, warn
from fastnn.studies.study import Member

if TYPE_CHECKING:
    from fastnn.studies.parcel import Place, Train

Add = Callable[[Member], None]

CONNECT_SECONDS = 5
ASK_SECONDS = 1  # between two questions for the workers of a cluster, while no run ends
ALONE_SECONDS = 15  # a worker that dies may be started again in the meantime
RETRIES = 3  # of runs whose worker died, as many as Dask has
PORTS = {"dask": 8786, "ray": 10001}  # the defaults of the Dask scheduler and of the Ray Client server


def check_workers(jobs: int | str, executor: object) -> None:
    """Raise an error if the executor is unknown or not reachable, or if `jobs` does not suit it.

    ValueError for an unknown executor, or if `jobs` is neither "auto" nor a positive integer; ImportError if
    Dask or Ray is missing; ConnectionError, after at most 5 s, if no scheduler answers.
    """
    kind, address = _parsed(executor)
    if jobs != "auto":
        positive_int(jobs, "jobs")
        if kind in PORTS:
            raise ValueError(f'jobs must be "auto" with {kind}, not {jobs}: its workers take a run per CPU')
    if kind in PORTS:
        _require(kind)
    if address is not None:
        _reach(kind, address, f"{kind}://{address}")
    elif kind == "ray":
        _reach_cluster()


class Workers:
    """Watches whether a cluster has workers, and warns once each time that none is left.

    `count` asks for their number, `cluster` names the cluster, and `start` is the command that starts one.
    """

    def __init__(self, cluster: str, start: str, count: Callable[[], float]) -> None:
        self.advice = f"start one ({start})"
        self._cluster, self._count = cluster, count
        self._asked, self._seen, self._warned = -math.inf, -math.inf, False

    def check(self) -> None:
        """Ask for the workers, at most once a second; warn if there was none at first, or for 15 s.

        A cluster that does not answer has ended or will be back: what waits for its runs notices that.
        """
        if time.monotonic() < self._asked + ASK_SECONDS:
            return
        with suppress(OSError):
            count = self._count()
            self._asked = time.monotonic()
            if count:
                self._seen, self._warned = self._asked, False
            elif not self._warned and self._asked > self._seen + ALONE_SECONDS:
                self._warned = True
                warn(
                    f"{self._cluster} has no worker: the sweep waits for one: {self.advice}, or stop the "
                    "sweep with Ctrl-C"
                )


def run_elsewhere(executor: Any, train: Train, places: Sequence[Place], jobs: int | str, add: Add) -> None:
    """Train by an executor other than "threads". Calls `add` with each run when it ends."""
    kind, address = _parsed(executor)
    if kind == "joblib":
        _by_joblib(train, places, jobs, add)
    elif kind == "ray":
        from fastnn.studies import on_ray

        with on_ray.connected(address):
            on_ray.run(train, places, add)
    else:
        from fastnn.studies import on_dask

        with nullcontext(_client(executor)) if address is None else on_dask.connected(address) as client:
            on_dask.run(client, train, places, add)


def _parsed(executor: Any) -> tuple[str, str | None]:
    """Return the kind of executor, "threads", "joblib", "dask" or "ray", and its "host:port"."""
    if _client(executor) is not None:
        return "dask", None
    name = executor if isinstance(executor, str) else ""
    if name in ("threads", "joblib", "ray"):
        return name, None
    kind, separator, _ = name.partition("://")
    if kind not in PORTS or not separator:
        dask = f" (dask://{name.removeprefix('tcp://')})" if kind == "tcp" else ""  # as Dask writes it
        raise ValueError(
            f"unknown executor {executor!r:.80}: choose one of threads, joblib, dask://host:port{dask}, ray, "
            "ray://host:port, or a distributed.Client"
        )
    try:
        url = urlsplit(executor)
        host, port = url.hostname, PORTS[kind] if url.port is None else url.port
    except ValueError:  # a port that is no number, or above 65535
        host, port = None, 0
    if not host or not port or url.username or url.path.strip("/") or url.query or url.fragment:
        raise ValueError(f"the executor must be like {kind}://127.0.0.1:{PORTS[kind]}, not {executor!r:.80}")
    return kind, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _client(executor: Any) -> Any:
    """Return the Dask client that `executor` is, or that joblib uses, else None. Does not import Dask.

    `joblib.parallel_config("dask")` makes joblib use one. The runs go to its workers without joblib, which
    waits forever for a task that a worker cannot load: in 1.6.0, an error of Dask itself calls no callback.
    """
    if isinstance(executor, str) and executor == "joblib" and "joblib" in sys.modules:
        backend, _ = sys.modules["joblib"].parallel.get_active_backend()
        return backend.client if type(backend).__name__ == "DaskDistributedBackend" else None
    is_client = any(
        base.__name__ == "Client" and base.__module__.startswith("distributed.")
        for base in type(executor).__mro__
    )
    return executor if is_client else None


def _require(kind: str) -> None:
    """Raise ImportError unless Dask or Ray, and cloudpickle, are installed."""
    from importlib.util import find_spec

    package = {"dask": "distributed", "ray": "ray"}[kind]
    if find_spec(package) is None or find_spec("cloudpickle") is None:
        raise ImportError(f"an executor of {kind} needs {package}: pip install 'fastnn-kernels[{kind}]'")


def _reach_cluster() -> None:
    """Raise ConnectionError unless something listens at RAY_ADDRESS; `ray.init` would try for 80 s."""
    import ray

    _, _, address = os.environ.get("RAY_ADDRESS", "").rpartition("://")
    if ":" in address and not ray.is_initialized():  # not "auto" or "local"
        _reach("ray", address, f"{address}, of the environment variable RAY_ADDRESS")


def _reach(kind: str, address: str, shown: str) -> None:
    """Raise ConnectionError unless a scheduler listens at "host:port".

    Both kinds begin to talk when a client connects; a web server, such as Dask's dashboard, does not, and
    `distributed.Client` would wait for it forever.
    """
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS) as connection:
            if not connection.recv(1):
                raise ConnectionError("it closes the connection")
    except (OSError, UnicodeError) as error:  # UnicodeError: of an invalid host name
        start = {"dask": "dask scheduler", "ray": "ray start --head --ray-client-server-port 10001"}[kind]
        raise ConnectionError(
            f"no scheduler answers at {shown} ({error}): check the address, or start one: {start}"
        ) from error


def _by_joblib(train: Train, places: Sequence[Place], jobs: int | str, add: Add) -> None:
    """Train in the workers of joblib. Starts the runs of dead worker processes again, `RETRIES` times."""
    try:
        import joblib
        from joblib.externals.loky.backend.reduction import dumps
    except ImportError as error:
        raise ImportError('executor="joblib" needs joblib: pip install joblib') from error
    from concurrent.futures.process import BrokenProcessPool

    # "auto": as joblib.parallel_config says (None), or else all cores (-1).
    auto = None if joblib.effective_n_jobs() > 1 else -1
    count = auto if isinstance(jobs, str) else jobs
    backend, _ = joblib.parallel.get_active_backend()
    # That of Ray cannot return each result when it is ready.
    at_once = getattr(backend, "supports_return_generator", False)
    parallel = joblib.Parallel(n_jobs=count, return_as="generator_unordered" if at_once else "list")
    left = dict(enumerate(places))
    for attempt in range(RETRIES + 1):
        tasks = [joblib.delayed(_numbered)(index, train, *place) for index, place in left.items()]
        try:
            for index, member in parallel(tasks):
                del left[index]
                add(member)
        except BrokenProcessPool:
            if attempt == RETRIES:
                raise
            warn(f"a worker process died: {len(left)} of {len(places)} runs start again")
        except pickle.PicklingError as error:
            from fastnn.studies.parcel import not_picklable

            raise not_picklable(train, places, dumps, error) from error
        else:
            return


def _numbered(index: int, train: Train, *place: Any) -> tuple[int, Member]:
    return index, train(*place)
