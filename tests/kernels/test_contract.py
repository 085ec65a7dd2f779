"""What kernels/README.md promises beyond values: signatures, NaN, rejected arguments, independent rows."""

import importlib
import inspect
from functools import lru_cache

import numpy as np
import pytest

from fastnn.kernels import BACKENDS, FAMILIES, load

from .cases import CASES
from .columns import KERNELS, both_types, every_kernel
from .comparison import arrays, cases_of, check_each, copied
from .loss_cases import POINTWISE

every_backend = pytest.mark.parametrize("name", BACKENDS)
every_compiled_backend = pytest.mark.parametrize("name", [name for name in BACKENDS if name != "ref"])

nan, inf = np.nan, np.inf


def parameters(name, kernel):
    return list(inspect.signature(load(name)[kernel]).parameters)


@every_compiled_backend
@pytest.mark.parametrize("kernel", KERNELS)
def test_signature_is_that_of_the_specification(name, kernel):
    assert parameters(name, kernel) == parameters("ref", kernel)


@every_backend
@pytest.mark.parametrize("family", FAMILIES)
def test_family_holds_the_kernels_of_the_table(name, family):
    module = importlib.import_module(f"fastnn.kernels.{family}_{name}")
    public = {
        key
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and value.__module__ == module.__name__
    }
    assert public == set(FAMILIES[family])


def test_every_kernel_has_cases():
    assert {case.kernel for case in CASES} == set(KERNELS)


# --- nan and infinity ---

