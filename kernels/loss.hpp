// Losses with their gradients in one pass over the outputs.
// scalar[0] is the label smoothing, scalar[1] the factor on the gradient (1 / divisor for the mean).
#pragma once

#include <cmath>

#include "act.hpp"
#include "call.hpp"

namespace fastnn {

// One row: loss = -sum_c w_c t_c log softmax(z)_c and, unless dz is null, its gradient times `scale`.
// target(c) is t_c; weight may be null.
template <class T, class Target>
inline T cross_entropy_row(const T *z, std::int64_t C, Target target, const T *weight, T scale, T *dz) {
    if (C == 0) return 0;
    const T top = largest(z, C);
    T sum = 0;
    for (std::int64_t c = 0; c < C; ++c) sum += std::exp(z[c] - top);
    const T log_sum = std::log(sum);
    T loss = 0, mass = 0;
    for (std::int64_t c = 0; c < C; ++c) {
        const T wanted = weight ? target(c) * weight[c] : target(c);
        loss -= wanted * (z[c] - top - log_sum);
        mass += wanted;
    }
    if (dz) {
        const T per_sum = mass / sum;
        for (std::int64_t c = 0; c < C; ++c) {
            const T wanted = weight ? target(c) * weight[c] : target(c);
            dz[c] = (std::exp(z[c] - top) * per_sum - wanted) * scale;
        }
    }
    return loss;
}

// z (M, C), label (M,), weight (C,) or null -> losses (M,), dz (M, C) or null; labels are in range
template <class T> void cross_entropy_labels(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T smoothing = T(call.scalar[0]), scale = T(call.scalar[1]);
    const T other = C ? smoothing / T(C) : T(0), hit = other + (T(1) - smoothing);
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const std::int64_t label = call.in<std::int64_t>(1)[m];
        T *dz = call.out<T>(4);
        call.out<T>(3)[m] = cross_entropy_row(
            call.in<T>(0) + m * C, C, [=](std::int64_t c) { return c == label ? hit : other; }, call.in<T>(2),
            scale, dz ? dz + m * C : nullptr);
    }
}

// z (M, C), target (M, C), weight (C,) or null -> losses (M,), dz (M, C) or null
template <class T> void cross_entropy_soft(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T smoothing = T(call.scalar[0]), scale = T(call.scalar[1]);
    const T other = C ? smoothing / T(C) : T(0), kept = T(1) - smoothing;
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *target = call.in<T>(1) + m * C;
        T *dz = call.out<T>(4);
        call.out<T>(3)[m] = cross_entropy_row(
            call.in<T>(0) + m * C, C, [=](std::int64_t c) { return target[c] * kept + other; }, call.in<T>(2),
            scale, dz ? dz + m * C : nullptr);
    }
}

// losses = (y - target)^2 / 2 and dy = (y - target) scale, elementwise; dy may be null
template <class T> void squared_error(const Call &call, int part, int parts) {
    const T *y = call.in<T>(0), *target = call.in<T>(1);
    T *losses = call.out<T>(2), *dy = call.out<T>(3);
    const T scale = T(call.scalar[1]);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for (std::int64_t e = range.begin; e < range.end; ++e) {
        const T difference = y[e] - target[e];
        losses[e] = T(0.5) * (difference * difference);
        if (dy) dy[e] = difference * scale;
    }
}

}  // namespace fastnn
