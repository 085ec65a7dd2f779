# distutils: language = c++
"""Populations: plans of several small models, run at the same time (population.hpp)."""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from native cimport Call

from fastnn.kernels import core

cdef extern from "plan/population.hpp" namespace "fastnn" nogil:
    ctypedef struct Table:
        int lane_count[2]

    cdef cppclass NativePlan "fastnn::Plan":
        vector[Call] calls

    ctypedef struct Individual:
        const NativePlan *plan
        const int64_t *index
        const double *rates
        double *losses

    cbool have_lanes(const vector[Call] &calls)

    cdef cppclass NativePopulation "fastnn::Population":
        NativePopulation(const Table &table, vector[Individual] individuals)
        cbool prepare() except +
        int64_t run(int64_t steps, int64_t stride, double seconds)

cnp.import_array()

ctypedef const Table *(*Tables)() noexcept nogil
cdef Tables tables = <Tables> PyCapsule_GetPointer(core.tables, "fastnn.kernels.core.tables")


cdef NativePlan *native(plan) except NULL:
    return <NativePlan *> PyCapsule_GetPointer(plan.native(), "fastnn.kernels.plan.native")


def lanes(dtype):
    """Return how many models of `dtype`, float32 or float64, run at the same time."""
    return tables().lane_count[("float32", "float64").index(str(dtype))]


def likeness(plan):
    """Return the same number for plans of the same kernels with the same operands, sizes and settings.

    None if a kernel of the plan can only run for one model at a time.
    """
    cdef NativePlan *own = native(plan)
    cdef Call call
    if not have_lanes(own.calls):
        return None
    return hash(
        tuple(
            [
                (
                    *(call.kernel, call.is_double, call.activation, tuple(call.size), tuple(call.scalar)),
                    tuple([array != NULL for array in call.array]),  # which operands it has
                )
                for call in own.calls
            ]
        )
    )


def run_together(plans, indices, int64_t stride, losses, rates, double seconds):
    """Run steps of several plans at once, each in one lane of the vectors; same bits as `Plan.run`.

    `indices`, `losses` and `rates` hold what `Plan.run` takes, for each plan; rates are None without a
    schedule. Runs until the first `losses` are full or `seconds` have passed. A step in which a check of any
    plan fails ends the run, and has changed nothing. Returns the number of completed steps; None, without
    running anything, if the plans are not alike or are more than `lanes`.
    """
    cdef vector[Individual] individuals
    cdef Individual individual
    cdef cnp.ndarray index
    cdef double[::1] own
    cdef int64_t steps = min([len(each) for each in losses])
    cdef int64_t done
    if steps < 1:
        raise ValueError("losses must have room for at least one step")
    for plan, index, of_steps, of_rates in zip(plans, indices, losses, rates, strict=True):
        if len(index) < steps * stride or (of_rates is not None and len(of_rates) < steps):
            raise ValueError(f"{len(index)} indices, or the rates, do not suffice for {steps} steps")
        individual.plan = native(plan)
        individual.index = <const int64_t *> index.data
        own = of_steps
        individual.losses = &own[0]
        individual.rates = NULL
        if of_rates is not None:
            own = of_rates
            individual.rates = &own[0]
        individuals.push_back(individual)
    cdef NativePopulation *population = new NativePopulation(tables()[0], individuals)
    try:
        if not population.prepare():
            return None
        with nogil:
            done = population.run(steps, stride, seconds)
        return done
    finally:
        del population