# Kernel, inputs, expected outputs. Lists become arrays of the type under test.
SPECIAL = [
    ("relu_forward", ([nan, inf, -inf, 2],), ([nan, inf, 0, 2],)),
    ("relu_dx", ([nan, inf, 0, 0], [1, -inf, nan, inf]), ([1, -inf, 0, 0],)),
    ("sigmoid_forward", ([nan, inf, -inf, 0],), ([nan, 1, 0, 0.5],)),
    ("sigmoid_dx", ([nan, 1, 0, 0.5], [1, inf, nan, 2]), ([nan, nan, nan, 0.5],)),
    ("tanh_forward", ([nan, inf, -inf, 0],), ([nan, 1, -1, 0],)),
    ("tanh_dx", ([nan, 1, 0, 0.5], [1, inf, nan, 4]), ([nan, nan, nan, 3],)),
    ("add", ([nan, inf, inf, 1], [1, -inf, inf, 2]), ([nan, nan, inf, 3],)),
    ("softmax_forward", ([[nan, 0], [0, nan], [inf, 0]],), ([[nan, nan], [nan, nan], [nan, nan]],)),
    ("softmax_forward", ([[-inf, 0], [-inf, -inf], [7, 7]],), ([[0, 1], [nan, nan], [0.5, 0.5]],)),
    ("softmax_dx", ([[0.5, 0.5], [0.5, 0.5]], [[nan, 0], [4, 0]]), ([[nan, nan], [1, -1]],)),
    ("softmax_dx", ([[0, 1], [nan, 1]], [[inf, 1], [1, 1]]), ([[nan, nan], [nan, nan]],)),
    (
        "cross_entropy_labels",
        ([[nan, 0], [inf, 0], [5, 5]], np.array([1, 0, 1]), None, 0.0, 1),
        ([nan, nan, np.log(2)], np.array([nan]), [[nan, nan], [nan, nan], [0.5, -0.5]]),
    ),
    (
        "cross_entropy_labels",
        ([[0, -inf], [0, -inf]], np.array([0, 1]), None, 0.0, 1),
        ([0, inf], np.array([inf]), [[0, 0], [1, -1]]),
    ),
    (
        "cross_entropy_soft",
        ([[nan, 0], [5, 5], [5, 5]], [[1, 0], [1, 0], [nan, 1]], None, 0.0, 1),
        ([nan, np.log(2), nan], np.array([nan]), [[nan, nan], [-0.5, 0.5], [nan, nan]]),
    ),
    ("squared_error", ([nan, inf, 3], [0, inf, 1], 1), ([nan, nan, 2], np.array([nan]), [nan, nan, 2])),
    ("leaky_relu_forward", ([nan, inf, -inf, 0, -2], 0.5), ([nan, inf, -inf, 0, -1],)),
    ("leaky_relu_dx", ([nan, 2, 0, -1], [1, 2, 3, 4], 0.5), ([0.5, 2, 1.5, 2],)),
    ("elu_forward", ([nan, inf, -inf, 0], 2.0), ([nan, inf, -2, 0],)),
    ("elu_dx", ([nan, 2, 0, -2], [1, 2, 3, 4], 2.0), ([nan, 2, 6, 0],)),
    ("gelu_forward", ([nan, inf, -inf, 0, -1e4, 1e4], False), ([nan, inf, nan, 0, 0, 1e4],)),
    ("gelu_dx", ([nan, 0, -1e4, 1e4], [1, 2, 3, 4], False), ([nan, 1, 0, 4],)),
    ("gelu_dx", ([nan, 0, -1e30, 1e30], [1, 2, 3, 4], True), ([nan, 1, 0, 4],)),
    ("silu_forward", ([nan, inf, -inf, 0, -1e4, 1e4],), ([nan, inf, nan, 0, 0, 1e4],)),
    ("silu_dx", ([nan, 0, -1e4, 1e4], [1, 2, 3, 4]), ([nan, 1, 0, 4],)),
    (
        "binary_cross_entropy",
        ([nan, 1e4, -1e4, 1e4, 0], [1, 1, 0, 0, nan], None, 0.0, 1),
        ([nan, 0, 0, 1e4, nan], np.array([nan]), [nan, 0, 0, 1, nan]),
    ),
    (
        "binary_cross_entropy",
        ([nan, 1e4, -1e4, 1e4, -1e4], [1, 1, 0, 0, 1], None, 0.5, 1),
        ([nan, 0, 0, 1e4, 1e4], np.array([nan]), [nan, 0, 0, 1, -1]),
    ),
    ("binary_cross_entropy", ([[], []], [[], []], None, 0.0, 2), ([[], []], np.array([nan]), [[], []])),
    (
        "focal_labels",
        ([[nan, 0], [inf, 0], [1e4, 0], [0, -inf]], np.array([1, 0, 0, 0]), None, 0.5, 1),
        ([nan, nan, 0, 0], np.array([nan]), [[nan, nan], [nan, nan], [0, 0], [0, 0]]),
    ),
    (
        "focal_labels",
        ([[1e4, 0], [0, -inf]], np.array([1, 1]), None, 2.0, 1),
        ([1e4, inf], np.array([inf]), [[1, -1], [1, -1]]),
    ),
    (
        "focal_soft",
        ([[nan, 0], [0, -inf], [5, 5]], [[1, 0], [1, 0], [nan, 1]], None, 2.0, 1),
        ([nan, 0, nan], np.array([nan]), [[nan, nan], [0, 0], [nan, nan]]),
    ),
    (
        "dice",
        (
            [[[-1e4], [-1e4]], [[1e4], [1e4]], [[nan], [0]]],
            [[[0], [0]], [[1], [1]], [[1], [1]]],
            None,
            0.0,
            1,
        ),
        ([[0], [0], [nan]], np.array([nan]), [[[0], [0]], [[0], [0]], [[nan], [nan]]]),
    ),
    ("count_correct_binary", ([nan, 1, -1, 0, 2], [0, 1, 0, 0, 0]), (np.array([13]),)),
    # The mean of nothing is nan, the sum 0; without any weight there is nothing to average either.
    ("squared_error", ([[], []], [[], []], 2), ([[], []], np.array([nan]), [[], []])),
    ("squared_error", ([[], []], [[], []], 1), ([[], []], np.array([0.0]), [[], []])),
    (
        "cross_entropy_labels",
        ([[5, 5]], np.array([0]), [0, 1], 0.0, 2),
        ([0], np.array([nan]), [[nan, nan]]),
    ),
    ("gather", ([[1, 2], [nan, -inf]], np.array([1, 0]), 0.5), ([[nan, -inf], [0.5, 1]],)),
    ("gather", ([[inf]], np.array([0]), 0.0), ([[nan]],)),
    ("count_nonfinite", ([nan, inf, -inf, 0, 1],), (np.array([3]),)),
    ("dropout", ([nan, inf, 2], np.array([5], np.uint64), 0.0), ([nan, inf, 2],)),
    ("dropout", ([nan, inf, 2], np.array([5], np.uint64), 1.0), ([nan, nan, 0],)),
    ("sum_squares", ([1, nan, 2],), (np.array([nan]),)),
    ("sum_squares", ([1, -inf, 2],), (np.array([inf]),)),
    ("clip_factor", (np.array([9.0, 7.0]), np.array([2.0])), (np.array([4.0]), np.array([2 / 4.000001]))),
    ("clip_factor", (np.array([nan]), np.array([2.0])), (np.array([nan]), np.array([nan]))),
    ("clip_factor", (np.array([inf]), np.array([2.0])), (np.array([inf]), np.array([0.0]))),
]


