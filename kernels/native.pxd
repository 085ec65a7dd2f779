"""Kernel calls for the compiled families: the Call record, the executor, and the argument checks.

This file holds only declarations and inline functions: there is no module of this name.
"""

cimport numpy as cnp
from cpython.number cimport PyNumber_Index
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t
from libcpp.string cimport string


cdef extern from "plan/sizes.hpp" namespace "fastnn" nogil:
    ctypedef struct Elements:
        int64_t count

    ctypedef struct MatrixSizes:
        int64_t M, C

    ctypedef struct LabelSizes:
        int64_t M, C, labels

    ctypedef struct DenseSizes:
        int64_t batch, M, K, N

    ctypedef struct ConvSizes:
        int64_t N, H, W, C, R, S, channels
        int64_t outputs "O"
        int64_t P, Q
        int64_t stride[2]
        int64_t padding[2]
        int64_t dilation[2]

    ctypedef struct PoolSizes:
        int64_t N, H, W, C, R, S, P, Q
        int64_t stride[2]
        int64_t padding[2]

    ctypedef struct BinarySizes:
        int64_t count, C

    ctypedef struct DiceSizes:
        int64_t M, S, C

    ctypedef struct GatherSizes:
        int64_t M, D, rows

    ctypedef struct EmbeddingSizes:
        int64_t M, D, rows, padding

    ctypedef struct GroupSizes:
        int64_t N, S, C, groups

    ctypedef struct WeighSizes:
        int64_t M, L, D

    ctypedef struct ImageSizes:
        int64_t M, H, W, C

    ctypedef struct WarpSizes:
        int64_t M, H, W, C, images

    ctypedef struct IndexCheck:
        int64_t count, limit

    ctypedef struct ProbeSizes:
        int64_t count, rounds

cdef extern from "plan/kernels.hpp" namespace "fastnn" nogil:
    ctypedef enum KernelId:
        CHECK_INDEX
        CHECK_WHOLE
        REDUCE_LOSS
        KERNEL_COUNT

    string kernel_name(KernelId kernel) except +
    const char *kernel_family(KernelId kernel)
    const char *operand_name(KernelId kernel, int i)
    bint is_output(KernelId kernel, int i)
    KernelId find_kernel(const string &name) except +
    int find_operand(KernelId kernel, const char *name)

cdef extern from "plan/call.hpp" namespace "fastnn" nogil:
    cdef cppclass Call:
        KernelId kernel
        int is_double
        void *array[10]
        int64_t size[18]
        double scalar[2]
        int activation
        double work
        void set_sizes[Sizes](const Sizes &sizes)

cdef extern from "plan/serial.hpp" namespace "fastnn" nogil:
    bint passes(const Call &check)

# Runs a call with the kernels of the chosen instruction set, and adds it to the plan that this thread is
# recording, if any. Raises MemoryError if there is no scratch memory.
ctypedef int (*Execute)(Call *) except -1
# Adds a check, which has passed, to the plan that this thread is recording, if any.
ctypedef int (*Note)(Call *) except -1


cdef inline Execute executor() except NULL:
    from fastnn.kernels import core
    return <Execute> PyCapsule_GetPointer(core.executor, "fastnn.kernels.core.executor")


cdef inline Note noter() except NULL:
    from fastnn.kernels import core
    return <Note> PyCapsule_GetPointer(core.noter, "fastnn.kernels.core.noter")


cdef inline KernelId kernel_id(str name) except *:
    """The kernel of this name in kernels.def, in lower case."""
    cdef KernelId found = find_kernel(name.encode())
    if found == KERNEL_COUNT:
        raise LookupError(f"kernels.def has no kernel {name!r}")
    return found


cdef inline Call new_call(KernelId kernel, object first, const char *name) except *:
    """An empty call whose float type is that of its first array, which is called `name` in messages."""
    cdef Call call  # its C++ members start at zero
    cdef int number = cnp.PyArray_TYPE(expect_array(first, name))
    if number != cnp.NPY_FLOAT and number != cnp.NPY_DOUBLE:
        raise TypeError(f"{name.decode()} must have dtype float32 or float64, got {first.dtype}")
    call.kernel = kernel
    call.is_double = number == cnp.NPY_DOUBLE
    return call


cdef inline Call index_check(cnp.ndarray index, int64_t limit) except *:
    """The check that all elements of `index` lie in [0, limit)."""
    cdef Call call
    call.kernel = CHECK_INDEX
    call.array[0] = index.data
    call.set_sizes(IndexCheck(index.size, limit))
    return call


cdef inline cnp.ndarray expect_array(object array, const char *name):
    if not isinstance(array, cnp.ndarray):
        raise TypeError(f"{name.decode()} must be a NumPy array, got {type(array).__name__}")
    return <cnp.ndarray> array


cdef inline cnp.ndarray expect(object array, const char *name, int type_number, bint output):
    """`array` as an ndarray that a kernel can read and, if it is an output, write."""
    cdef cnp.ndarray checked = expect_array(array, name)
    if cnp.PyArray_TYPE(checked) != type_number:
        expected = cnp.PyArray_DescrFromType(type_number)
        raise TypeError(f"{name.decode()} must have dtype {expected}, got {checked.dtype}")
    if not cnp.PyArray_ISCARRAY_RO(checked):
        raise ValueError(f"{name.decode()} must be C-contiguous, aligned and in native byte order")
    if output and not cnp.PyArray_ISWRITEABLE(checked):
        raise ValueError(f"{name.decode()} is an output and must be writeable, got a read-only array")
    return checked


cdef inline cnp.ndarray operand(Call *call, const char *name, object array, int type_number):
    """Check `array` and make it the operand `name` of the call; kernels.def tells whether it is an output."""
    cdef int i = find_operand(call.kernel, name)
    if i < 0:
        raise LookupError(f"{kernel_name(call.kernel).decode()} has no operand {name.decode()!r}")
    cdef cnp.ndarray checked = expect(array, name, type_number, is_output(call.kernel, i))
    call.array[i] = checked.data
    return checked


cdef inline cnp.ndarray floats(Call *call, const char *name, object array):
    """The same for an array of the call's float type."""
    return operand(call, name, array, cnp.NPY_DOUBLE if call.is_double else cnp.NPY_FLOAT)


cdef inline object shape_error(str expected, dict arrays):
    """The ValueError for named arrays whose shapes do not match; `expected` shows them as letters."""
    shapes = [f"{name} {(<object> array).shape}" for name, array in arrays.items()]
    return ValueError(f"expected {expected}, got {', '.join(shapes)}")


cdef inline int expect_same_shape(
    const char *name_a, cnp.ndarray a, const char *name_b, cnp.ndarray b
) except -1:
    if not cnp.PyArray_SAMESHAPE(a, b):
        first, second = name_a.decode(), name_b.decode()
        raise shape_error(f"{first} and {second} of the same shape", {first: a, second: b})
    return 0


cdef inline int expect_one_element(const char *name, cnp.ndarray array) except -1:
    if array.ndim != 1 or array.shape[0] != 1:
        raise shape_error(f"{name.decode()} (1,)", {name.decode(): array})
    return 0


cdef inline tuple step_pair(str name, object pair, int64_t least):
    """(rows, columns) of a window, stride, padding or dilation, as Python integers, which do not overflow.

    With larger values than 2^24 the arithmetic of addresses could overflow.
    """
    cdef int64_t most = 2**24
    pair = tuple([PyNumber_Index(size) for size in pair])
    if len(pair) != 2 or not least <= min(pair) <= max(pair) <= most:
        raise ValueError(f"{name} must be two integers in [{least}, {most}], got {pair!r}")
    return pair
