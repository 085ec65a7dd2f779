"""Every edge of every block, exactly, and no byte beyond: sizes, offsets, and arrays that end at a wall.

A wall is a protected page directly before or behind an array. Whoever reads or writes one byte too many
dies there; so that this is a failed test and not the end of pytest, it happens in a child process.
"""

import inspect
import pickle
import signal
import subprocess
import sys
from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from fastnn.kernels import core, load
from tests.systems import needs_linux

from . import cases, group_norm_cases, loss_cases, norm_cases, pool_cases, table_cases
from .case import Case
from .children import TESTS_ON_PATH
from .columns import KERNELS, LEVELS, both_types, every_isa

# --- sizes around every block ---

# Lanes are 2, 4, 8 or 16, tiles 6, 8 or 12 rows and up to 64 columns, groups of dense_dx 48 rows.
BLOCKS = (2, 4, 6, 8, 12, 16, 32, 48, 64)
EDGES = sorted({0, 1, *(size for B in BLOCKS for size in (B - 1, B, B + 1, 2 * B + 1))})
# How many products an element adds up: a few are enough beside all pairs of the other two dimensions. The
# long ones are work for several threads.
TERMS = (1, 7, 65, 0, 2, 129, 16)
# Pairs of the other two beside all EDGES of the terms.
PAIRS = ((1, 1), (5, 17), (13, 33), (49, 65), (2, 129), (16, 3), (33, 8))
# Sums so long that packed blocks cut them, by powers of 2, beside outputs of one tile and of many.
DEEP = (127, 128, 255, 256, 257, 511, 512, 513, 1025)
DEEP_PAIRS = ((1, 3), (5, 17), (67, 9), (133, 65))
# Sums that are just too short or long enough to be made in two halves.
HALVED = (255, 256, 257)
# Rows, columns and terms from which on the left-hand matrix is copied, in one group of rows and in two.
COPIED = ((239, 193, 299), (240, 193, 300), (769, 200, 513), (240, 61, 99), (245, 61, 100), (512, 65, 17))
# Rows from which on a small matrix is multiplied by strips of them, in groups of 48; and sums over many rows,
# in chunks.
MANY = (95, 96, 97, 107, 145)
CHUNKED = (
    *((5, 3, 127), (17, 15, 128), (18, 33, 129), (3, 17, 255), (9, 16, 257), (33, 7, 511), (5, 17, 513)),
    *((5, 3, 2047), (5, 3, 2048), (17, 33, 2051), (3, 18, 2049)),
)
# Gradients of weights in several rounds of rows, with rows of x in several blocks.
ROUNDS = ((300, 10, 390), (263, 7, 241), (170, 3, 2100))
# Few outputs and sums in chunks, with groups of rows in the lanes of vectors and without.
FEW_OUTPUTS = (2, 3, 5, 6, 9, 10, 12, 13, 16)
BATCHES = ((), (), (2,), (), (1,), (3,), (0,))


def sides():
    """(batch, rows, columns, terms): all pairs of edges of rows and columns, then all edges of the terms."""
    for (i, rows), (j, columns) in product(enumerate(EDGES), enumerate(EDGES)):
        yield BATCHES[(i + 3 * j) % len(BATCHES)], rows, columns, TERMS[(i + j) % len(TERMS)]
    for (i, (rows, columns)), (j, terms) in product(enumerate(PAIRS), enumerate(EDGES)):
        yield BATCHES[(i + j) % len(BATCHES)], rows, columns, terms
    for (rows, columns), terms in product(DEEP_PAIRS, DEEP):
        yield (), rows, columns, terms
    for (rows, columns), terms in product(((5, 17), (13, 133), (247, 33)), HALVED):
        yield (3,), rows, columns, terms
        yield (), rows, columns, terms
    for sizes in (*COPIED, *CHUNKED, *ROUNDS):
        yield (), *sizes
    for rows, columns, terms in product((16, 17, 49), FEW_OUTPUTS, (256, 263, 300)):
        yield (), rows, columns, terms
    for rows, columns, terms in product(MANY, (1, 3, 8, 9, 33), (1, 7, 17)):
        yield (), rows, columns, terms