@every_backend
@both_types
@pytest.mark.parametrize(("kernel", "inputs", "expected"), SPECIAL, ids=[row[0] for row in SPECIAL])
def test_nan_and_infinity(name, dtype, kernel, inputs, expected):
    inputs, expected = (
        [np.array(value, dtype) if isinstance(value, list) else value for value in values]
        for values in (inputs, expected)
    )
    outputs = [np.full_like(value, 9) for value in expected]
    with np.errstate(all="ignore"):
        load(name)[kernel](*inputs, *outputs)
    for output, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, value, rtol=1e-6)


@every_backend
@both_types
@pytest.mark.parametrize("value", [nan, inf])
@pytest.mark.parametrize("spot", [(0, 0), (5, 6)], ids=["in a block", "in the tail"])
def test_zero_times_nan_in_products(name, dtype, value, spot):
    """x (5, 6) is 0 but w (6, 7) is not finite at (k, n): so is column n of y, and column k of dx."""
    k, n = spot
    w, y, dw = np.zeros((6, 7), dtype), np.zeros((5, 7), dtype), np.zeros((6, 7), dtype)
    x, dx, db = np.zeros((5, 6), dtype), np.zeros((5, 6), dtype), np.zeros(7, dtype)
    w[k, n] = value
    kernel = load(name)
    with np.errstate(all="ignore"):
        kernel["dense_forward"](x, w, None, y)
        kernel["dense_dx"](np.zeros_like(y), w, dx)
        kernel["dense_dw"](x, y, dw)
        kernel["dense_db"](y, db)
    for array, column in ((y, n), (dx, k), (dw, n), (db, n)):
        assert np.isnan(array[..., column]).all()
        assert (np.delete(array, column, axis=-1) == 0).all()


@every_backend
@both_types
def test_nan_and_infinity_reach_the_weights(name, dtype):
    kernel = load(name)
    g = np.array([nan, inf, 1], dtype)
    for v in (None, np.zeros(3, dtype)):
        p = np.ones(3, dtype)
        kernel["sgd"](g, np.array([0.5, 0.9 * (v is not None), 0, 0]), v, p)
        np.testing.assert_array_equal(p, [nan, -inf, 0.5])
    np.testing.assert_array_equal(v, [nan, inf, 1])
    m, v, p = np.zeros(3, dtype), np.zeros(3, dtype), np.ones(3, dtype)
    with np.errstate(all="ignore"):
        kernel["adam"](g, np.array([0.5, 0.5, 0.5, 0, 0, 0.5, 0.5, 0]), m, v, p)
    np.testing.assert_allclose(p, [nan, nan, 0.5], rtol=1e-6)  # inf / inf is nan
    np.testing.assert_array_equal(m, [nan, inf, 0.5])
    np.testing.assert_array_equal(v, [nan, inf, 0.5])


@every_backend
@both_types
def test_nan_and_infinity_stay_or_are_clamped(name, dtype):
    kernel, x = load(name), np.array([nan, inf, -inf, 0.5, -3], dtype)
    with np.errstate(all="ignore"):
        kernel["clamp"](np.array([2.0]), x)
        np.testing.assert_array_equal(x, [nan, 2, -2, 0.5, -2])
        kernel["multiply"](np.array([0.5]), x)
        np.testing.assert_array_equal(x, [nan, 1, -1, 0.25, -1])
        kernel["ema"](np.array([nan, inf, 1, 1, 1], dtype), np.array([3]), 0.5, False, x)
    np.testing.assert_array_equal(x, [nan, inf, 0, 0.625, 0])


# --- rejected arguments ---


@lru_cache
def sample_case(kernel):
    """A case with no array left out, each of more than one row and column if it has any."""

    def rank(case):
        values = arrays(case.arguments(np.float64)).values()
        full = all(min(value.shape) > 1 for value in values if value.ndim > 1)
        size = sum(value.size for value in values)
        return len(values), full, size if size < 2000 else 0

    return max(cases_of(kernel), key=rank)


def sample(kernel):
    """Fresh arguments of that case."""
    return sample_case(kernel).arguments(np.float64)


