// Decides whether the steps of a plan run on all threads or on one.
//
// A small step may lose by several threads: where cores do not share a cache, or other programs use them. On
// a virtual machine this changes from one second to the next. A step of 30-64-64-1 with a batch of 128 takes
// 46 us on one thread of a Zen 4, 32 us on two, and 68 us on two while the cores are far apart. Only a trial
// tells. So a plan times some of its steps in both ways, keeps to the faster one, and tries again after twice
// as many steps as the last time, or sooner if the answer was another one. No bit depends on it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace fastnn {

// The work of the longest step that is tried, as estimated in FLOP (call.work). Longer ones gain by several
// threads even on distant cores, and a trial on one thread would take long.
constexpr double MOST_WORK_TO_TRY = 3e7;

class ThreadChoice {
public:
    // Whether the next step runs on one thread.
    bool alone() const { return in_trial() ? trial_ >= STEPS : alone_; }

    // Whether the next step belongs to a trial, so that count() must know its time.
    bool in_trial() const { return trial_ < 2 * STEPS; }

    // How many of the next `steps` steps are alike: all of them run on one thread, or none.
    std::int64_t alike(std::int64_t steps) const {
        return std::min<std::int64_t>(steps, !in_trial() ? left_ : (alone() ? 2 * STEPS : STEPS) - trial_);
    }

    // To be called after each step, with its time if it belonged to a trial.
    void count(double seconds) {
        if (!in_trial()) {
            if (--left_ == 0) begin_trial();
            return;
        }
        double &least = least_[alone()];
        if (trial_ % STEPS >= UNCOUNTED) least = std::min(least, seconds);
        if (++trial_ == 2 * STEPS) decide();
    }

private:
    // Steps of a trial in each way, and those that are not timed: they wake the other threads, and move data
    // between the cores.
    static constexpr int STEPS = 6, UNCOUNTED = 3;
    // Steps before the first trial, and the fewest and the most between two.
    static constexpr std::int64_t BEFORE = 32, FEWEST = 1000, MOST = 16000;
    // Several threads are worth it if they take at most this share of the time of one.
    static constexpr double WORTH = 0.95;

    bool alone_ = false;
    int trial_ = 2 * STEPS;  // the next step of the trial
    std::int64_t left_ = BEFORE, kept_ = FEWEST;
    double least_[2] = {};  // seconds of a step, together and alone

    void begin_trial() {
        trial_ = 0;
        least_[0] = least_[1] = std::numeric_limits<double>::infinity();
    }

    void decide() {
        const bool before = alone_;
        alone_ = least_[0] > WORTH * least_[1];
        kept_ = alone_ == before ? std::min(2 * kept_, MOST) : FEWEST;
        left_ = kept_;
    }
};

}  // namespace fastnn
