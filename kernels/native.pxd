"""What the compiled families share: the Call record, the executor, and the checks of arguments.

Only declarations and inline functions: there is no module of this name.
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t


cdef extern from "plan/call.hpp" namespace "fastnn" nogil:
    ctypedef enum KernelId:
        DENSE_FORWARD
        DENSE_DX
        DENSE_DW
        DENSE_DB
        CONV_FORWARD
        CONV_DX
        CONV_DW
        IM2COL
        COL2IM
        MAX_POOL_FORWARD
        MAX_POOL_DX
        AVG_POOL_FORWARD
        AVG_POOL_DX
        BATCH_MOMENTS
        RUNNING_MOMENTS
        BATCH_NORM_FORWARD
        BATCH_NORM_SUMS
        BATCH_NORM_DX
        LAYER_NORM_FORWARD
        LAYER_NORM_DX
        LAYER_NORM_DW
        RELU_FORWARD
        RELU_DX
        SIGMOID_FORWARD
        SIGMOID_DX
        TANH_FORWARD
        TANH_DX
        LEAKY_RELU_FORWARD
        LEAKY_RELU_DX
        ELU_FORWARD
        ELU_DX
        GELU_FORWARD
        GELU_DX
        SILU_FORWARD
        SILU_DX
        ADD
        EXP_FORWARD
        LOG_FORWARD
        SOFTMAX_FORWARD
        SOFTMAX_DX
        ELEMENTWISE_FORWARD
        ELEMENTWISE_DX
        CROSS_ENTROPY_LABELS
        CROSS_ENTROPY_SOFT
        SQUARED_ERROR
        BINARY_CROSS_ENTROPY
        FOCAL_LABELS
        FOCAL_SOFT
        DICE
        SGD
        ADAM
        RMSPROP
        SUM_SQUARES
        CLIP_FACTOR
        MULTIPLY
        CLAMP
        EMA
        DROPOUT
        RANDOM_NEXT
        GATHER_BYTES
        GATHER_FLOATS
        GATHER_DOUBLES
        GATHER_LABELS
        COUNT_NONFINITE
        RANDOM_AFFINE
        DISPLACEMENT
        WARP_BYTES
        WARP_FLOATS
        WARP_DOUBLES
        LABEL_DIVISOR
        REDUCE_LOSS
        COUNT_CORRECT
        COUNT_CORRECT_BINARY
        ADVANCE
        ADAM_CORRECTIONS
        CHECK_INDEX
        PROBE_FMA
        PROBE_READ
        PROBE_UPDATE

    ctypedef struct Call:
        KernelId kernel
        int is_double
        void *array[10]
        int64_t size[16]
        double scalar[2]
        double work

cdef extern from "plan/serial.hpp" namespace "fastnn" nogil:
    bint passes(const Call &check)

# Runs a call with the kernels of the chosen instruction set; raises MemoryError without scratch memory. While
# this thread records a plan, the call becomes part of it.
ctypedef int (*Execute)(Call *) except -1
# Makes a check, which has been made, a part of the plan that this thread records, if it does.
ctypedef int (*Note)(Call *) except -1


cdef inline Execute executor() except NULL:
    from fastnn.kernels import core
    return <Execute> PyCapsule_GetPointer(core.executor, "fastnn.kernels.core.executor")


cdef inline Note noter() except NULL:
    from fastnn.kernels import core
    return <Note> PyCapsule_GetPointer(core.noter, "fastnn.kernels.core.noter")


cdef inline Call index_check(cnp.ndarray index, int64_t limit) except *:
    """The check that 0 <= index < limit for all of them."""
    cdef Call call
    call.kernel = CHECK_INDEX
    call.array[0] = index.data
    call.size[0], call.size[1] = index.size, limit
    return call


cdef inline cnp.ndarray expect(object array, str name, int type_number, bint output):
    """`array` as an ndarray that a kernel can read, or, as an output, write."""
    if not isinstance(array, cnp.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(array).__name__}")
    cdef cnp.ndarray checked = <cnp.ndarray> array
    if cnp.PyArray_TYPE(checked) != type_number:
        wanted = cnp.PyArray_DescrFromType(type_number)
        raise TypeError(f"{name} must have the dtype {wanted}, not {checked.dtype}")
    if not cnp.PyArray_ISCARRAY_RO(checked):
        raise ValueError(f"{name} must be C-contiguous, aligned and of native byte order")
    if output and not cnp.PyArray_ISWRITEABLE(checked):
        raise ValueError(f"{name} is an output, but read-only")
    return checked


cdef inline Call new_call(KernelId kernel, object first, str name) except *:
    """An empty call whose float type is that of its first array."""
    cdef Call call  # its C++ members start at zero
    if not isinstance(first, cnp.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(first).__name__}")
    cdef int number = cnp.PyArray_TYPE(<cnp.ndarray> first)
    if number != cnp.NPY_FLOAT and number != cnp.NPY_DOUBLE:
        raise TypeError(f"{name} must be float32 or float64, not {first.dtype}")
    call.kernel = kernel
    call.is_double = number == cnp.NPY_DOUBLE
    return call


cdef inline cnp.ndarray input(object array, str name, Call *call):
    """An input of the call's float type."""
    return expect(array, name, cnp.NPY_DOUBLE if call.is_double else cnp.NPY_FLOAT, False)


cdef inline cnp.ndarray output(object array, str name, Call *call):
    """An output of the call's float type."""
    return expect(array, name, cnp.NPY_DOUBLE if call.is_double else cnp.NPY_FLOAT, True)


cdef inline int expect_shape(bint fits, str message) except -1:
    """Raise ValueError with `message` unless the shapes fit."""
    if not fits:
        raise ValueError("shapes do not fit: " + message)
    return 0


cdef inline bint same_shape(cnp.ndarray a, cnp.ndarray b) noexcept:
    return cnp.PyArray_SAMESHAPE(a, b)