def outputs(kernel):
    """The arrays that the specification writes."""
    before, after = sample(kernel), sample(kernel)
    load("ref")[kernel](**after)
    return {key for key, value in arrays(after).items() if value.tobytes() != before[key].tobytes()}


HALF = {"float64": "float16", "int64": "int32", "uint64": "uint32", "uint8": "int8"}

# What can be wrong with an array, and the arrays that it can be wrong with.
SPOILS = {
    "one column more": (lambda a: np.concatenate((a, a[..., :1]), axis=-1), lambda a: True),
    "one column less": (lambda a: a[..., :-1].copy(), lambda a: True),
    "one row more": (lambda a: np.concatenate((a, a[:1])), lambda a: a.ndim > 1),
    "one row less": (lambda a: a[:-1].copy(), lambda a: a.ndim > 1),
    "one axis more": (lambda a: a[None], lambda a: True),
    "strided": (lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a.size > 1),
    "transposed in memory": (np.asfortranarray, lambda a: a.ndim > 1),
    "of no type of ours": (lambda a: a.astype(HALF[a.dtype.name]), lambda a: True),
    "float32 among float64": (lambda a: a.astype(np.float32), lambda a: a.dtype == np.float64),
    "missing": (lambda a: None, lambda a: True),
    "read-only": (lambda a: np.broadcast_to(a, a.shape), lambda a: True),
}
# What is nevertheless right: optional arrays, data sets of any length, types that are independent, filters of
# any size (how far the image is padded at its end follows from the outputs).
CONV_FILTERS = (("forward", "w"), ("dx", "w"), ("dw", "dw"))
MORE_OR_LESS = ("more", "less")
NORMS = ("batch", "layer", "group")
TABLES = (("forward", "w"), ("dw", "dw"))
WEIGHTED = {*FAMILIES["loss"], "binary_cross_entropy"} - {"weigh_loss"}
RIGHT = {
    *((f"conv_{k}", name, f"one row {more}") for k, name in CONV_FILTERS for more in ("more", "less")),
    *((f"{k}_forward", "b", "missing") for k in ("conv", "dense")),
    *(("sgd", "v", "missing"), ("hold", "source", "missing")),
    *((loss, "dy", "missing") for loss in POINTWISE),
    *((f"{norm}_norm_forward", name, "missing") for norm in NORMS for name in ("gamma", "beta")),
    *((f"{norm}_norm_dx", "gamma", "missing") for norm in NORMS),
    *((f"embedding_{k}", name, f"one row {more}") for k, name in TABLES for more in MORE_OR_LESS),
    *(("batch_moments", "x", f"one row {more}") for more in ("more", "less")),
    *((name, array, "missing") for name in WEIGHTED for array in ("weight", "dz")),
    *((name, "weight", "one column less") for name in WEIGHTED if name.endswith("labels")),
    *(("weigh_loss", "dz", spoil) for spoil in ("missing", "one column more", "one column less")),
    *(("weigh_loss", "weight", f"one column {more}") for more in MORE_OR_LESS),
    *(("gather", "source", f"one row {more}") for more in ("more", "less")),
    *(("gather", name, "float32 among float64") for name in ("source", "out")),
    *(("gather_labels", "source", f"one row {more}") for more in ("more", "less")),
    *(("random_affine", "matrix", f"one row {more}") for more in ("more", "less")),
    *(("displacement", "field", f"one {what} {more}") for what in ("row", "column") for more in MORE_OR_LESS),
    *(("warp", "source", f"one row {more}") for more in ("more", "less")),
    *(("warp", "field", "missing"), ("displacement", "field", "float32 among float64")),
    *(("rmsprop", name, "missing") for name in ("mean", "buffer")),
    *(("clip_factor", "totals", f"one column {more}") for more in ("more", "less")),
    *(
        (kernel, name, spoil)
        for kernel, name in (("sum_squares", "g"), ("multiply", "x"), ("clamp", "x"))
        for spoil in (*list(SPOILS)[:5], "float32 among float64")
    ),
    *(("count_correct_labels", "y", f"one column {more}") for more in ("more", "less")),
    ("count_correct_labels", "y", "float32 among float64"),
    *(("count_nonfinite", "x", spoil) for spoil in (*list(SPOILS)[:5], "float32 among float64")),
}


