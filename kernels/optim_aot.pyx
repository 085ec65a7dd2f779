# distutils: language = c++
"""Argument checks of the compiled optimizer updates (optim.hpp). optim_ref.py specifies the results."""

cimport numpy as cnp

from native cimport (
    Call, Elements, Execute, KernelId, executor, expect_one_element, expect_same_shape, floats, kernel_id,
    new_call, operand, shape_error,
)

cnp.import_array()

cdef Execute execute = executor()

cdef KernelId SGD = kernel_id("sgd")
cdef KernelId ADAM = kernel_id("adam")
cdef KernelId RMSPROP = kernel_id("rmsprop")
cdef KernelId SUM_SQUARES = kernel_id("sum_squares")
cdef KernelId CLIP_FACTOR = kernel_id("clip_factor")
cdef KernelId MULTIPLY = kernel_id("multiply")
cdef KernelId CLAMP = kernel_id("clamp")
cdef KernelId HOLD = kernel_id("hold")
cdef KernelId EMA = kernel_id("ema")
cdef KernelId ADVANCE = kernel_id("advance")
cdef KernelId ADAM_CORRECTIONS = kernel_id("adam_corrections")


def sgd(g, hyper, v, p):
    """v = mu v + g', p -= lr v."""
    cdef Call call = new_call(SGD, g, "g")
    cdef cnp.ndarray ag = floats(&call, "g", g)
    _hyper(&call, hyper, 4)
    if v is not None:
        expect_same_shape("g", ag, "v", floats(&call, "v", v))
    expect_same_shape("g", ag, "p", floats(&call, "p", p))
    _run(&call, ag, 8.0)


def adam(g, hyper, m, v, p):
    """m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2, p -= lr/c1 m / (sqrt(v / c2) + eps)."""
    cdef Call call = new_call(ADAM, g, "g")
    cdef cnp.ndarray ag = floats(&call, "g", g)
    _hyper(&call, hyper, 8)
    expect_same_shape("g", ag, "m", floats(&call, "m", m))
    expect_same_shape("g", ag, "v", floats(&call, "v", v))
    expect_same_shape("g", ag, "p", floats(&call, "p", p))
    _run(&call, ag, 16.0)


def rmsprop(g, hyper, v, mean, buffer, p):
    """v = alpha v + (1 - alpha) g'^2, p -= lr g' / (sqrt(v) + eps)."""
    cdef Call call = new_call(RMSPROP, g, "g")
    cdef cnp.ndarray ag = floats(&call, "g", g)
    _hyper(&call, hyper, 5)
    expect_same_shape("g", ag, "v", floats(&call, "v", v))
    if mean is not None:
        expect_same_shape("g", ag, "mean", floats(&call, "mean", mean))
    if buffer is not None:
        expect_same_shape("g", ag, "buffer", floats(&call, "buffer", buffer))
    expect_same_shape("g", ag, "p", floats(&call, "p", p))
    _run(&call, ag, 16.0)


def sum_squares(g, total):
    """total = sum of g_e^2, in double."""
    cdef Call call = new_call(SUM_SQUARES, g, "g")
    cdef cnp.ndarray ag = floats(&call, "g", g)
    _double(&call, "total", total)
    _run(&call, ag, 2.0)


def clip_factor(totals, bound, norm, factor):
    """norm = sqrt(sum of totals), factor = min(1, bound / (norm + 1e-6))."""
    cdef Call call
    cdef cnp.ndarray atotals
    call.kernel = CLIP_FACTOR
    atotals = operand(&call, "totals", totals, cnp.NPY_DOUBLE)
    if atotals.ndim != 1:
        raise shape_error("totals (P,)", {"totals": totals})
    _double(&call, "bound", bound)
    _double(&call, "norm", norm)
    _double(&call, "factor", factor)
    _run(&call, atotals, 0.0)


def multiply(factor, x):
    """x *= factor."""
    cdef Call call = new_call(MULTIPLY, x, "x")
    cdef cnp.ndarray ax = floats(&call, "x", x)
    _double(&call, "factor", factor)
    _run(&call, ax, 1.0)


def clamp(bound, x):
    """x = min(max(x, -bound), bound)."""
    cdef Call call = new_call(CLAMP, x, "x")
    cdef cnp.ndarray ax = floats(&call, "x", x)
    _double(&call, "bound", bound)
    _run(&call, ax, 2.0)


def hold(mask, source, x):
    """x = source where mask == 0."""
    cdef Call call = new_call(HOLD, mask, "mask")
    cdef cnp.ndarray amask = floats(&call, "mask", mask)
    if source is not None:
        expect_same_shape("mask", amask, "source", floats(&call, "source", source))
    expect_same_shape("mask", amask, "x", floats(&call, "x", x))
    _run(&call, amask, 3.0)


def ema(p, steps, decay, warmup, average):
    """average += (1 - d) (p - average)."""
    cdef Call call = new_call(EMA, p, "p")
    cdef cnp.ndarray ap = floats(&call, "p", p)
    expect_same_shape("p", ap, "average", floats(&call, "average", average))
    expect_one_element("steps", operand(&call, "steps", steps, cnp.NPY_INT64))
    call.scalar[0], call.scalar[1] = decay, bool(warmup)
    _run(&call, ap, 4.0)


def advance(steps):
    """steps += 1."""
    cdef Call call
    call.kernel = ADVANCE
    expect_one_element("steps", operand(&call, "steps", steps, cnp.NPY_INT64))
    execute(&call)


def adam_corrections(steps, hyper):
    """c1 = 1 - b1^steps, c2 = 1 - b2^steps in hyper = (lr, b1, b2, eps, wd, c1, c2, decoupled)."""
    cdef Call call
    call.kernel = ADAM_CORRECTIONS
    expect_one_element("steps", operand(&call, "steps", steps, cnp.NPY_INT64))
    _hyper(&call, hyper, 8)
    execute(&call)


cdef int _double(Call *call, const char *name, object number) except -1:
    """Make an array of one float64 an operand."""
    return expect_one_element(name, operand(call, name, number, cnp.NPY_DOUBLE))


cdef int _hyper(Call *call, object hyper, int count) except -1:
    """Make the hyper-parameters, `count` float64, an operand."""
    cdef cnp.ndarray array = operand(call, "hyper", hyper, cnp.NPY_DOUBLE)
    if array.ndim != 1 or array.shape[0] != count:
        raise shape_error(f"hyper ({count},)", {"hyper": hyper})
    return 0


cdef int _run(Call *call, cnp.ndarray like, double cost) except -1:
    call.set_sizes(Elements(like.size))
    call.work = cost * like.size
    return execute(call)
