// The checks of a plan, and the kernels that one thread runs: the sum of the losses, counters.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "plan/call.hpp"

namespace fastnn {

// Whether 0 <= index[i] < limit for all i.
inline bool in_range(const std::int64_t *index, std::int64_t count, std::int64_t limit) {
    std::uint64_t largest = 0;  // a negative index becomes a huge unsigned one
    for (std::int64_t i = 0; i < count; ++i) largest = std::max(largest, std::uint64_t(index[i]));
    return count == 0 || largest < std::uint64_t(limit);
}

// The same for indices that are stored as floats, which must be whole numbers.
template <class T> inline bool whole_in_range(const T *index, std::int64_t count, std::int64_t limit) {
    for (std::int64_t i = 0; i < count; ++i)
        if (index_at(index, i, limit) < 0) return false;
    return true;
}

// Whether a call only decides if the step goes on.
inline bool is_check(KernelId kernel) {
    return kernel == CHECK_INDEX || kernel == CHECK_WHOLE || kernel == CHECK_ZERO || kernel == CHECK_FINITE;
}

// Whether the step may go on after this check.
// CHECK_INDEX: index (count,), all in [0, limit). CHECK_WHOLE: the same for x (count,), floats. CHECK_ZERO:
// count (1,) int64. CHECK_FINITE: loss (1,).
inline bool passes(const Call &check) {
    switch (check.kernel) {
        case CHECK_INDEX: {
            const auto [count, limit] = check.sizes<IndexCheck>();
            return in_range(check.in<std::int64_t>(operands::CHECK_INDEX::index), count, limit);
        }
        case CHECK_WHOLE: {
            const auto [count, limit] = check.sizes<IndexCheck>();
            constexpr int x = operands::CHECK_WHOLE::x;
            return check.is_double ? whole_in_range(check.in<double>(x), count, limit)
                                   : whole_in_range(check.in<float>(x), count, limit);
        }
        case CHECK_ZERO: return *check.in<std::int64_t>(operands::CHECK_ZERO::count) == 0;
        case CHECK_FINITE: return std::isfinite(*check.in<double>(operands::CHECK_FINITE::loss));
        default: return true;
    }
}

// factors = (divisor, 1 / divisor), divisor = scalar[0] sum_m sample_weight_m weight[label_m]. A divisor of 0
// becomes NaN, the mean of nothing, or infinity if there are samples with weights, all 0: then loss and
// gradient are 0. The divisor of a label out of range is NaN.
// weight (C,) and label (M,), or both null, sample_weight (M,) or null -> factors (2,) double
template <class T> void label_divisor(const Call &call, int part, int) {
    using op = operands::LABEL_DIVISOR;
    if (part != 0) return;
    const T *const weight = call.in<T>(op::weight);
    const std::int64_t *const label = call.in<std::int64_t>(op::label);
    const T *const sample_weight = call.in<T>(op::sample_weight);
    const auto [M, C] = call.sizes<MatrixSizes>();
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    double divisor = 0;
    for (std::int64_t m = 0; m < M; ++m) {
        const std::int64_t c = label ? index_at(label, m, C) : 0;
        const double own = c < 0 ? nan : label ? double(weight[c]) : 1;
        divisor += sample_weight ? own * sample_weight[m] : own;
    }
    if (divisor == 0 && sample_weight && M) divisor = std::numeric_limits<double>::infinity();
    divisor *= call.scalar[0];
    if (divisor == 0) divisor = nan;
    double *const factors = call.out<double>(op::factors);
    factors[0] = divisor;
    factors[1] = 1 / divisor;
}

// loss = sum of losses / divisor. The sum is made in double and in an order that depends on the number of
// losses alone: eight sums, each of every eighth loss, then the sum of these. (A single sum waits for every
// addition: binary cross-entropy of 100,000 logits took 218 us, with eight sums 92.)
// losses (count,), factors (divisor, 1 / divisor) or null -> loss (1,) double. Without factors the divisor is
// scalar[0].
template <class T> void reduce_loss(const Call &call, int part, int) {
    using op = operands::REDUCE_LOSS;
    if (part != 0) return;
    constexpr int SUMS = 8;
    const std::int64_t count = call.sizes<Elements>().count;
    const T *const losses = call.in<T>(op::losses);
    const double *const factors = call.in<double>(op::factors);
    double sums[SUMS] = {}, total = 0;
    std::int64_t i = 0;
    for (; i + SUMS <= count; i += SUMS)
        for (int lane = 0; lane < SUMS; ++lane) sums[lane] += losses[i + lane];
    for (int lane = 0; i < count; ++i, ++lane) sums[lane] += losses[i];
    for (const double sum : sums) total += sum;
    *call.out<double>(op::loss) = total / (factors ? factors[0] : call.scalar[0]);
}

// The index of the first largest value, or of the first NaN.
template <class T> inline std::int64_t first_largest(const T *y, std::int64_t C) {
    std::int64_t best = 0;
    for (std::int64_t c = 1; c < C && y[best] == y[best]; ++c)
        if (!(y[c] <= y[best])) best = c;
    return best;
}

// count += number of rows m whose largest output y_mc is at c = label_m, or where target_mc is largest.
// y (M, C), label (M,) or null, target (M, C) or null -> count (1,)
template <class T> void count_correct(const Call &call, int part, int) {
    using op = operands::COUNT_CORRECT;
    if (part != 0) return;
    const auto [M, C] = call.sizes<MatrixSizes>();
    const T *const y = call.in<T>(op::y), *const target = call.in<T>(op::target);
    const std::int64_t *const label = call.in<std::int64_t>(op::label);
    std::int64_t correct = 0;
    for (std::int64_t m = 0; m < M; ++m) {
        const std::int64_t expected = target ? first_largest(target + m * C, C) : label[m];
        correct += first_largest(y + m * C, C) == expected;
    }
    *call.out<std::int64_t>(op::count) += correct;
}

// count += number of elements whose logit y and target agree: y > 0 and target > 1/2, or neither. Those with a
// negative target do not count.
// y, target (count,) -> count (1,)
template <class T> void count_correct_binary(const Call &call, int part, int) {
    using op = operands::COUNT_CORRECT_BINARY;
    if (part != 0) return;
    const T *const y = call.in<T>(op::y), *const target = call.in<T>(op::target);
    std::int64_t correct = 0;
    for (std::int64_t e = 0; e < call.sizes<Elements>().count; ++e)
        correct += !(target[e] < T(0)) && (y[e] > T(0)) == (target[e] > T(0.5));
    *call.out<std::int64_t>(op::count) += correct;
}

// steps += 1
inline void advance(const Call &call, int part, int) {
    if (part == 0) ++*call.out<std::int64_t>(operands::ADVANCE::steps);
}

// c1 = 1 - b1^steps, c2 = 1 - b2^steps.  steps (1,) int64, hyper (lr, b1, b2, eps, wd, c1, c2, decoupled)
inline void adam_corrections(const Call &call, int part, int) {
    using op = operands::ADAM_CORRECTIONS;
    if (part != 0) return;
    const double steps = double(*call.in<std::int64_t>(op::steps));
    double *const hyper = call.out<double>(op::hyper);
    hyper[5] = 1 - std::pow(hyper[1], steps);
    hyper[6] = 1 - std::pow(hyper[2], steps);
}

}  // namespace fastnn
