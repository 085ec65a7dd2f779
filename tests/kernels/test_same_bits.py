"""Results have the same bits for any number of threads, any neighbouring rows and any place in a vector."""

import inspect
import pickle
import subprocess
import sys
from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import FAMILIES, core, load
from tests.systems import needs_tasks

from . import cases, group_norm_cases, loss_cases, norm_cases, pool_cases, table_cases
from .case import Arrays, Case
from .columns import KERNELS, both_types, every_isa, every_kernel, kernels_of
from .comparison import assert_same, check_each, copied
from .loss_cases import MEAN, SUM

# Never on several threads.
SERIAL = {
    *("random_next", "gather_labels", "count_nonfinite", "count_outside", "advance", "adam_corrections"),
    *("count_correct_labels", "count_correct_soft", "count_correct_binary"),
    *("running_moments", "clip_factor"),
}
MOST_THREADS = 7


def kernel_of(name):
    """An aot kernel, or one of the two functions that act_aot has for the tests' sake."""
    if name in KERNELS:
        return load("aot")[name]
    return getattr(sys.modules[load("aot")["relu_forward"].__module__], name)


def bits(array):
    """The bytes of an array, all nans taken for the same one: which it is, IEEE 754 leaves open."""
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.nan, array).astype(array.dtype)
    return array.tobytes()


# --- threads ---

