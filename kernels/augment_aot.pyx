# distutils: language = c++
"""Augmentation, compiled: argument checks around augment.hpp. What the kernels compute: augment_ref.py."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport (
    DISPLACEMENT, RANDOM_AFFINE, WARP_BYTES, WARP_DOUBLES, WARP_FLOATS, Call, Execute, Note, executor, expect,
    expect_shape, index_check, new_call, noter, output, passes,
)

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

# Of a side of an image: float32 counts so far, and the offset of a pixel fits into 32 bits.
cdef int64_t MOST_PIXELS = 1 << 20
cdef int64_t MOST_ELEMENTS = (<int64_t> 1) << 31


def random_affine(bits, ranges, height, width, matrix):
    """matrix_m: where the pixels of a random image come from."""
    cdef cnp.ndarray abits, aranges, amatrix
    cdef Call call
    abits = expect(bits, "bits", cnp.NPY_UINT64, False)
    aranges = expect(ranges, "ranges", cnp.NPY_DOUBLE, False)
    amatrix = expect(matrix, "matrix", cnp.NPY_DOUBLE, True)
    expect_shape(abits.ndim == 1 and abits.shape[0] == 1, "bits (1,) is wanted")
    expect_shape(aranges.ndim == 1 and aranges.shape[0] == 10, "ranges (10,) is wanted")
    expect_shape(amatrix.ndim == 2 and amatrix.shape[1] == 6, "matrix (M, 6) is wanted")
    call.kernel = RANDOM_AFFINE
    call.array[0], call.array[1], call.array[2] = abits.data, aranges.data, amatrix.data
    call.size[0], call.size[1], call.size[2] = amatrix.shape[0], height, width
    call.work = 300.0 * amatrix.shape[0]
    execute(&call)


def displacement(bits, alpha, sigma, field):
    """field_mk = alpha gaussian(noise_mk, sigma)."""
    cdef cnp.ndarray abits, afield
    cdef Call call = new_call(DISPLACEMENT, field, "field")
    abits = expect(bits, "bits", cnp.NPY_UINT64, False)
    afield = output(field, "field", &call)
    expect_shape(abits.ndim == 1 and abits.shape[0] == 1, "bits (1,) is wanted")
    expect_shape(afield.ndim == 4 and afield.shape[1] == 2, "field (M, 2, H, W) is wanted")
    if not 0 < sigma <= MOST_PIXELS:
        raise ValueError(f"sigma must lie in (0, {MOST_PIXELS}], not {sigma}")
    call.array[0], call.array[1] = abits.data, afield.data
    call.size[0], call.size[1], call.size[2] = afield.shape[0], afield.shape[2], afield.shape[3]
    call.scalar[0], call.scalar[1] = alpha, sigma
    call.work = 12.0 * (sigma + 1) * afield.size
    execute(&call)


def warp(source, index, matrix, field, scale, fill, out):
    """out_mij = scale source[index_m] at the places that matrix and field tell, bilinear."""
    cdef cnp.ndarray asource, aindex, amatrix, afield, aout
    cdef int number
    cdef Call check, call = new_call(WARP_BYTES, out, "out")
    if not isinstance(source, cnp.ndarray):
        raise TypeError(f"source must be a NumPy array, not {type(source).__name__}")
    number = cnp.PyArray_TYPE(<cnp.ndarray> source)
    if number == cnp.NPY_FLOAT:
        call.kernel = WARP_FLOATS
    elif number == cnp.NPY_DOUBLE:
        call.kernel = WARP_DOUBLES
    elif number != cnp.NPY_UINT8:
        raise TypeError(f"source must be uint8, float32 or float64, not {source.dtype}")
    elif not 0 <= fill <= 255 or fill != <int> fill:
        raise ValueError(f"bytes are filled with a whole number from 0 to 255, not {fill}")
    asource = expect(source, "source", number, False)
    aindex = expect(index, "index", cnp.NPY_INT64, False)
    amatrix = expect(matrix, "matrix", cnp.NPY_DOUBLE, False)
    aout = output(out, "out", &call)
    expect_shape(
        asource.ndim == 4
        and aindex.ndim == 1
        and aout.ndim == 4
        and aout.shape[0] == aindex.shape[0]
        and aout.shape[1] == asource.shape[1]
        and aout.shape[2] == asource.shape[2]
        and aout.shape[3] == asource.shape[3],
        "source (N, H, W, C), index (M,), out (M, H, W, C) are wanted",
    )
    expect_shape(
        amatrix.ndim == 2 and amatrix.shape[0] == aindex.shape[0] and amatrix.shape[1] == 6,
        "matrix (M, 6) is wanted",
    )
    if field is not None:
        afield = expect(field, "field", cnp.PyArray_TYPE(aout), False)
        expect_shape(
            afield.ndim == 4
            and afield.shape[0] == aout.shape[0]
            and afield.shape[1] == 2
            and afield.shape[2] == aout.shape[1]
            and afield.shape[3] == aout.shape[2],
            "field (M, 2, H, W) is wanted",
        )
        call.array[3] = afield.data
    if aout.shape[1] > MOST_PIXELS or aout.shape[2] > MOST_PIXELS or (
        (<double> aout.shape[1] + 3) * (<double> aout.shape[2] + 3) * aout.shape[3] >= MOST_ELEMENTS
    ):
        raise ValueError(
            f"images may have {MOST_PIXELS} pixels a side and 2^31 elements, not {aout.shape[1]} x "
            f"{aout.shape[2]} x {aout.shape[3]}"
        )
    check = index_check(aindex, asource.shape[0])
    if not passes(check):
        raise IndexError("index out of range")
    note(&check)
    call.array[0], call.array[1], call.array[2] = asource.data, aindex.data, amatrix.data
    call.array[4] = aout.data
    call.size[0], call.size[1] = aout.shape[0], aout.shape[1]
    call.size[2], call.size[3] = aout.shape[2], aout.shape[3]
    call.scalar[0], call.scalar[1] = scale, fill
    call.work = 40.0 * aout.size
    execute(&call)