# Per kernel: its parameters from the sides; the inputs whose products it sums, each with the axis of the sum.
DENSE = {
    "dense_forward": (lambda M, N, K: (M, K, N, (M + N) % 2 == 0), {"x": -1, "w": -2}),
    "dense_dx": (lambda M, K, N: (M, K, N), {"dy": -1, "w": -1}),
    "dense_dw": (lambda K, N, M: (M, K, N), {"x": -2, "dy": -2}),
    "dense_db": (lambda M, N, _: (M, N), {"dy": -2}),
}


def dense_cases(kernel):
    parameters, _ = DENSE[kernel]
    for batch, *rows_columns_terms in sides():
        yield Case(kernel, getattr(cases, kernel), (batch, *parameters(*rows_columns_terms)), whole=True)


class Place:
    """Memory in which an array is put at any distance from a cache line, surrounded by nan."""

    MARGIN = 64

    def __init__(self, size):
        memory = np.empty(size + 4 * self.MARGIN, np.uint8)
        self.memory = memory[-memory.ctypes.data % 64 :]
        self.begin = self.end = 0

    def put(self, array, offset):
        """A copy of `array`, `offset` bytes behind a cache line; a float read beside it is nan."""
        self.begin = self.MARGIN + offset
        self.end = self.begin + array.nbytes
        self.memory[: self.end + self.MARGIN] = 0xFF
        copy = self.memory[self.begin : self.end].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return copy

    def is_intact(self):
        """Whether nothing was written beside the array."""
        margins = self.memory[: self.begin], self.memory[self.end : self.end + self.MARGIN]
        return all((margin == 0xFF).all() for margin in margins)


@lru_cache(maxsize=1)  # the instruction sets take turns at the same arguments
def arguments_and_results(kernel, dtype):
    """(case, arguments, the same after the specification's call) of all cases; not to be written to."""
    found = []
    for case in dense_cases(kernel):
        arguments = case.arguments(dtype)
        for name, axis in DENSE[kernel][1].items():  # the first and the last product of a sum are never 0
            terms = np.moveaxis(arguments[name], axis, 0)
            for end, filling in ((terms[:1], 3), (terms[-1:], -7)):
                end[end == 0] = filling
        results = {name: array if array is None else array.copy() for name, array in arguments.items()}
        load("ref")[kernel](**results)
        found.append((case, arguments, results))
    return found


@every_isa
@both_types
@pytest.mark.parametrize("kernel", DENSE)
def test_dense_is_exact_around_every_block(kernel, dtype, isa):
    core.select_isa(isa)
    core.set_num_threads(3)
    call = load("aot")[kernel]
    itemsize = np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    places = [Place(769 * 513 * itemsize) for _ in range(4)]
    for case, arguments, results in arguments_and_results(kernel, dtype):
        offsets = rng.integers(64 // itemsize, size=4) * itemsize
        placed = {
            name: array if array is None else place.put(array, offset)
            for place, offset, (name, array) in zip(places, offsets, arguments.items(), strict=False)
        }
        call(**placed)
        for place, (name, wanted) in zip(places, results.items(), strict=False):
            if wanted is not None:
                assert np.array_equal(placed[name], wanted), f"{case}: {name}"
                assert place.is_intact(), f"{case}: written beside {name}"


def test_every_edge_occurs_with_nonempty_sides():
    """With rows, columns and terms of which none is 0, as a matrix and in a batch, two or more times each."""
    for dimension in range(3):
        for edge in EDGES[1:]:
            found = [batch for batch, *shape in sides() if shape[dimension] == edge and all(shape)]
            assert found.count(()) > 1, (dimension, edge)
            assert sum(batch not in ((), (0,)) for batch in found) > 1, (dimension, edge)


@pytest.mark.parametrize("kernel", DENSE)
def test_sums_are_exact_in_float32(kernel):
    """The sums of absolute values stay below 2^24, so that no order of the terms rounds."""
    for case in dense_cases(kernel):
        arguments = {
            name: None if array is None else np.abs(array)
            for name, array in case.arguments(np.float64).items()
        }
        load("ref")[kernel](**arguments)
        # Less what the filled ends can add: two products of up to 7 * 1000.
        assert all(a is None or a.max(initial=0) < 2**24 - 14000 for a in arguments.values()), str(case)


# --- walls ---

# Around vectors of 2, 4, 8 and 16, and the 64 columns of a block.
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 63, 65)
MEAN, SUM = 2, 1


