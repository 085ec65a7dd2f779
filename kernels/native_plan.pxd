"""What plan.pyx uses of plans in C++ (native/plan/plan.hpp, native/fusion/fusion.hpp)."""

from libc.stdint cimport int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

from native cimport Call

cdef extern from "plan/change.hpp" namespace "fastnn" nogil:
    cdef cppclass NativeChange "fastnn::WeightChange":
        double bound
        double norm
        cbool is_still
        void add(const void *weights, int64_t count, cbool is_double) except +
        void remember()
        cbool look()

cdef extern from "plan/thread_choice.hpp" namespace "fastnn" nogil:
    const double MOST_WORK_TO_TRY
    cppclass ThreadChoice:
        bint alone()
        int64_t alike(int64_t steps)

cdef extern from "plan/plan.hpp" namespace "fastnn" nogil:
    ctypedef enum Outcome:
        RAN
        CHECK_FAILED
        CALLBACK_FAILED
        OUT_OF_MEMORY

    ctypedef cbool (*RunCall)(Call *)
    ctypedef cbool (*Callback)(void *, int) noexcept

    ctypedef struct LearningRate:
        double *place
        double scale

    cdef cppclass NativePlan "fastnn::Plan":
        vector[Call] calls
        const double *loss
        size_t failed
        Callback callback
        void *object
        vector[LearningRate] rates
        NativeChange *change
        ThreadChoice choice
        void add_input(const void *data) except +
        void bind(size_t input, char *data, int64_t stride)
        int64_t run(
            RunCall run_call, RunCall run_alone, int64_t steps, double *losses, double seconds,
            const double *rate, double *times, Outcome &outcome
        )

cdef extern from "fusion/fusion.hpp" namespace "fastnn" nogil:
    void fuse(vector[Call] &calls, bint updates) except +
    int uses(const vector[Call] &calls, const void *data)
