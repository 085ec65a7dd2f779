# distutils: language = c++
"""Optimizer updates, compiled: argument checks around optim.hpp. What they compute: optim_ref.py."""

cimport numpy as cnp

from native cimport (
    ADAM, ADAM_CORRECTIONS, ADVANCE, CLAMP, CLIP_FACTOR, EMA, MULTIPLY, RMSPROP, SGD, SUM_SQUARES, Call,
    Execute, executor, expect, expect_shape, input, new_call, output, same_shape,
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
    call.array[0], call.array[1], call.array[2] = ag.data, _hyper(hyper, 8), am.data
    call.array[3], call.array[4] = av.data, ap.data
    call.size[0] = ag.size
    call.work = 16.0 * ag.size
    execute(&call)


def rmsprop(g, hyper, v, mean, buffer, p):
    """v = alpha v + (1 - alpha) g'^2, p -= lr g' / (sqrt(v) + eps)."""
    cdef cnp.ndarray ag, av, ap, aother
    cdef Call call = new_call(RMSPROP, g, "g")
    ag = input(g, "g", &call)
    av, ap = output(v, "v", &call), output(p, "p", &call)
    expect_shape(same_shape(ag, av) and same_shape(ag, ap), "g, v and p of one shape are wanted")
    for place, name, other in ((3, "mean", mean), (4, "buffer", buffer)):
        if other is not None:
            aother = output(other, name, &call)
            expect_shape(same_shape(ag, aother), f"g and {name} of one shape are wanted")
            call.array[<int> place] = aother.data
    call.array[0], call.array[1], call.array[2] = ag.data, _hyper(hyper, 5), av.data
    call.array[5] = ap.data
    call.size[0] = ag.size
    call.work = 16.0 * ag.size
    execute(&call)


def sum_squares(g, total):
    """total = sum of g_e^2, in double."""
    cdef cnp.ndarray ag
    cdef Call call = new_call(SUM_SQUARES, g, "g")
    ag = input(g, "g", &call)
    call.array[0], call.array[1] = ag.data, _number(total, "total", True)
    call.size[0] = ag.size
    call.work = 2.0 * ag.size
    execute(&call)


def clip_factor(totals, bound, norm, factor):
    """norm = sqrt(sum of totals), factor = min(1, bound / (norm + 1e-6))."""
    cdef cnp.ndarray atotals = expect(totals, "totals", cnp.NPY_DOUBLE, False)
    cdef Call call
    expect_shape(atotals.ndim == 1, "totals (P,) is wanted")
    call.kernel = CLIP_FACTOR
    call.array[0], call.array[1] = atotals.data, _number(bound, "bound", False)
    call.array[2], call.array[3] = _number(norm, "norm", True), _number(factor, "factor", True)
    call.size[0] = atotals.size
    execute(&call)


def multiply(factor, x):
    """x *= factor."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(MULTIPLY, x, "x")
    ax = output(x, "x", &call)
    call.array[0], call.array[1] = _number(factor, "factor", False), ax.data
    call.size[0] = call.work = ax.size
    execute(&call)


def clamp(bound, x):
    """x = min(max(x, -bound), bound)."""
    cdef cnp.ndarray ax
    cdef Call call = new_call(CLAMP, x, "x")
    ax = output(x, "x", &call)
    call.array[0], call.array[1] = _number(bound, "bound", False), ax.data
    call.size[0] = ax.size
    call.work = 2.0 * ax.size
    execute(&call)


def ema(p, steps, decay, warmup, average):
    """average += (1 - d) (p - average)."""
    cdef cnp.ndarray ap, aaverage
    cdef Call call = new_call(EMA, p, "p")
    ap, aaverage = input(p, "p", &call), output(average, "average", &call)
    expect_shape(same_shape(ap, aaverage), "p and average of one shape are wanted")
    call.array[0], call.array[1], call.array[2] = ap.data, _steps(steps, False), aaverage.data
    call.scalar[0], call.scalar[1] = decay, bool(warmup)
    call.size[0] = ap.size
    call.work = 4.0 * ap.size
    execute(&call)


def advance(steps):
    """steps += 1."""
    cdef Call call
    call.kernel = ADVANCE
    call.array[0] = _steps(steps, True)
    execute(&call)


def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps, c2 = 1 - b2^steps in hyper = (lr, b1, b2, eps, wd, c1, c2, decoupled)."""
    cdef Call call
    cdef cnp.ndarray ahyper = expect(hyper, "hyper", cnp.NPY_DOUBLE, True)
    call.kernel = ADAM_CORRECTIONS
    call.array[0], call.array[1] = _steps(steps, False), _hyper(ahyper, 8)
    execute(&call)


cdef char *_steps(object steps, bint changed) except NULL:
    """The number of updates: int64, a single one."""
    cdef cnp.ndarray array = expect(steps, "steps", cnp.NPY_INT64, changed)
    expect_shape(array.ndim == 1 and array.shape[0] == 1, "steps (1,) is wanted")
    return array.data


cdef char *_number(object number, str name, bint changed) except NULL:
    """A float64, a single one."""
    cdef cnp.ndarray array = expect(number, name, cnp.NPY_DOUBLE, changed)
    expect_shape(array.ndim == 1 and array.shape[0] == 1, f"{name} (1,) is wanted")
    return array.data


cdef char *_hyper(object hyper, int count) except NULL:
    """The hyper-parameters: float64, `count` of them."""
    cdef cnp.ndarray array = expect(hyper, "hyper", cnp.NPY_DOUBLE, False)
    expect_shape(array.ndim == 1 and array.shape[0] == count, f"hyper ({count},) is wanted")
    return array.data
