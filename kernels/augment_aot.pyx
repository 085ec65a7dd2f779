# distutils: language = c++
"""Argument checks of the compiled augmentation (augment.hpp). augment_ref.py specifies the results."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from native cimport (
    Call, Execute, ImageSizes, KernelId, Note, WarpSizes, executor, expect_array, expect_one_element, floats,
    index_check, kernel_id, new_call, noter, operand, passes, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()
cdef Note note = noter()

cdef KernelId RANDOM_AFFINE = kernel_id("random_affine")
cdef KernelId DISPLACEMENT = kernel_id("displacement")
cdef KernelId WARP_BYTES = kernel_id("warp_bytes")
cdef KernelId WARP_FLOATS = kernel_id("warp_floats")
cdef KernelId WARP_DOUBLES = kernel_id("warp_doubles")

# Bounds on the sides of an image, which float32 must represent exactly, and on its elements, whose offsets
# must fit into 32 bits.
cdef int64_t MAX_PIXELS = 1 << 20
cdef int64_t MAX_ELEMENTS = (<int64_t> 1) << 31


def random_affine(bits, ranges, int64_t height, int64_t width, matrix):
    """matrix_m maps the pixels of a randomly moved image to their positions in the source."""
    cdef cnp.ndarray aranges, amatrix
    cdef Call call
    call.kernel = RANDOM_AFFINE
    expect_one_element("bits", operand(&call, "bits", bits, cnp.NPY_UINT64))
    aranges = operand(&call, "ranges", ranges, cnp.NPY_DOUBLE)
    amatrix = operand(&call, "matrix", matrix, cnp.NPY_DOUBLE)
    if aranges.ndim != 1 or aranges.shape[0] != 10:
        raise shape_error("ranges (10,)", {"ranges": ranges})
    if amatrix.ndim != 2 or amatrix.shape[1] != 6:
        raise shape_error("matrix (M, 6)", {"matrix": matrix})
    call.set_sizes(ImageSizes(amatrix.shape[0], height, width, 1))
    call.work = 300.0 * amatrix.shape[0]
    execute(&call)


def displacement(bits, double alpha, double sigma, field):
    """field_mk = alpha gaussian(noise_mk, sigma)."""
    cdef cnp.ndarray afield
    cdef Call call = new_call(DISPLACEMENT, field, "field")
    expect_one_element("bits", operand(&call, "bits", bits, cnp.NPY_UINT64))
    afield = floats(&call, "field", field)
    if afield.ndim != 4 or afield.shape[1] != 2:
        raise shape_error("field (M, 2, H, W)", {"field": field})
    if not 0 < sigma <= MAX_PIXELS:
        raise ValueError(f"sigma must be in (0, {MAX_PIXELS}], got {sigma}")
    call.set_sizes(ImageSizes(afield.shape[0], afield.shape[2], afield.shape[3], 1))
    call.scalar[0], call.scalar[1] = alpha, sigma
    call.work = 12.0 * (sigma + 1) * afield.size
    execute(&call)


def warp(source, index, matrix, field, double scale, double fill, out):
    """out_mij = scale source[index_m] at the positions given by matrix and field, bilinear."""
    cdef cnp.ndarray asource, aindex, amatrix, afield, aout
    cdef int number
    cdef Call check, call = new_call(WARP_BYTES, out, "out")
    number = cnp.PyArray_TYPE(expect_array(source, "source"))
    if number == cnp.NPY_FLOAT:
        call.kernel = WARP_FLOATS
    elif number == cnp.NPY_DOUBLE:
        call.kernel = WARP_DOUBLES
    elif number != cnp.NPY_UINT8:
        raise TypeError(f"source must have dtype uint8, float32 or float64, got {source.dtype}")
    elif not 0 <= fill <= 255 or fill != <int> fill:
        raise ValueError(f"fill must be an integer in [0, 255] for a uint8 source, got {fill}")
    asource = operand(&call, "source", source, number)
    aindex = operand(&call, "index", index, cnp.NPY_INT64)
    amatrix = operand(&call, "matrix", matrix, cnp.NPY_DOUBLE)
    aout = floats(&call, "out", out)
    if not (
        asource.ndim == 4
        and aindex.ndim == 1
        and aout.ndim == 4
        and aout.shape[0] == aindex.shape[0]
        and aout.shape[1] == asource.shape[1]
        and aout.shape[2] == asource.shape[2]
        and aout.shape[3] == asource.shape[3]
    ):
        raise shape_error(
            "source (N, H, W, C), index (M,), out (M, H, W, C)",
            {"source": source, "index": index, "out": out},
        )
    if amatrix.ndim != 2 or amatrix.shape[0] != aindex.shape[0] or amatrix.shape[1] != 6:
        raise shape_error("matrix (M, 6), out (M, H, W, C)", {"matrix": matrix, "out": out})
    if field is not None:
        afield = floats(&call, "field", field)
        if not (
            afield.ndim == 4
            and afield.shape[0] == aout.shape[0]
            and afield.shape[1] == 2
            and afield.shape[2] == aout.shape[1]
            and afield.shape[3] == aout.shape[2]
        ):
            raise shape_error("field (M, 2, H, W), out (M, H, W, C)", {"field": field, "out": out})
    if aout.shape[1] > MAX_PIXELS or aout.shape[2] > MAX_PIXELS or (
        (<double> aout.shape[1] + 3) * (<double> aout.shape[2] + 3) * aout.shape[3] >= MAX_ELEMENTS
    ):
        raise ValueError(
            f"images must have at most {MAX_PIXELS} pixels a side and fewer than 2^31 elements, got "
            f"{aout.shape[1]} x {aout.shape[2]} x {aout.shape[3]}"
        )
    check = index_check(aindex, asource.shape[0])
    if not passes(check):
        raise IndexError(f"index must lie in [0, {asource.shape[0]})")
    note(&check)
    call.set_sizes(WarpSizes(aout.shape[0], aout.shape[1], aout.shape[2], aout.shape[3], asource.shape[0]))
    call.scalar[0], call.scalar[1] = scale, fill
    call.work = 40.0 * aout.size
    execute(&call)
