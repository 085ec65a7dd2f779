// A plan: the calls of one training step, run again and again without Python.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "plan/call.hpp"
#include "plan/serial.hpp"

namespace fastnn {

// Why a run of a plan ended.
enum Outcome : int { RAN, CHECK_FAILED, CALL_BACK_FAILED, OUT_OF_MEMORY };

// Runs a kernel; false if there is no scratch memory for it.
using RunCall = bool (*)(Call *call);
// Calls the Python function number `index`; false if it raised.
using CallBack = bool (*)(void *object, int index);

// An array that may lie elsewhere from run to run, and `stride` bytes further from step to step.
struct Slot {
    struct Place {
        std::size_t call;
        int array;
    };
    std::vector<Place> places;
    char *data = nullptr;
    std::int64_t stride = 0;
};

class Plan {
public:
    std::vector<Call> calls;
    std::vector<Slot> slots;
    const double *loss = nullptr;
    std::size_t failed = 0;  // the call that ended the last run before its time
    CallBack call_back = nullptr;
    void *object = nullptr;

    // Declares the array that begins at `data` a slot.
    void add_slot(const void *data) {
        Slot slot;
        for (std::size_t i = 0; i < calls.size(); ++i)
            for (int j = 0; j < MOST_ARRAYS; ++j)
                if (data && calls[i].array[j] == data) slot.places.push_back({i, j});
        slots.push_back(slot);
    }

    // Where the learning rate stands that an update reads, and the factor on it.
    struct Rate {
        double *place, scale;
    };
    std::vector<Rate> rates;

    void bind(std::size_t slot, char *data, std::int64_t stride) {
        slots[slot].data = data;
        slots[slot].stride = stride;
    }

    // Up to `steps` steps, for as long as `seconds` have not passed; returns how many were completed, their
    // losses in `losses`. A step that fails has changed nothing but buffers, if its checks stand before its
    // first update.
    // With `rate` (steps,) each step has its learning rate, which is written to all `rates`. With `times`
    // (steps, calls) the seconds that each call took are written there.
    std::int64_t run(RunCall run_call, std::int64_t steps, double *losses, double seconds, const double *rate,
                     double *times, Outcome &outcome) {
        const Clock::time_point begin = Clock::now();
        outcome = RAN;
        for (std::int64_t step = 0; step < steps; ++step) {
            for (const Slot &slot : slots)
                for (const Slot::Place place : slot.places)
                    calls[place.call].array[place.array] = slot.data + step * slot.stride;
            if (rate)
                for (const Rate &written : rates) *written.place = rate[step] * written.scale;
            outcome = run_step(run_call, times ? times + step * std::int64_t(calls.size()) : nullptr);
            if (outcome != RAN) return step;
            losses[step] = *loss;
            if (since(begin) > seconds) return step + 1;
        }
        return steps;
    }

private:
    using Clock = std::chrono::steady_clock;

    static double since(Clock::time_point begin) {
        return std::chrono::duration<double>(Clock::now() - begin).count();
    }

    Outcome run_step(RunCall run_call, double *times) {
        for (std::size_t i = 0; i < calls.size(); ++i) {
            Call &call = calls[i];
            const Clock::time_point begin = times ? Clock::now() : Clock::time_point();
            if (call.kernel == CALL_BACK) {
                if (!call_back(object, int(call.size[0]))) return undo(i, CALL_BACK_FAILED);
            } else if (call.kernel == CHECK_INDEX || call.kernel == CHECK_ZERO ||
                       call.kernel == CHECK_FINITE) {
                if (!passes(call)) return undo(i, CHECK_FAILED);
            } else if (!run_call(&call)) {
                return undo(i, OUT_OF_MEMORY);
            }
            if (times) times[i] = since(begin);
        }
        return RAN;
    }

    // Takes random counters and running moments back to where they were before the step, of which `count`
    // calls were run; the last change first, since two calls may have changed the same moments.
    Outcome undo(std::size_t count, Outcome outcome) {
        failed = count;
        for (std::size_t i = count; i-- > 0;) {
            if (calls[i].kernel == RANDOM_NEXT) --calls[i].out<std::uint64_t>(0)[1];
            if (calls[i].kernel == RUNNING_MOMENTS) put_moments_back(calls[i]);
        }
        return outcome;
    }

    // running_mean, running_var (C,) = before (2, C)
    static void put_moments_back(const Call &call) {
        const std::size_t bytes =
            std::size_t(call.size[1]) * (call.is_double ? sizeof(double) : sizeof(float));
        std::memcpy(call.array[2], call.array[4], bytes);
        std::memcpy(call.array[3], call.in<char>(4) + bytes, bytes);
    }
};

}  // namespace fastnn