def walled_cases():
    for M, K, N in sorted(
        {t for n in SIZES for a, b in product((1, 5, 17), repeat=2) for t in rotations(n, a, b)}
    ):
        for batch in ((), (2,)) if max(M, K, N) < 10 else ((),):
            yield Case("dense_forward", cases.dense_forward, (batch, M, K, N, True))
            yield Case("dense_forward", cases.dense_forward, (batch, M, K, N, False))
            yield Case("dense_dx", cases.dense_dx, (batch, M, K, N))
            yield Case("dense_dw", cases.dense_dw, (batch, M, K, N))
            yield Case("dense_db", cases.dense_db, (batch, M, N))
    for columns in (1, 6, 7):  # short rows side by side
        yield Case("dense_db", cases.dense_db, ((), 1003, columns))
    for kernel in ("dense_forward", "dense_dx", "dense_dw"):  # on several threads, and long sums
        bias = (True,) if kernel == "dense_forward" else ()
        several = ((63, 99, 71), (67, 257, 9), (9, 67, 257), (257, 9, 67), (1, 513, 3))
        for shape in (*several, (245, 5, 3), (250, 17, 7), (2049, 3, 18)):
            yield Case(kernel, getattr(cases, kernel), ((), *shape, *bias))
    for conv in (*cases.CONVOLUTIONS, cases.Convolution((5, 17, 19, 7), (3, 3, 33), padding=(1, 1))):
        yield Case("conv_forward", cases.conv_forward, (conv, True))
        for kernel in ("conv_dx", "conv_dw", "im2col", "col2im"):
            yield Case(kernel, getattr(cases, kernel), (conv,))
    for n in (*SIZES, 40003):  # the last one on several threads, as is the last shape below
        for name in ("relu", "sigmoid", "tanh"):
            yield Case(f"{name}_forward", cases.forward, ((n,),))
            yield Case(f"{name}_dx", cases.backward, ((n,),))
        for name, number in (("leaky_relu", 0.1), ("elu", 1.0), ("gelu", False), ("gelu", True)):
            yield Case(f"{name}_forward", cases.with_number, ((n,), number))
            yield Case(f"{name}_dx", cases.gradient_with_number, ((n,), number))
        yield Case("silu_forward", cases.forward, ((n,),))
        yield Case("silu_dx", cases.backward, ((n,),))
        yield Case("count_correct_binary", loss_cases.count_correct_binary, ((n,),))
        for weighted, gamma, gradient in ((False, 0.0, True), (True, 2.0, True), (False, 2.0, False)):
            options = (weighted, gamma, MEAN, gradient)
            yield Case("binary_cross_entropy", loss_cases.binary_cross_entropy, ((n,), *options))
            yield Case("binary_cross_entropy", loss_cases.binary_cross_entropy, ((3, n), *options))
        for shape in ((3, n, 1), (3, 2, n)) if n < 1000 else ((20, 2003, 1), (20, 301, 5)):
            yield Case("dice", loss_cases.dice, (shape, True, 1.0, MEAN, True))
        yield Case("add", cases.backward, ((n,),))
        yield Case("elementwise_forward", cases.elementwise_forward, ((n,),))
        yield Case("elementwise_dx", cases.elementwise_dx, ((n,),))
        for reduction, gradient in ((MEAN, True), (SUM, False)):
            yield from loss_cases.pointwise((n,), reduction, gradient)
        for momentum in (0.0, 0.9):
            yield Case("sgd", cases.sgd, ((n,), momentum, 0.1, 0))
        yield Case("adam", cases.adam, ((n,), 0.1, 3))
        yield Case("rmsprop", cases.rmsprop, ((n,), 0.1, True, 0.9))
        yield Case("sum_squares", cases.sum_squares, ((n,),))
        yield Case("multiply", cases.in_place, ((n,), 0.3))
        yield Case("clamp", cases.in_place, ((n,), 0.3))
        yield Case("hold", cases.hold, ((n,), True))
        yield Case("ema", cases.ema, ((n,), 3, 0.9, True))
        yield Case("clip_factor", cases.clip_factor, (n, 0.3))
        yield Case("dropout", cases.dropout, ((n,), 0.5))
        yield Case("count_nonfinite", cases.count_nonfinite, ((n,),))
        yield Case("count_outside", cases.count_outside, ((n,), 0.0, 1.0))
    for shape in (*product((1, 3), SIZES), (1009, 13)):
        yield Case("softmax_forward", cases.forward, (shape,))
        yield Case("softmax_dx", cases.backward, (shape,))
        for options in ((False, 2.0, MEAN, True), (True, 0.5, MEAN, True), (False, 2.0, SUM, False)):
            yield Case("focal_labels", loss_cases.cross_entropy_labels, (shape, *options))
            yield Case("hinge_labels", loss_cases.cross_entropy_labels, (shape, *options))
            yield Case("focal_soft", loss_cases.cross_entropy_soft, (shape, *options))
        for build in (loss_cases.cross_entropy_labels, loss_cases.cross_entropy_soft):
            for options in ((False, 0.0, MEAN, True), (True, 0.1, MEAN, True), (False, 0.0, SUM, False)):
                yield Case(build.__name__, build, (shape, *options))
        for labelled in (False, True):
            yield Case("weigh_loss", loss_cases.weigh_loss, (shape, labelled, MEAN, True))
        for source_type, scale in (("uint8", 1 / 255), ("float32", 1.0), ("float64", 1.0), ("float64", 0.3)):
            yield Case("gather", cases.gather, ((5, shape[1], shape[0]), source_type, scale))
    for n in SIZES:
        yield Case("gather_labels", cases.gather_labels, (n, n))
    for shape in product((1, 3), SIZES):
        yield Case("count_correct_labels", loss_cases.count_correct_labels, (shape,))
        yield Case("count_correct_soft", loss_cases.count_correct_soft, (shape,))
    yield Case("random_next", cases.random_next, (1,))
    yield Case("random_affine", cases.random_affine, ((5, 6), 7))
    for n in range(35):
        for channels, source_type in product((1, 3), ("uint8", "float32", "float64")):
            yield Case("warp", cases.warp, ((2, 3, n, channels), source_type, 0.3, True))
        yield Case("displacement", cases.displacement, ((2, 3, n, 1), 1.5))
    yield Case("advance", cases.advance, (1,))
    yield Case("adam_corrections", cases.adam_corrections, (1,))
    yield from pool_cases.at_walls(SIZES)
    yield from norm_cases.at_walls(SIZES)
    yield from group_norm_cases.at_walls(SIZES)
    yield from table_cases.at_walls(SIZES)