# Work for at least MOST_THREADS; odd sizes, so that no share is like the other.
LARGE = (
    *(
        Case(kernel, getattr(cases, kernel), (*matrices, *((True,) if kernel == "dense_forward" else ())))
        for kernel in ("dense_forward", "dense_dx", "dense_dw")
        for matrices in (
            *(((), 50, 301, 203), ((), 1, 1503, 1001), ((), 1001, 203, 10), ((3,), 33, 151, 71)),
            *(((3,), 33, 301, 71), ((), 20, 256, 400)),  # sums in two halves
            *(((), 133, 601, 65), ((), 601, 65, 133), ((), 65, 133, 601)),  # long sums
            *(((), 777, 601, 203), ((), 601, 777, 203)),  # from packed blocks and copies, in several rounds
        )
    ),
    *(
        Case(kernel, getattr(cases, kernel), (conv, *((True,) if kernel == "conv_forward" else ())))
        for kernel in ("conv_forward", "conv_dx", "conv_dw")
        for conv in (
            cases.Convolution((5, 17, 19, 7), (3, 3, 33), padding=(1, 1)),
            cases.Convolution((1, 29, 28, 3), (5, 4, 65), stride=(1, 2), padding=(2, 0)),
            cases.Convolution((9, 23, 24, 8), (3, 3, 48), stride=(2, 2), padding=(1, 1), groups=4),
        )
    ),
    *(
        Case(kernel, getattr(cases, kernel), (cases.Convolution((15, 17, 19, 9), (3, 3, 1), padding=(1, 1)),))
        for kernel in ("im2col", "col2im")
    ),
    Case("dense_db", cases.dense_db, ((), 1501, 1003)),
    Case("dense_db", cases.dense_db, ((), 300011, 6)),
    Case("dense_db", cases.dense_db, ((3,), 701, 703)),
    *(Case(f"{name}_forward", cases.forward, ((n,),)) for name, n in (("relu", 400003), ("sigmoid", 40003))),
    Case("elementwise_forward", cases.elementwise_forward, ((100003,),)),
    Case("elementwise_dx", cases.elementwise_dx, ((100003,),)),
    Case("tanh_forward", cases.forward, ((40003,),)),
    *(Case(f"{name}_dx", cases.backward, ((400003,),)) for name in ("relu", "sigmoid", "tanh")),
    Case("add", cases.backward, ((400003,),)),
    *(Case("softmax_forward", cases.forward, (shape,)) for shape in ((4001, 10), (41, 1003))),
    *(Case("softmax_dx", cases.backward, (shape,)) for shape in ((40001, 10), (401, 1003))),
    *(
        Case(build.__name__, build, (shape, *options))
        for build in (loss_cases.cross_entropy_labels, loss_cases.cross_entropy_soft)
        for shape in ((2001, 10), (19, 1003))
        for options in ((False, 0.0, MEAN, True), (True, 0.1, SUM, True), (False, 0.0, MEAN, False))
    ),
    Case("weigh_loss", loss_cases.weigh_loss, ((4003, 100), False, MEAN, True)),
    *(case for gradient in (True, False) for case in loss_cases.pointwise((400003,), MEAN, gradient)),
    *(
        Case("hinge_labels", loss_cases.cross_entropy_labels, (shape, True, 1.0, MEAN, True))
        for shape in ((20001, 10), (401, 1003))
    ),
    *(
        Case(name, build, (shape, *options))
        for name, build in (
            ("focal_labels", loss_cases.cross_entropy_labels),
            ("focal_soft", loss_cases.cross_entropy_soft),
        )
        for shape in ((2001, 10), (19, 1003))
        for options in ((False, 2.0, MEAN, True), (True, 0.5, SUM, True), (False, 2.0, MEAN, False))
    ),
    *(
        Case("binary_cross_entropy", loss_cases.binary_cross_entropy, (shape, *options))
        for shape in ((40003,), (2001, 10))
        for options in ((False, 0.0, MEAN, True), (True, 2.0, SUM, True))
    ),
    *(
        Case("weigh_loss", loss_cases.weigh_loss, ((80003, 10), *options))
        for options in ((False, MEAN, True), (True, SUM, True))
    ),
    *(Case("dice", loss_cases.dice, (shape, True, 1.0, MEAN, True)) for shape in ((41, 503, 1), (33, 99, 5))),
    Case("leaky_relu_forward", cases.with_number, ((400003,), 0.1)),
    Case("leaky_relu_dx", cases.gradient_with_number, ((400003,), 0.1)),
    Case("elu_dx", cases.gradient_with_number, ((400003,), 1.0)),
    *(
        Case(f"{name}_forward", cases.with_number, ((40003,), number))
        for name, number in (("elu", 1.0), ("gelu", False), ("gelu", True))
    ),
    *(Case("gelu_dx", cases.gradient_with_number, ((40003,), by_tanh)) for by_tanh in (False, True)),
    Case("silu_forward", cases.forward, ((40003,),)),
    Case("count_correct_binary", loss_cases.count_correct_binary, ((40003,),)),
    Case("silu_dx", cases.backward, ((40003,),)),
    *(Case("sgd", cases.sgd, ((200003,), momentum, 0.1, 1)) for momentum in (0.0, 0.9)),
    Case("adam", cases.adam, ((100003,), 0.1, 3)),
    Case("adam", cases.adam, ((100003,), 0.1, 3, True)),
    Case("rmsprop", cases.rmsprop, ((100003,), 0.1, True, 0.9)),
    Case("sum_squares", cases.sum_squares, ((800003,),)),
    Case("multiply", cases.in_place, ((1600003,), 0.3)),
    Case("clamp", cases.in_place, ((800003,), 0.3)),
    Case("hold", cases.hold, ((800003,), True)),
    Case("ema", cases.ema, ((400003,), 3, 0.9, True)),
    Case("clip_factor", cases.clip_factor, (70, 0.3)),
    Case("random_affine", cases.random_affine, ((28, 28), 6001)),
    Case("displacement", cases.displacement, ((61, 28, 28, 1), 2.0)),
    *(
        Case("warp", cases.warp, ((61, 28, 28, 1), kind, 0.3, True))
        for kind in ("uint8", "float32", "float64")
    ),
    Case("dropout", cases.dropout, ((200003,), 0.3)),
    *(
        Case("gather", cases.gather, ((400, 785, 601), source_type, 0.3))
        for source_type in ("uint8", "float32", "float64")
    ),
    Case("random_next", cases.random_next, (1,)),
    Case("advance", cases.advance, (1,)),
    Case("adam_corrections", cases.adam_corrections, (5,)),
    *(
        Case(build.__name__, build, ((20001, 10),))
        for build in (loss_cases.count_correct_labels, loss_cases.count_correct_soft)
    ),
    Case("gather_labels", cases.gather_labels, (50, 100003)),
    Case("count_nonfinite", cases.count_nonfinite, ((100003,),)),
    Case("count_outside", cases.count_outside, ((100003,), 0.0, 1.0)),
    *pool_cases.large(),
    *norm_cases.large(),
    *group_norm_cases.large(),
    *table_cases.large(),
)


@lru_cache(maxsize=1)  # the instruction sets take turns at the same arguments
def large_cases(kernel, dtype):
    """(case, arguments) of all large cases; not to be written to."""
    return [(case, case.arguments(dtype)) for case in LARGE if case.kernel == kernel]


def test_every_kernel_has_a_large_case():
    assert {case.kernel for case in LARGE} == set(KERNELS)


