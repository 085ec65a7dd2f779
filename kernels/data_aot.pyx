# distutils: language = c++
"""Gathering mini-batches, compiled: argument checks around data.hpp. What they compute: data_ref.py."""

cimport numpy as cnp

from native cimport (
    COUNT_NONFINITE, GATHER_BYTES, GATHER_DOUBLES, GATHER_FLOATS, GATHER_LABELS, Call, Execute, Note,
    executor, expect, expect_shape, index_check, input, new_call, noter, passes,
)

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()


def gather(source, index, scale, out):
    """out_m = source[index_m] * scale."""
    cdef cnp.ndarray asource, aindex, aout
    cdef int number
    cdef Call call = new_call(GATHER_BYTES, out, "out")
    if not isinstance(source, cnp.ndarray):
        raise TypeError(f"source must be a NumPy array, not {type(source).__name__}")
    number = cnp.PyArray_TYPE(<cnp.ndarray> source)
    if number == cnp.NPY_FLOAT:
        call.kernel = GATHER_FLOATS
    elif number == cnp.NPY_DOUBLE:
        call.kernel = GATHER_DOUBLES
    elif number != cnp.NPY_UINT8:
        raise TypeError(f"source must be uint8, float32 or float64, not {source.dtype}")
    asource = expect(source, "source", number, False)
    aindex = expect(index, "index", cnp.NPY_INT64, False)
    aout = expect(out, "out", cnp.NPY_DOUBLE if call.is_double else cnp.NPY_FLOAT, True)
    expect_shape(
        asource.ndim == 2
        and aindex.ndim == 1
        and aout.ndim == 2
        and aout.shape[0] == aindex.shape[0]
        and aout.shape[1] == asource.shape[1],
        "source (N, D), index (M,), out (M, D) are wanted",
    )
    _check(aindex, asource)
    call.array[0], call.array[1], call.array[2] = asource.data, aindex.data, aout.data
    call.scalar[0] = scale
    call.size[0], call.size[1] = aout.shape[0], aout.shape[1]
    call.work = 4.0 * aout.size
    execute(&call)


def gather_labels(source, index, out):
    """out_m = source[index_m]."""
    cdef cnp.ndarray asource, aindex, aout
    cdef Call call
    asource = expect(source, "source", cnp.NPY_INT64, False)
    aindex = expect(index, "index", cnp.NPY_INT64, False)
    aout = expect(out, "out", cnp.NPY_INT64, True)
    expect_shape(
        asource.ndim == 1 and aindex.ndim == 1 and aout.ndim == 1 and aout.shape[0] == aindex.shape[0],
        "source (N,), index (M,), out (M,) are wanted",
    )
    _check(aindex, asource)
    call.kernel = GATHER_LABELS
    call.array[0], call.array[1], call.array[2] = asource.data, aindex.data, aout.data
    call.size[0] = aindex.shape[0]
    execute(&call)


def count_nonfinite(x, count):
    """count_0 = number of nan and infinite elements of x."""
    cdef cnp.ndarray ax, acount
    cdef Call call = new_call(COUNT_NONFINITE, x, "x")
    ax = input(x, "x", &call)
    acount = expect(count, "count", cnp.NPY_INT64, True)
    expect_shape(acount.ndim == 1 and acount.shape[0] == 1, "count (1,) is wanted")
    call.array[0], call.array[1] = ax.data, acount.data
    call.size[0] = ax.size
    execute(&call)


cdef int _check(cnp.ndarray index, cnp.ndarray source) except -1:
    cdef Call check = index_check(index, source.shape[0])
    if not passes(check):
        raise IndexError("index out of range")
    note(&check)
    return 0