def wrong_arrays(kernel):
    """(what is wrong with which argument, arguments) for all that the kernel must reject."""
    right, written = sample(kernel), outputs(kernel)
    for key, array in arrays(right).items():
        for spoil, (change, applies) in SPOILS.items():
            right_too = (kernel, key, spoil) in RIGHT or (spoil == "read-only" and key not in written)
            if applies(array) and not right_too:
                yield f"{key} {spoil}", copied(right) | {key: change(array.copy())}


def assert_rejected(name, kernel, arguments, error):
    """The kernel raises `error` and has written nothing."""
    before = {key: value.tobytes() for key, value in arrays(arguments).items()}
    with pytest.raises(error):
        load(name)[kernel](**arguments)
    assert {key: value.tobytes() for key, value in arrays(arguments).items()} == before


@every_compiled_backend
@every_kernel
def test_wrong_arrays_are_rejected(name, kernel):
    def check(_, arguments):
        assert_rejected(name, kernel, arguments, (TypeError, ValueError))

    check_each(wrong_arrays(kernel), check)


@every_compiled_backend
@pytest.mark.parametrize("kernel", FAMILIES["dense"])
def test_wrong_batch_of_matrices_is_rejected(name, kernel):
    fresh = next(case for case in cases_of(kernel) if case.parameters[0] == (3,)).arguments
    for key, array in arrays(fresh(np.float64)).items():
        assert_rejected(name, kernel, {**fresh(np.float64), key: array[:-1]}, ValueError)


PAIRS = {"conv": ("stride", "padding", "dilation"), "pool": ("window", "stride", "padding")}


def rows_of_pairs(kernel, pairs, skipped=()):
    """(what is wrong with which argument, arguments) of a convolution or a pool."""
    family = next(family for family in PAIRS if kernel in FAMILIES[family])
    for key in PAIRS[family]:
        for pair in pairs:
            if key not in skipped:
                yield f"{key} {pair}", sample(kernel) | {key: pair}


@every_compiled_backend
@pytest.mark.parametrize("kernel", [*FAMILIES["conv"], *FAMILIES["pool"]])
def test_steps_that_are_not_positive_are_rejected(name, kernel):
    def check(_, arguments):
        assert_rejected(name, kernel, arguments, ValueError)

    check_each(rows_of_pairs(kernel, [(0, 1), (1, -1), (1, 0)], skipped="padding"), check)


@pytest.mark.parametrize("kernel", [*FAMILIES["conv"], *FAMILIES["pool"]])
def test_steps_that_would_overflow_addresses_are_rejected(kernel):
    def check(_, arguments):
        assert_rejected("aot", kernel, arguments, (ValueError, OverflowError))

    check_each(rows_of_pairs(kernel, [(size, size) for size in (2**24 + 1, 2**62, 2**70)]), check)


@every_backend
@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize(
    ("kernel", "key", "limit", "error"),
    [
        ("cross_entropy_labels", "label", lambda arguments: len(arguments["weight"]), ValueError),
        ("hinge_labels", "label", lambda arguments: len(arguments["weight"]), ValueError),
        ("gather", "index", lambda arguments: len(arguments["source"]), IndexError),
        ("gather_labels", "index", lambda arguments: len(arguments["source"]), IndexError),
        ("warp", "index", lambda arguments: len(arguments["source"]), IndexError),
        ("embedding_forward", "x", lambda arguments: len(arguments["w"]), IndexError),
    ],
)
def test_index_out_of_range_is_rejected(name, kernel, key, limit, error, row):
    for wrong in (-1, limit(sample(kernel)), -(2**62), 2**62):
        arguments = sample(kernel)
        arguments[key][row] = wrong
        assert_rejected(name, kernel, arguments, error)


# --- the order of sums ---


@every_compiled_backend
@both_types
def test_row_does_not_depend_on_the_rows_around_it(name, dtype):
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((37, 130), (130, 67), (67,)))
    y, dx = np.empty((37, 67), dtype), np.empty((37, 130), dtype)
    kernel = load(name)
    kernel["dense_forward"](x, w, b, y)
    kernel["dense_dx"](y, w, dx)
    for start, stop in ((0, 1), (36, 37), (3, 5), (1, 8), (5, 37)):
        part, part_dx = np.empty_like(y[start:stop]), np.empty_like(dx[start:stop])
        kernel["dense_forward"](x[start:stop], w, b, part)
        kernel["dense_dx"](y[start:stop], w, part_dx)
        assert part.tobytes() == y[start:stop].tobytes()
        assert part_dx.tobytes() == dx[start:stop].tobytes()
