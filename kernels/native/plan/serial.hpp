// What is done by one thread: checks, the sum over losses, counters. And the checks of a plan.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "plan/call.hpp"

namespace fastnn {

// Whether 0 <= index < limit for all of them.
inline bool in_range(const std::int64_t *index, std::int64_t count, std::int64_t limit) {
    std::uint64_t largest = 0;  // a negative index becomes a huge unsigned one
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint64_t value = std::uint64_t(index[i]);
        largest = value > largest ? value : largest;
    }
    return count == 0 || largest < std::uint64_t(limit);
}

// Whether a check lets the step go on.
// CHECK_INDEX: index (size0,), each in [0, size1).  CHECK_ZERO: count (1,).  CHECK_FINITE: loss (1,) double.
inline bool passes(const Call &call) {
    switch (call.kernel) {
        case CHECK_INDEX: return in_range(call.in<std::int64_t>(0), call.size[0], call.size[1]);
        case CHECK_ZERO: return *call.in<std::int64_t>(0) == 0;
        case CHECK_FINITE: return std::isfinite(*call.in<double>(0));
        default: return true;
    }
}

// factors = (divisor, 1 / divisor), divisor = sum_m weight[label_m], nan for 0: the mean of nothing.
// weight (C,), label (M,) -> factors (2,) double; labels are in range
template <class T> void label_divisor(const Call &call, int part, int) {
    if (part != 0) return;
    double divisor = 0;
    for (std::int64_t m = 0; m < call.size[0]; ++m) divisor += call.in<T>(0)[call.in<std::int64_t>(1)[m]];
    if (divisor == 0) divisor = std::numeric_limits<double>::quiet_NaN();
    call.out<double>(2)[0] = divisor;
    call.out<double>(2)[1] = 1 / divisor;
}

// loss = sum of losses / divisor, in double and in an order that depends on their number alone: eight sums,
// of every eighth each, then theirs. (One sum waits for every addition: binary cross-entropy of 100,000
// logits took 218 us, with eight 92.)  losses (size0,), loss (1,) double; the divisor is in factors, if there
// are any, else scalar[0]
template <class T> void reduce_loss(const Call &call, int part, int) {
    if (part != 0) return;
    constexpr int SUMS = 8;
    const T *losses = call.in<T>(0);
    double sums[SUMS] = {}, total = 0;
    std::int64_t i = 0;
    for (; i + SUMS <= call.size[0]; i += SUMS)
        for (int lane = 0; lane < SUMS; ++lane) sums[lane] += losses[i + lane];
    for (int lane = 0; i < call.size[0]; ++i, ++lane) sums[lane] += losses[i];
    for (const double sum : sums) total += sum;
    *call.out<double>(1) = total / (call.in<double>(2) ? *call.in<double>(2) : call.scalar[0]);
}

// The index of the first largest value, or of the first nan.
template <class T> inline std::int64_t first_largest(const T *y, std::int64_t C) {
    std::int64_t best = 0;
    for (std::int64_t c = 1; c < C && y[best] == y[best]; ++c)
        if (!(y[c] <= y[best])) best = c;
    return best;
}

// count += number of rows m whose largest output y_mc is at c = label_m, or where target_mc is largest.
// y (M, C), label (M,) or null, target (M, C) or null, count (1,)
template <class T> void count_correct(const Call &call, int part, int) {
    if (part != 0) return;
    const std::int64_t C = call.size[1];
    std::int64_t correct = 0;
    for (std::int64_t m = 0; m < call.size[0]; ++m) {
        const T *target = call.in<T>(2);
        const std::int64_t wanted = target ? first_largest(target + m * C, C) : call.in<std::int64_t>(1)[m];
        correct += first_largest(call.in<T>(0) + m * C, C) == wanted;
    }
    *call.out<std::int64_t>(3) += correct;
}

// count += number of elements where the logit y says what the target does: y > 0 and target > 1/2, or
// neither. y, target (size0,), count (1,)
template <class T> void count_correct_binary(const Call &call, int part, int) {
    if (part != 0) return;
    const T *y = call.in<T>(0), *target = call.in<T>(1);
    std::int64_t correct = 0;
    for (std::int64_t e = 0; e < call.size[0]; ++e) correct += (y[e] > T(0)) == (target[e] > T(0.5));
    *call.out<std::int64_t>(2) += correct;
}

// steps += 1
inline void advance(const Call &call, int part, int) {
    if (part == 0) ++*call.out<std::int64_t>(0);
}

// c1 = 1 - b1^steps, c2 = 1 - b2^steps.  steps (1,) int64, hyper (lr, b1, b2, eps, wd, c1, c2, decoupled)
inline void adam_corrections(const Call &call, int part, int) {
    if (part != 0) return;
    const double steps = double(*call.in<std::int64_t>(0));
    double *const hyper = call.out<double>(1);
    hyper[5] = 1 - std::pow(hyper[1], steps);
    hyper[6] = 1 - std::pow(hyper[2], steps);
}

}  // namespace fastnn