def rotations(*sizes):
    return (sizes[i:] + sizes[:i] for i in range(len(sizes)))


def run_at_walls(isa):
    """Make the calls pickled in stdin with each array at a wall, telling on stdout which one is next.

    A child process runs the source of this function.
    """
    import ctypes
    import mmap
    import os
    import pickle
    import resource
    import sys

    import numpy as np

    from fastnn.kernels import core, load

    PAGE, ROOM, NO_ACCESS = mmap.PAGESIZE, 1 << 21, 0

    def walled_memory():
        """ROOM bytes between two pages that nobody may touch."""
        memory = mmap.mmap(-1, ROOM + 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        for wall in (start, start + PAGE + ROOM):
            if protect(wall, PAGE, NO_ACCESS):
                raise OSError(ctypes.get_errno(), "mprotect")
        return memory

    def at_wall(memory, array, at_end):
        if not isinstance(array, np.ndarray):
            return array
        offset = PAGE + (ROOM - array.nbytes if at_end else 0)
        copy = np.ndarray(array.shape, array.dtype, buffer=memory, offset=offset)
        copy[...] = array
        return copy

    calls = {
        **load("aot"),
        "read before": lambda x: ctypes.string_at(x.ctypes.data - 1, 1),
        "read behind": lambda x: ctypes.string_at(x.ctypes.data + x.nbytes, 1),
    }
    memories = [walled_memory() for _ in range(9)]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    core.select_isa(isa)
    core.set_num_threads(3)
    for label, kernel, arguments in pickle.load(sys.stdin.buffer):
        expected = {name: a.copy() if isinstance(a, np.ndarray) else a for name, a in arguments.items()}
        calls[kernel](**expected)
        for at_end in (False, True):
            os.write(1, f"{label}, arrays at the {'end' if at_end else 'beginning'}\n".encode())
            walled = {
                name: at_wall(memory, array, at_end)
                for memory, (name, array) in zip(memories, arguments.items(), strict=False)
            }
            calls[kernel](**walled)
            for name, array in expected.items():
                if isinstance(array, np.ndarray) and walled[name].tobytes() != array.tobytes():
                    sys.exit(f"{name} differs from that of a call elsewhere")


@lru_cache(maxsize=1)  # the instruction sets take turns at the same arguments
def walled_calls(dtype):
    """All cases as `run_at_walls` reads them."""
    return pickle.dumps([(str(case), case.kernel, case.arguments(dtype)) for case in walled_cases()])


def assert_survives(isa, calls):
    """Make the calls of `walled_calls` at walls in a child process; fail with its last words."""
    code = f"{TESTS_ON_PATH}\n{inspect.getsource(run_at_walls)}\nrun_at_walls({isa!r})"
    child = subprocess.run([sys.executable, "-c", code], input=calls, capture_output=True, timeout=120)
    if child.returncode:
        case = (child.stdout.decode().splitlines() or ["no case"])[-1]
        reason = signal.Signals(-child.returncode).name if child.returncode < 0 else child.stderr.decode()
        pytest.fail(f"{isa}, {case}: {reason}")


@needs_linux
@every_isa
@both_types
def test_nothing_is_touched_beyond_the_arrays(dtype, isa):
    assert_survives(isa, walled_calls(dtype))


@needs_linux
def test_every_kernel_is_tried_at_walls():
    assert {case.kernel for case in walled_cases()} == set(KERNELS)


@needs_linux
@pytest.mark.parametrize(("kernel", "where"), [("read before", "beginning"), ("read behind", "end")])
def test_walls_are_walls(kernel, where):
    calls = [("first", "gather_labels", dict.fromkeys(("source", "index", "out"), np.zeros(5, np.int64)))]
    calls.append(("second", kernel, {"x": np.zeros(3)}))
    message = f"{LEVELS[-1]}, second, arrays at the {where}: SIG(SEGV|BUS)"
    with pytest.raises(pytest.fail.Exception, match=message):
        assert_survives(LEVELS[-1], pickle.dumps(calls))


@every_isa
@both_types
@pytest.mark.parametrize(
    ("kernel", "sizes"), [("dense_forward", (1000, 1100, 17, True)), ("dense_dw", (1100, 1000, 17))]
)
def test_sums_in_several_packed_rounds_are_exact(kernel, sizes, dtype, isa):
    """Tall enough that B is packed, deep enough that it is packed in several rounds."""
    core.select_isa(isa)
    core.set_num_threads(2)
    case = Case(kernel, getattr(cases, kernel), ((), *sizes), whole=True)
    expected, actual = case.arguments(dtype), case.arguments(dtype)
    load("ref")[kernel](**expected)
    load("aot")[kernel](**actual)
    for name, wanted in expected.items():
        np.testing.assert_array_equal(actual[name], wanted, name)
