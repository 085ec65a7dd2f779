"""The products of dense layers in bf16: the specification, and how Numba and the compiled kernels meet it.

The compiled kernels need a processor with AVX512_BF16; elsewhere only their refusal is tested.
"""

import numpy as np
import pytest

from fastnn.kernels import FAMILIES, core, cpu, load

from .case import Arrays
from .comparison import copied

needs_bf16 = pytest.mark.skipif(not core.has_bf16(), reason="no AVX512_BF16, or FASTNN_ISA excludes it")
every_column = pytest.mark.parametrize("column", ["jit", pytest.param("aot", marks=needs_bf16)])
every_kernel = pytest.mark.parametrize("kernel", FAMILIES["dense_bf16"])

# M, K, N: a single pair or less, odd sums, around the vectors, tiles, blocks and groups of rows, and empty.
SIZES = (
    *((1, 1, 1), (2, 3, 5), (7, 2, 16), (15, 16, 17), (16, 17, 33), (17, 33, 15), (33, 15, 16)),
    *((65, 130, 67), (48, 64, 64), (49, 65, 129), (5, 263, 4), (97, 31, 48), (130, 1, 66)),
    *((0, 3, 5), (3, 0, 5), (3, 5, 0)),
)
# Every number of rows and of vectors of a tile.
TILES = tuple((rows, 5, 16 * vectors - 3) for rows in range(1, 13) for vectors in range(1, 5))


def arguments(kernel, sizes, *, whole=False, bias=True):
    """Arguments by name. Whole numbers below 256 stay the same in bf16; all of their sums are exact."""
    M, K, N = sizes
    a, most = Arrays(np.float32, whole=whole), {"terms": max(sizes), "largest": 255}
    if kernel == "dense_forward_bf16":
        b = a(N) if bias else None
        return {"x": a(M, K, **most), "w": a(K, N, **most), "b": b, "y": a.poison(M, N)}
    if kernel == "dense_dx_bf16":
        return {"dy": a(M, N, **most), "w": a(K, N, **most), "dx": a.poison(M, K)}
    return {"x": a(M, K, **most), "dy": a(M, N, **most), "dw": a.poison(K, N)}


def result(backend, kernel, given):
    """The output of a kernel, which comes last."""
    after = copied(given)
    load(backend)[kernel](**after)
    for name, array in given.items():
        if name not in ("y", "dx", "dw") and array is not None:
            assert after[name].tobytes() == array.tobytes(), f"{name} is an input, but changed"
    return list(after.values())[-1]


def bf16(values):
    """The values rounded by the specification: the products of a column by 1."""
    column = np.array(values, np.float32).reshape(-1, 1)
    return result("ref", "dense_forward_bf16", _times_one(column))[:, 0]


def _times_one(column):
    return {"x": column, "w": np.ones((1, 1), np.float32), "b": None, "y": np.empty_like(column)}


# --- rounding ---

LAST = 2.0**-7  # the last place of numbers in [1, 2)
TINY = float(np.finfo(np.float32).tiny)
LARGEST = (2 - LAST) * 2.0**127

ROUNDED = {
    "exact": ([0, 1, -1.5, 1 + LAST, 255, LARGEST, TINY], [0, 1, -1.5, 1 + LAST, 255, LARGEST, TINY]),
    "nearest": ([1 + 0.4 * LAST, 1 + 0.6 * LAST, -1 - 0.6 * LAST], [1, 1 + LAST, -1 - LAST]),
    "ties to even": ([1 + LAST / 2, 1 + 1.5 * LAST, -1 - LAST / 2], [1, 1 + 2 * LAST, -1]),
    "just beside a tie": ([1 + LAST / 2 + 2.0**-23, 1 + 1.5 * LAST - 2.0**-23], [1 + LAST, 1 + LAST]),
    "to the next power of two": ([2 - LAST / 4], [2]),
    "overflow": ([3.4e38, -3.4e38, np.inf, -np.inf], [np.inf, -np.inf, np.inf, -np.inf]),
    "subnormal numbers": ([TINY / 2, -TINY / 2, TINY * (1 - 2.0**-23)], [0, 0, 0]),
    "nan": ([np.nan, -np.nan], [np.nan, np.nan]),
}


@pytest.mark.parametrize(("values", "expected"), ROUNDED.values(), ids=ROUNDED)
def test_specification_rounds_to_nearest_even(values, expected):
    np.testing.assert_array_equal(bf16(values), np.array(expected, np.float32))


def test_nans_of_all_bits_stay_nans():
    """Rounding as an integer would carry them over into 0."""
    bits = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFFC00000], np.uint32)
    assert np.isnan(bf16(bits.view(np.float32))).all()


