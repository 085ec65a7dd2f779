# distutils: language = c++
"""Random bits and dropout, compiled: argument checks around random.hpp. What they compute: random_ref.py."""

cimport numpy as cnp

from native cimport (
    DROPOUT, RANDOM_NEXT, Call, Execute, executor, expect, expect_shape, input, new_call, output, same_shape,
)

cnp.import_array()

cdef Execute execute = executor()


def random_next(state, bits):
    """bits = mix(key + GOLDEN mix(count)); count += 1."""
    cdef cnp.ndarray astate, abits
    cdef Call call
    astate = expect(state, "state", cnp.NPY_UINT64, True)
    abits = expect(bits, "bits", cnp.NPY_UINT64, True)
    expect_shape(astate.ndim == 1 and astate.shape[0] == 2, "state (2,) is wanted")
    expect_shape(abits.ndim == 1 and abits.shape[0] == 1, "bits (1,) is wanted")
    call.kernel = RANDOM_NEXT
    call.array[0], call.array[1] = astate.data, abits.data
    execute(&call)


def dropout(x, bits, rate, y):
    """y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0)."""
    cdef cnp.ndarray ax, abits, ay
    cdef Call call = new_call(DROPOUT, x, "x")
    ax, ay = input(x, "x", &call), output(y, "y", &call)
    abits = expect(bits, "bits", cnp.NPY_UINT64, False)
    expect_shape(same_shape(ax, ay), "x and y of one shape are wanted")
    expect_shape(abits.ndim == 1 and abits.shape[0] == 1, "bits (1,) is wanted")
    call.array[0], call.array[1], call.array[2] = ax.data, abits.data, ay.data
    call.scalar[0] = rate
    call.size[0] = ax.size
    call.work = 8.0 * ax.size
    execute(&call)
