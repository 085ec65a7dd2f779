# distutils: language = c++
"""Argument checks of the compiled gathering of mini-batches (data.hpp). data_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, Elements, Execute, GatherSizes, KernelId, Note, executor, expect_array, expect_one_element, floats,
    index_check, kernel_id, new_call, noter, operand, passes, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

cdef KernelId GATHER_BYTES = kernel_id("gather_bytes")
cdef KernelId GATHER_FLOATS = kernel_id("gather_floats")
cdef KernelId GATHER_DOUBLES = kernel_id("gather_doubles")
cdef KernelId GATHER_LABELS = kernel_id("gather_labels")
cdef KernelId COUNT_NONFINITE = kernel_id("count_nonfinite")
cdef KernelId COUNT_OUTSIDE = kernel_id("count_outside")


def gather(source, index, scale, out):
    """out_m = source[index_m] * scale."""
    cdef cnp.ndarray asource, aindex, aout
    cdef int number
    cdef Call call = new_call(GATHER_BYTES, out, "out")
    number = cnp.PyArray_TYPE(expect_array(source, "source"))
    if number == cnp.NPY_FLOAT:
        call.kernel = GATHER_FLOATS
    elif number == cnp.NPY_DOUBLE:
        call.kernel = GATHER_DOUBLES
    elif number != cnp.NPY_UINT8:
        raise TypeError(f"source must have dtype uint8, float32 or float64, got {source.dtype}")
    asource = operand(&call, "source", source, number)
    aindex = operand(&call, "index", index, cnp.NPY_INT64)
    aout = floats(&call, "out", out)
    if not (
        asource.ndim == 2
        and aindex.ndim == 1
        and aout.ndim == 2
        and aout.shape[0] == aindex.shape[0]
        and aout.shape[1] == asource.shape[1]
    ):
        raise shape_error(
            "source (N, D), index (M,), out (M, D)", {"source": source, "index": index, "out": out}
        )
    _check_index(aindex, asource)
    call.scalar[0] = scale
    call.set_sizes(GatherSizes(aout.shape[0], aout.shape[1], asource.shape[0]))
    call.work = 20.0 * aout.size  # its rows come from memory
    execute(&call)


def gather_labels(source, index, out):
    """out_m = source[index_m]."""
    cdef cnp.ndarray asource, aindex, aout
    cdef Call call
    call.kernel = GATHER_LABELS
    asource = operand(&call, "source", source, cnp.NPY_INT64)
    aindex = operand(&call, "index", index, cnp.NPY_INT64)
    aout = operand(&call, "out", out, cnp.NPY_INT64)
    if not (
        asource.ndim in (1, 2)
        and aindex.ndim == 1
        and aout.ndim == asource.ndim
        and aout.shape[0] == aindex.shape[0]
        and (aout.ndim == 1 or aout.shape[1] == asource.shape[1])
    ):
        raise shape_error(
            "source (N,) or (N, D), index (M,), out (M,) or (M, D)",
            {"source": source, "index": index, "out": out},
        )
    _check_index(aindex, asource)
    call.set_sizes(
        GatherSizes(aindex.shape[0], 1 if asource.ndim == 1 else asource.shape[1], asource.shape[0])
    )
    execute(&call)


def count_nonfinite(x, count):
    """count_0 = number of NaN and infinite elements of x."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(COUNT_NONFINITE, x, "x")
    ax = floats(&call, "x", x)
    expect_one_element("count", operand(&call, "count", count, cnp.NPY_INT64))
    call.set_sizes(Elements(ax.size))
    execute(&call)


def count_outside(x, double low, double high, count):
    """count_0 = number of elements of x below low or above high."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(COUNT_OUTSIDE, x, "x")
    ax = floats(&call, "x", x)
    expect_one_element("count", operand(&call, "count", count, cnp.NPY_INT64))
    call.set_sizes(Elements(ax.size))
    call.scalar[0], call.scalar[1] = low, high
    execute(&call)


cdef int _check_index(cnp.ndarray index, cnp.ndarray source) except -1:
    """Raise IndexError unless all indices are rows of the source; a plan repeats the check in every step."""
    cdef Call check = index_check(index, source.shape[0])
    if not passes(check):
        raise IndexError(f"index must lie in [0, {source.shape[0]})")
    note(&check)
    return 0
