"""threadpoolctl limits the threads of the kernels, whichever of the two is imported first."""

import os

import pytest

from fastnn.kernels import core
from tests.systems import needs_tasks

from .children import run_child


def in_child_limits(before, after):
    exec(before)
    import fastnn as fn

    exec(after)
    import os
    import sys
    from importlib.machinery import SourceFileLoader

    import threadpoolctl
    from threadpoolctl import threadpool_info, threadpool_limits

    fn.set_num_threads(3)
    with threadpool_limits(1):
        assert fn.get_num_threads() == 1
        with threadpool_limits({"fastnn": 5}):
            assert fn.get_num_threads() == 5
        assert fn.get_num_threads() == 1
    assert fn.get_num_threads() == 3
    with threadpool_limits(1, user_api="blas"):
        assert fn.get_num_threads() == 3
    with threadpool_limits({"fastnn": 0}):
        assert fn.get_num_threads() == 3

    (row,) = [row for row in threadpool_info() if row["user_api"] == "fastnn"]
    assert row["num_threads"] == 3
    assert row["version"] == fn.__version__
    # The path of the system: the package may be a link to the sources.
    assert row["filepath"] == os.path.realpath(sys.modules["fastnn.kernels.core"].__file__)
    # Nothing is to be seen of how fastnn learnt of the import.
    assert type(threadpoolctl.__loader__) is type(threadpoolctl.__spec__.loader) is SourceFileLoader


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("import threadpoolctl", ""),
        ("import threadpoolctl; threadpoolctl.threadpool_info()", ""),  # which remembers what it has seen
        ("", "import importlib.util; assert importlib.util.find_spec('threadpoolctl')"),
        ("", "import threadpoolctl, importlib; importlib.reload(threadpoolctl)"),
    ],
    ids=["fastnn first", "threadpoolctl first", "asked first", "looked for first", "reloaded"],
)
def test_limits_bound_the_kernels_and_are_lifted(before, after):
    run_child(in_child_limits, before, after)


def in_child_threads():
    import os

    import numpy as np

    import fastnn as fn
    from fastnn.kernels import load

    def product():
        for _ in range(20):  # the team is not woken for one call alone
            load("aot")["dense_forward"](x, x, None, np.empty_like(x))

    def threads():
        return len(os.listdir("/proc/self/task"))

    from threadpoolctl import threadpool_limits

    x = np.ones((300, 300))
    fn.set_num_threads(3)
    before = threads()
    with threadpool_limits(1):
        product()
    assert threads() == before
    product()
    assert threads() == before + 2


@needs_tasks
def test_limited_kernels_start_no_threads():
    run_child(in_child_threads)


def in_child_others(library):
    import ctypes
    import os

    from threadpoolctl import threadpool_info

    import fastnn as fn

    ctypes.CDLL(library)
    assert [row["filepath"] for row in threadpool_info() if row["user_api"] == "fastnn"] == [
        os.path.realpath(fn.kernels.core.__file__)
    ]


def test_a_library_of_the_same_name_is_left_alone(tmp_path):
    from fastnn.kernels import cpu

    library = tmp_path / os.path.basename(core.__file__)
    with open(cpu.__file__, "rb") as other:
        library.write_bytes(other.read())
    run_child(in_child_others, str(library))


def in_child_missing():
    import sys

    import pytest

    import fastnn as fn

    sys.path[:] = []
    with pytest.raises(ModuleNotFoundError, match="threadpoolctl"):
        import threadpoolctl  # noqa: F401
    assert fn.get_num_threads() >= 1


def test_a_missing_threadpoolctl_is_missing_as_ever():
    run_child(in_child_missing)


def in_child_no_import():
    import os
    import sys

    import numpy as np

    import fastnn as fn

    fn.set_num_threads(2)
    fn.Linear(3, 2).forward(np.ones((4, 3), np.float32))
    assert "threadpoolctl" not in sys.modules
    assert "KMP_DUPLICATE_LIB_OK" not in os.environ  # what importing it sets


def test_fastnn_does_not_import_it(monkeypatch):
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)  # by whatever this process imports
    run_child(in_child_no_import)
