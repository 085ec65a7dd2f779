# distutils: language = c++
"""Optimizer updates, compiled: argument checks around optim.hpp. What they compute: optim_ref.py."""

cimport numpy as cnp

from native cimport (
    ADAM, ADAM_CORRECTIONS, ADVANCE, SGD, Call, Execute, executor, expect, expect_shape, input, new_call,
    output, same_shape,
)

cnp.import_array()

cdef Execute execute = executor()


def sgd(g, hyper, v, p):
    """v = mu v + g', p -= lr v."""
    cdef cnp.ndarray ag, av, ap
    cdef Call call = new_call(SGD, g, "g")
    ag, ap = input(g, "g", &call), output(p, "p", &call)
    expect_shape(same_shape(ag, ap), "g and p of one shape are wanted")
    if v is not None:
        av = output(v, "v", &call)
        expect_shape(same_shape(ag, av), "g and v of one shape are wanted")
        call.array[2] = av.data
    call.array[0], call.array[1], call.array[3] = ag.data, _hyper(hyper, 4), ap.data
    call.size[0] = ag.size
    call.work = 8.0 * ag.size
    execute(&call)


def adam(g, hyper, m, v, p):
    """m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2, p -= lr/c1 m / (sqrt(v / c2) + eps)."""
    cdef cnp.ndarray ag, am, av, ap
    cdef Call call = new_call(ADAM, g, "g")
    ag = input(g, "g", &call)
    am, av, ap = output(m, "m", &call), output(v, "v", &call), output(p, "p", &call)
    expect_shape(
        same_shape(ag, am) and same_shape(ag, av) and same_shape(ag, ap),
        "g, m, v and p of one shape are wanted",
    )
    call.array[0], call.array[1], call.array[2] = ag.data, _hyper(hyper, 7), am.data
    call.array[3], call.array[4] = av.data, ap.data
    call.size[0] = ag.size
    call.work = 16.0 * ag.size
    execute(&call)


def advance(steps):
    """steps += 1."""
    cdef Call call
    call.kernel = ADVANCE
    call.array[0] = _steps(steps, True)
    execute(&call)


def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps, c2 = 1 - b2^steps in hyper = (lr, b1, b2, eps, wd, c1, c2)."""
    cdef Call call
    cdef cnp.ndarray ahyper = expect(hyper, "hyper", cnp.NPY_DOUBLE, True)
    call.kernel = ADAM_CORRECTIONS
    call.array[0], call.array[1] = _steps(steps, False), _hyper(ahyper, 7)
    execute(&call)


cdef char *_steps(object steps, bint changed) except NULL:
    """The number of updates: int64, a single one."""
    cdef cnp.ndarray array = expect(steps, "steps", cnp.NPY_INT64, changed)
    expect_shape(array.ndim == 1 and array.shape[0] == 1, "steps (1,) is wanted")
    return array.data


cdef char *_hyper(object hyper, int count) except NULL:
    """The hyper-parameters: float64, `count` of them."""
    cdef cnp.ndarray array = expect(hyper, "hyper", cnp.NPY_DOUBLE, False)
    expect_shape(array.ndim == 1 and array.shape[0] == count, f"hyper ({count},) is wanted")
    return array.data
