"""The mistakes in the executors of sweeps that `planted_mistakes.py` plants."""

from mistake import Mistake

EXECUTORS = "tests/studies/test_executors.py"
DASK_ALONE = "tests/studies/test_dask_alone.py"

MISTAKES = (
    Mistake(
        "the first thread of a worker that ends restores the number of threads for all",
        "kernels/core.pyx",
        "if (--users == 0) fastnn_threads = before;",
        "--users, fastnn_threads = before;",
        (EXECUTORS,),
    ),
    Mistake(
        "a dead worker process ends the sweep",
        "fastnn/studies/executors.py",
        "if attempt == RETRIES:",
        "if True:",
        (EXECUTORS,),
    ),
    Mistake(
        "a worker with another version of fastnn trains",
        "fastnn/studies/parcel.py",
        "if (found := _versions()) != self._versions:",
        "if (found := _versions()) is None:",
        (EXECUTORS,),
    ),
    Mistake(
        "the loss of all workers is said again and again",
        "fastnn/studies/executors.py",
        "self._warned = True",
        "self._warned = False",
        (EXECUTORS,),
    ),
    Mistake(
        "a worker that is started again is taken for lost",
        "fastnn/studies/executors.py",
        "self._asked > self._seen + ALONE_SECONDS",
        "self._asked > self._seen",
        (EXECUTORS,),
    ),
    Mistake(
        "the loss of all workers of Dask is not noticed",
        "fastnn/studies/on_dask.py",
        "next_of(ended, workers.check)",
        "next_of(ended)",
        (DASK_ALONE,),
    ),
    Mistake(
        "a run whose worker has died with the result is left out",
        "fastnn/studies/on_dask.py",
        "                future.add_done_callback(ended.put)\n",
        "                del futures[future]\n",
        (DASK_ALONE,),
    ),
)