@every_isa
@both_types
@every_kernel
def test_results_do_not_depend_on_the_number_of_threads(kernel, dtype, isa):
    call = kernels_of(isa)[kernel]

    def run(arguments, threads):
        core.set_num_threads(threads)
        results = copied(arguments)
        call(**results)
        return results

    def check(_, arguments):
        alone = run(arguments, 1)
        for threads in (2, 3, MOST_THREADS):
            assert_same(run(arguments, threads), alone, bitwise=True)

    check_each(large_cases(kernel, dtype), check)


def print_threads_used(threads):
    """Print how many threads a team has after each of the calls pickled in stdin.

    A child process runs the source of this function. Each call has a process of its own: teams only grow.
    """
    import os
    import pickle
    import sys

    import numpy as np

    from fastnn.kernels import core, load

    core.set_num_threads(threads)
    for kernel, arguments in pickle.load(sys.stdin.buffer):
        pid = os.fork()
        if not pid:
            arrays = [np.zeros(*a) if isinstance(a, list) else a for a in arguments]
            before = len(os.listdir("/proc/self/task"))
            load("aot")[kernel](*arrays)
            os._exit(1 + len(os.listdir("/proc/self/task")) - before)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


@needs_tasks
def test_large_cases_use_all_threads():
    """Or the test above would compare one thread with one thread."""
    # To compile a user's function the child loads Numba, which has a thread of its own.
    counted = [case for case in LARGE if case.kernel not in FAMILIES["elementwise"]]
    calls = [
        (
            case.kernel,
            [
                [a.shape, a.dtype] if isinstance(a, np.ndarray) else a
                for a in case.arguments(np.float32).values()
            ],
        )
        for case in counted
    ]
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{inspect.getsource(print_threads_used)}\nprint_threads_used({MOST_THREADS})",
        ],
        input=pickle.dumps(calls),
        capture_output=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr.decode()
    used = list(map(int, child.stdout.split()))
    for case, threads in zip(counted, used, strict=True):
        assert threads == (1 if case.kernel in SERIAL else MOST_THREADS), str(case)


# --- the rows around a row ---

# M, K, N: narrow outputs, one block, several blocks and a tail, a long sum.
MATRICES = (
    (37, 130, 67),
    (50, 33, 1),
    (64, 65, 10),
    (13, 17, 130),
    (200, 100, 40),
    (133, 601, 20),
    (60, 521, 2),  # sums in chunks
    (70, 300, 10),  # the same; groups of rows in the lanes of vectors, and the rest by tiles
    (37, 263, 5),
    (600, 301, 203),
    (250, 5, 3),  # many rows, a small matrix
    (300, 40, 20),
)
# Which rows, of how many.
ROWS = ((0, 1), (-1, None), (3, 5), (1, 8), (5, None))


@every_isa
@both_types
def test_row_of_a_product_does_not_depend_on_other_rows(dtype, isa):
    core.select_isa(isa)
    rng = np.random.default_rng(0)
    forward, gradient = load("aot")["dense_forward"], load("aot")["dense_dx"]
    for M, K, N in MATRICES:
        x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((M, K), (K, N), (N,)))
        y, dx = np.empty((M, N), dtype), np.empty((M, K), dtype)
        core.set_num_threads(3)
        forward(x, w, b, y)
        gradient(y, w, dx)
        core.set_num_threads(1)
        for rows in (slice(*ends) for ends in ROWS):
            some_y, some_dx = np.empty_like(y[rows]), np.empty_like(dx[rows])
            forward(x[rows], w, b, some_y)
            gradient(y[rows], w, some_dx)
            assert some_y.tobytes() == y[rows].tobytes(), (M, K, N, rows)
            assert some_dx.tobytes() == dx[rows].tobytes(), (M, K, N, rows)


@every_isa
@both_types
def test_matrix_does_not_depend_on_other_matrices(dtype, isa):
    core.select_isa(isa)
    core.set_num_threads(3)
    for kernel in FAMILIES["dense"]:
        sizes = {"dense_forward": (33, 71, 53, True), "dense_db": (33, 53)}.get(kernel, (33, 71, 53))
        whole = Case(kernel, getattr(cases, kernel), ((3,), *sizes)).arguments(dtype)
        alone = copied(whole)
        load("aot")[kernel](**whole)
        for matrix in range(3):
            one = {name: array[matrix].copy() for name, array in alone.items()}
            load("aot")[kernel](**one)
            for name, array in one.items():
                assert array.tobytes() == whole[name][matrix].tobytes(), (kernel, name, matrix)


