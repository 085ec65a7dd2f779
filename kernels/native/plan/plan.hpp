// A plan: the calls of one training step, run repeatedly without Python.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "plan/call.hpp"
#include "plan/change.hpp"
#include "plan/serial.hpp"
#include "plan/thread_choice.hpp"

namespace fastnn {

// Why a run of a plan ended.
enum Outcome : int { RAN, CHECK_FAILED, CALLBACK_FAILED, OUT_OF_MEMORY };

// Runs a kernel; false if there is no scratch memory for it.
using RunCall = bool (*)(Call *call);
// Calls the Python function number `index`; false if it raised.
using Callback = bool (*)(void *object, int index);

// An array that the caller provides for each run. Its data lies `stride` bytes further from step to step.
struct InputBuffer {
    struct Place {
        std::size_t call;
        int operand;
    };
    std::vector<Place> places;  // the operands that are this array
    char *data = nullptr;
    std::int64_t stride = 0;
};

// The learning rate that an update reads, and the factor by which it scales the rate of the step.
struct LearningRate {
    double *place, scale;
};

class Plan {
public:
    std::vector<Call> calls;
    std::vector<InputBuffer> inputs;
    std::vector<LearningRate> rates;
    const double *loss = nullptr;
    std::size_t failed = 0;  // the call that ended the last run early
    Callback callback = nullptr;
    void *object = nullptr;  // the first argument of callback
    WeightChange *change = nullptr;  // if not null, a run ends after a step that hardly changes the weights
    ThreadChoice choice;

    // Makes the array that begins at `data` an input buffer.
    void add_input(const void *data) {
        InputBuffer input;
        for (std::size_t i = 0; i < calls.size(); ++i)
            for (int j = 0; j < MAX_OPERANDS; ++j)
                if (data && calls[i].array[j] == data) input.places.push_back({i, j});
        inputs.push_back(input);
    }

    void bind(std::size_t input, char *data, std::int64_t stride) {
        inputs[input].data = data;
        inputs[input].stride = stride;
    }

    // Runs up to `steps` steps, and begins no further one after `seconds`. Returns the number of completed
    // steps; their losses are in `losses`. A failed step has changed nothing but buffers, provided that its
    // checks come before its first update.
    // `rate` (steps,), if not null, holds the learning rate of each step, which is written to all `rates`.
    // `times` (steps, calls), if not null, receives the seconds that each call took.
    // `run_alone`, if not null, runs calls on one thread, and does so for a step whenever that is faster.
    std::int64_t run(RunCall run_call, RunCall run_alone, std::int64_t steps, double *losses, double seconds,
                     const double *rate, double *times, Outcome &outcome) {
        const Clock::time_point begin = steps > 1 ? Clock::now() : Clock::time_point();
        outcome = RAN;
        for (std::int64_t step = 0; step < steps; ++step) {
            for (const InputBuffer &input : inputs)
                for (const InputBuffer::Place place : input.places)
                    calls[place.call].array[place.operand] = input.data + step * input.stride;
            if (rate)
                for (const LearningRate &written : rates) *written.place = rate[step] * written.scale;
            if (change) change->remember();
            const Clock::time_point start = choice.in_trial() ? Clock::now() : Clock::time_point();
            outcome = run_step(run_alone && choice.alone() ? run_alone : run_call,
                               times ? times + step * std::int64_t(calls.size()) : nullptr);
            if (outcome != RAN) return step;
            if (run_alone) choice.count(choice.in_trial() ? since(start) : 0);
            losses[step] = *loss;
            if (change && change->look()) return step + 1;
            if (step + 1 < steps && since(begin) > seconds) return step + 1;
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
            if (call.kernel == CALLBACK) {
                if (!callback(object, int(call.sizes<Elements>().count))) return undo(i, CALLBACK_FAILED);
            } else if (is_check(call.kernel)) {
                if (!passes(call)) return undo(i, CHECK_FAILED);
            } else if (!run_call(&call)) {
                return undo(i, OUT_OF_MEMORY);
            }
            if (times) times[i] = since(begin);
        }
        return RAN;
    }

    // Restores the random counters and the running statistics from before the step, of which `count` calls
    // have run. The last change is undone first, since two calls may have changed the same statistics.
    Outcome undo(std::size_t count, Outcome outcome) {
        failed = count;
        for (std::size_t i = count; i-- > 0;) {
            if (calls[i].kernel == RANDOM_NEXT) --random_counter(calls[i]);
            if (calls[i].kernel == RUNNING_MOMENTS) restore_running_moments(calls[i]);
        }
        return outcome;
    }

    static std::uint64_t &random_counter(const Call &call) {
        return call.out<std::uint64_t>(operands::RANDOM_NEXT::state)[1];
    }

    // running_mean, running_var (C,) = before (2, C)
    static void restore_running_moments(const Call &call) {
        using op = operands::RUNNING_MOMENTS;
        const std::size_t channels = std::size_t(call.sizes<MatrixSizes>().C);
        const std::size_t bytes = channels * (call.is_double ? sizeof(double) : sizeof(float));
        std::memcpy(call.array[op::running_mean], call.array[op::before], bytes);
        std::memcpy(call.array[op::running_var], call.in<char>(op::before) + bytes, bytes);
    }
};

}  // namespace fastnn
