"""The thread team with fork, Python threads, signals and interpreter exit."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastnn.kernels import core, cpu, load
from tests.systems import needs_fork

from .children import run_child

# --- fork ---


def in_child_fork():
    import os

    import numpy as np

    from fastnn.kernels import core, load

    x, w = np.random.default_rng(0).standard_normal((2, 200, 200))

    def product():
        y = np.empty_like(x)
        load("aot")["dense_forward"](x, w, None, y)
        return y.tobytes()

    core.set_num_threads(1)
    expected = product()
    core.set_num_threads(4)

    def check_generations(left):
        """Compute, let a child do the same and check on it, compute again."""
        assert product() == expected
        if left:
            pid = os.fork()
            if not pid:
                status = 1
                try:
                    check_generations(left - 1)
                    status = 0
                finally:
                    os._exit(status)
            assert product() == expected  # while the child is at it
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert product() == expected

    for _ in range(5):
        check_generations(3)


def in_child_fork_among_threads():
    import os
    import threading
    import warnings

    import numpy as np

    from fastnn.kernels import core, load

    x, w = np.random.default_rng(0).standard_normal((2, 200, 200))
    done, wrong = threading.Event(), []

    def product():
        y = np.empty_like(x)
        load("aot")["dense_forward"](x, w, None, y)
        return y.tobytes()

    def work():
        while not done.is_set():
            if product() != expected:
                wrong.append(True)

    core.set_num_threads(3)
    expected = product()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of exactly this
    for _ in range(30):
        pid = os.fork()
        if not pid:
            os._exit(not all(product() == expected for _ in range(3)))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_fork
@pytest.mark.parametrize("function", [in_child_fork, in_child_fork_among_threads])
def test_team_survives_fork(function):
    run_child(function)


def in_child_multiprocessing():
    import multiprocessing

    import numpy as np

    from fastnn.kernels import core, load

    x = np.ones((300, 300))

    def product(_=None):
        y = np.empty_like(x)
        load("aot")["dense_forward"](x, x, None, y)
        return y[0, 0]

    core.set_num_threads(3)
    globals()["product"] = product  # where the pool's processes look for it
    product.__qualname__ = "product"
    assert product() == 300
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(product, range(20)) == [300] * 20


@needs_fork
def test_team_survives_a_pool_of_processes():
    run_child(in_child_multiprocessing)


# --- Python threads ---


def call(kernel, *inputs, like):
    """A function that calls a kernel with fresh outputs and returns their bytes."""

    def run():
        outputs = [np.full_like(array, np.nan) for array in like]
        load("aot")[kernel](*inputs, *outputs)
        return tuple(output.tobytes() for output in outputs)

    return run


def calls():
    """Calls of all sizes: too small for threads, worth two or three of them, and worth more."""
    rng = np.random.default_rng(0)
    for size in (3, 37, 80, 201):
        x, w = rng.standard_normal((2, size, size)).astype(np.float32)
        label = rng.integers(0, size, size)
        yield call("dense_forward", x, w, None, like=[x])
        yield call("dense_dx", x, w, like=[x])
        yield call("dense_dw", x, w, like=[x])
        yield call("tanh_forward", x, like=[x])
        yield call("softmax_forward", x, like=[x])
        yield call("cross_entropy_labels", x, label, None, 0.0, 2, like=[x[0], np.empty(1), x])


def results(functions):
    return [function() for function in functions]


def test_python_threads_get_the_serial_results():
    functions = list(calls())
    core.set_num_threads(1)
    expected = results(functions)
    core.set_num_threads(3)
    meet = threading.Barrier(8, timeout=60)

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(functions)).tolist()
        meet.wait()
        return all(functions[n]() == expected[n] for _ in range(15) for n in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_number_of_threads_may_change_while_others_compute():
    functions = list(calls())
    core.set_num_threads(1)
    expected = results(functions)
    done = threading.Event()

    def work(_):
        rounds = 0
        while not done.is_set() or rounds == 0:
            assert results(functions) == expected
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, number) for number in range(4)]
        try:
            for number in range(200):
                core.set_num_threads(1 + number * 5 % 7)
                time.sleep(0.002)
        finally:
            done.set()
        assert all(worker.result(timeout=60) for worker in workers)


def test_instruction_set_may_change_while_others_compute():
    """Each call runs on one instruction set from its beginning to its end."""
    functions = list(calls())
    core.set_num_threads(1)
    allowed = [set() for _ in functions]
    for isa in cpu.supported():
        core.select_isa(isa)
        for results_of_call, result in zip(allowed, results(functions), strict=True):
            results_of_call.add(result)
    core.set_num_threads(3)
    done = threading.Event()

    def work(_):
        rounds = 0
        while not done.is_set() or rounds == 0:
            assert all(map(set.__contains__, allowed, results(functions)))
            rounds += 1
        return rounds

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work, number) for number in range(2)]
        try:
            for number in range(200):
                core.select_isa(cpu.supported()[number % len(cpu.supported())])
                time.sleep(0.001)
        finally:
            done.set()
        assert all(worker.result(timeout=60) for worker in workers)


# --- exit and signals ---


def in_child_exit(how):
    import os
    import sys
    import threading
    import time

    import numpy as np

    from fastnn.kernels import core, load

    x = np.ones((300, 300))
    y = np.empty_like(x)

    def product():
        load("aot")["dense_forward"](x, x, None, y)

    def forever():
        y = np.empty_like(x)
        while True:
            load("aot")["dense_forward"](x, x, None, y)

    core.set_num_threads(3)
    product()
    if how == "asleep":
        time.sleep(0.1)
    elif how == "busy":
        for _ in range(2):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1)
    elif how == "in a fork":
        pid = os.fork()
        if pid:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        product()
    elif how == "from a thread":
        thread = threading.Thread(target=product)
        thread.start()
        thread.join()
    if how != "in a fork" or pid:
        print(time.time())
    sys.exit(0)


@pytest.mark.parametrize(
    "how", ["at once", "asleep", "busy", "from a thread", pytest.param("in a fork", marks=needs_fork)]
)
def test_interpreter_exits_at_once(how):
    asked = float(run_child(in_child_exit, how))
    assert time.time() - asked < 10


def in_child_interrupt():
    import os
    import signal
    import threading
    import time

    import numpy as np

    from fastnn.kernels import core, load

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    core.set_num_threads(3)
    x = np.ones((200, 200))
    y = np.empty_like(x)
    for _ in range(3):
        deadline = time.monotonic() + 20
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
            while time.monotonic() < deadline:
                load("aot")["dense_forward"](x, x, None, y)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("Ctrl-C did nothing")
        load("aot")["dense_forward"](x, x, None, y)
        assert (y == 200).all()


@needs_fork
def test_ctrl_c_ends_a_loop_of_calls():
    run_child(in_child_interrupt)


def in_child_idle():
    import time

    import numpy as np

    from fastnn.kernels import core, load

    core.set_num_threads(4)
    x = np.ones((300, 300))
    load("aot")["dense_forward"](x, x, None, np.empty_like(x))
    time.sleep(0.1)
    before = time.process_time()  # of all threads
    time.sleep(0.5)
    assert time.process_time() - before < 0.05


def test_idle_team_sleeps():
    run_child(in_child_idle)