# A kernel, its builder and options behind the shape, and the arguments that have a row for each row.
BY_ROWS = (
    ("softmax_forward", cases.forward, (), {"x", "y"}),
    ("softmax_dx", cases.backward, (), {"y", "dy", "dx"}),
    *(
        (build.__name__, build, (weighted, smoothing, SUM, True), {"z", "label", "target", "losses", "dz"})
        for build in (loss_cases.cross_entropy_labels, loss_cases.cross_entropy_soft)
        for weighted, smoothing in ((False, 0.0), (True, 0.1))
    ),
    ("hinge_labels", loss_cases.cross_entropy_labels, (True, 1.0, SUM, True), {"z", "label", "losses", "dz"}),
    ("batch_norm_forward", norm_cases.batch_norm_forward, (True,), {"x", "y"}),
    ("batch_norm_dx", norm_cases.batch_norm_dx, (True, True), {"x", "dy", "dx"}),
    ("layer_norm_forward", norm_cases.layer_norm_forward, (True,), {"x", "y", "moments"}),
    ("layer_norm_dx", norm_cases.layer_norm_dx, (True,), {"x", "dy", "moments", "dx"}),
)


@every_isa
@both_types
@pytest.mark.parametrize(
    ("kernel", "build", "options", "by_rows"), BY_ROWS, ids=[f"{row[0]}{row[2]}" for row in BY_ROWS]
)
def test_row_does_not_depend_on_other_rows(kernel, build, options, by_rows, dtype, isa):
    core.select_isa(isa)
    for shape in ((300, 10), (37, 67), (9, 1), (5, 16)):
        before = Case(kernel, build, (shape, *options)).arguments(dtype)
        whole = copied(before)
        core.set_num_threads(3)
        load("aot")[kernel](**whole)
        core.set_num_threads(1)
        for rows in (slice(*ends) for ends in ROWS):
            some = {name: a[rows].copy() if name in by_rows else a for name, a in before.items()}
            load("aot")[kernel](**some)
            for name in by_rows & set(some):
                assert bits(some[name]) == bits(whole[name][rows]), (shape, rows, name)


# --- the place in a vector ---

ELEMENTWISE = {
    **{f"{name}_forward": (cases.forward, ()) for name in ("relu", "sigmoid", "tanh")},
    **{f"{name}_dx": (cases.backward, ()) for name in ("relu", "sigmoid", "tanh")},
    "add": (cases.backward, ()),
    "_exp": (cases.forward, ()),
    "_log": (cases.forward, ()),
    **{name: (build, (*parameters, SUM, True)) for name, (build, parameters) in loss_cases.POINTWISE.items()},
    "sgd": (cases.sgd, (0.9, 0.1, 1)),
    "adam": (cases.adam, (0.1, 3)),
    "rmsprop": (cases.rmsprop, (0.1, True, 0.9)),
    "multiply": (cases.in_place, (0.3,)),
    "clamp": (cases.in_place, (0.3,)),
    "hold": (cases.hold, (True,)),
    "ema": (cases.ema, (3, 0.9, True)),
    # Not dropout: there an element's place decides whether it is kept.
}


@every_isa
@both_types
@pytest.mark.parametrize("kernel", ELEMENTWISE)
def test_element_does_not_depend_on_its_place(kernel, dtype, isa):
    core.select_isa(isa)
    build, options = ELEMENTWISE[kernel]
    size = 101  # several vectors of 16, and a tail of each length as the slices begin later
    inputs = build(Arrays(dtype, whole=False), (size,), *options)
    limits = np.finfo(dtype)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, limits.tiny / 3, -limits.smallest_subnormal, limits.max]
    for which, array in enumerate(inputs):
        if isinstance(array, np.ndarray) and array.shape == (size,):
            array[3 + 2 * which :: 11] = np.resize(special, len(array[3 + 2 * which :: 11]))

    def run(elements):
        """The arrays of `elements` after a call with nothing but them."""
        some = [
            (a[elements] if a.shape == (size,) else a).copy() if isinstance(a, np.ndarray) else a
            for a in inputs
        ]
        kernel_of(kernel)(*some)
        return [
            a for a, b in zip(some, inputs, strict=True) if isinstance(b, np.ndarray) and b.shape == (size,)
        ]

    whole = run(slice(None))
    for begin in range(0, 18):
        for end in (*range(begin + 1, begin + 18), size):
            for a, b in zip(run(slice(begin, end)), whole, strict=True):
                assert bits(a) == bits(b[begin:end]), (begin, end)