@every_column
def test_column_rounds_like_the_specification(column):
    """Random bits have every exponent, with subnormal numbers, infinities and nans among them."""
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32)
    bits[:2000] &= 0x807FFFFF
    bits[2000:4000] |= 0x7F800000
    bits[4000:4100:2] = 0x7F800000
    values = bits.view(np.float32).reshape(-1, 1)
    expected = result("ref", "dense_forward_bf16", _times_one(values))
    actual = result(column, "dense_forward_bf16", _times_one(values))
    np.testing.assert_array_equal(actual, expected)


@every_column
def test_infinity_next_to_another_number_stays_infinity(column):
    """Read as one float, the pair (1, inf) is a nan."""
    given = {"x": np.array([[1, np.inf]] * 7, np.float32), "w": np.ones((2, 17), np.float32)}
    given |= {"b": None, "y": np.empty((7, 17), np.float32)}
    assert (result(column, "dense_forward_bf16", given) == np.inf).all()


# --- products ---


@every_column
@every_kernel
def test_whole_numbers_are_exact(kernel, column):
    sizes = SIZES if column == "jit" else SIZES + TILES
    for size in sizes:
        given = arguments(kernel, size, whole=True)
        np.testing.assert_array_equal(
            result(column, kernel, given), result("ref", kernel, given), err_msg=str(size)
        )


@every_column
@every_kernel
def test_sums_are_those_of_float32(kernel, column):
    """n sums round by at most n units of the last place of the sum of absolute values; so may the other."""
    for size in SIZES:
        given = arguments(kernel, size, bias=False)
        terms = dict(zip(("dense_dw_bf16", "dense_forward_bf16", "dense_dx_bf16"), size, strict=True))[kernel]
        absolute = {name: a if a is None else np.abs(a) for name, a in given.items()}
        bound = 2 * terms * np.finfo(np.float32).eps * result("ref", kernel, absolute)
        error = np.abs(result(column, kernel, given) - result("ref", kernel, given))
        assert (error <= bound).all(), size


@every_kernel
def test_operands_are_rounded_at_all(kernel):
    """The result differs from that of float32 by about 2^-9 of an element, but not by much more."""
    given = arguments(kernel, (50, 40, 30), bias=False)
    exact = result("ref", kernel.removesuffix("_bf16"), given)
    error = np.abs(result("ref", kernel, given) - exact).max() / np.abs(exact).max()
    assert 2.0**-13 < error < 2.0**-7


@needs_bf16
@every_kernel
def test_bits_do_not_depend_on_threads(kernel):
    for size in ((50, 301, 203), (1, 1503, 1001), (301, 64, 70), (129, 601, 10)):
        given = arguments(kernel, size)
        core.set_num_threads(1)
        expected = result("aot", kernel, given).tobytes()
        for threads in (2, 3, 7):
            core.set_num_threads(threads)
            assert result("aot", kernel, given).tobytes() == expected, (size, threads)


@needs_bf16
@pytest.mark.parametrize("kernel", ["dense_forward_bf16", "dense_dx_bf16"])
def test_row_does_not_depend_on_other_rows(kernel):
    first = "x" if kernel == "dense_forward_bf16" else "dy"
    for size in ((67, 129, 70), (50, 33, 10)):
        given = arguments(kernel, size)
        whole = result("aot", kernel, given)
        for rows in (slice(1), slice(3, 10), slice(49, 50)):
            some = {**given, first: given[first][rows].copy(), list(given)[-1]: whole[rows].copy()}
            assert result("aot", kernel, some).tobytes() == whole[rows].tobytes(), (size, rows)


# --- what is rejected ---


@pytest.mark.parametrize("column", ["ref", "jit", pytest.param("aot", marks=needs_bf16)])
@every_kernel
def test_float64_is_rejected(kernel, column):
    given = {name: a.astype(np.float64) for name, a in arguments(kernel, (3, 4, 5)).items()}
    with pytest.raises(TypeError, match=r"must have dtype float32.*got float64"):
        load(column)[kernel](**given)


@every_column
@every_kernel
def test_wrong_arrays_are_rejected(kernel, column):
    right = arguments(kernel, (3, 4, 5))
    for name, array in right.items():
        for wrong in (array[:-1], array[..., :-1].copy(), array[None], array.astype(np.float64)):
            given = {**right, name: wrong}
            before = given[list(given)[-1]].tobytes()
            with pytest.raises((TypeError, ValueError)):
                load(column)[kernel](**given)
            assert given[list(given)[-1]].tobytes() == before, name


@every_kernel
def test_instruction_set_without_bf16_is_refused(kernel):
    lowest = cpu.supported()[-1]
    if lowest == "v4":
        pytest.skip("only v4 is built")
    core.select_isa(lowest)
    assert not core.has_bf16()
    with pytest.raises(RuntimeError, match=f"needs a processor with AVX512_BF16 .*for '{lowest}'"):
        load("aot")[kernel](**arguments(kernel, (3, 4, 5)))


def test_best_instruction_set_has_bf16_if_the_machine_has():
    core.select_isa(cpu.supported()[0])
    assert core.has_bf16() == (core.isa() == "v4" and cpu.supports_bf16())
