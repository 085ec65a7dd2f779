// Losses with their gradients in one pass over the outputs.
// scalar[0] is the label smoothing. The factor on the gradient (1 / divisor for the mean) is in memory where it
// depends on the labels (array 5: factors), else scalar[1].
#pragma once

#include "act.hpp"
#include "call.hpp"
#include "vmath.hpp"

namespace fastnn {

// One row: loss = -sum_c w_c t_c log softmax(z)_c and, unless dz is null, its gradient times `scale`.
// target(c, n) is the vector of t_c, t_c+1, ...; weight may be null.
template <class T, class Target>
inline T cross_entropy_row(const T *z, std::int64_t C, Target target, const T *weight, T scale, T *dz) {
    if (C == 0) return 0;
    const T top = largest(z, C);
    const T sum = exponentials(z, C, top, dz);  // the gradient's place holds the exponentials meanwhile
    const T log_sum = log<T>(broadcast(sum))[0];
    const auto weighted_target = [=](std::int64_t c, int n) {
        return weight ? target(c, n) * load_n(weight + c, n) : target(c, n);
    };
    struct Sums {
        Vec<T> losses{}, targets{};
    };
    const auto [losses, targets] = accumulate<T>(0, C, Sums{}, [=](Sums sums, std::int64_t c, int n) -> Sums {
        const Vec<T> t = weighted_target(c, n);
        return {sums.losses - keep_first<T>(t * ((load_n(z + c, n) - top) - log_sum), n, T(0)),
                sums.targets + keep_first<T>(t, n, T(0))};
    });
    if (dz) {
        const T factor = sum_lanes<T>(targets) / sum;
        for_vectors<T>(0, C, [=](std::int64_t c, int n) {
            store_n(dz + c, (load_n(dz + c, n) * factor - weighted_target(c, n)) * scale, n);
        });
    }
    return sum_lanes<T>(losses);
}

// The common case, a label without smoothing: loss = w_label (log sum_c exp(z_c) - z_label). The other
// classes' terms do not even count as 0, so that they may have the logit -inf.
template <class T>
inline T label_row(const T *z, std::int64_t C, std::int64_t label, const T *weight, T scale, T *dz) {
    const T top = largest(z, C);
    const T sum = exponentials(z, C, top, dz);
    const T own = weight ? weight[label] : T(1);
    if (dz) {
        const T factor = own * scale / sum;
        for_vectors<T>(0, C, [=](std::int64_t c, int n) { store_n(dz + c, load_n(dz + c, n) * factor, n); });
        dz[label] -= own * scale;
    }
    return own * (log<T>(broadcast(sum))[0] - (z[label] - top));
}

template <class T> inline T gradient_factor(const Call &call) {
    return T(call.in<double>(5) ? call.in<double>(5)[1] : call.scalar[1]);
}

// z (M, C), label (M,), weight (C,) or null -> losses (M,), dz (M, C) or null; labels are in range
template <class T> void cross_entropy_labels(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T smoothing = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T other = C ? smoothing / T(C) : T(0), hit = other + (T(1) - smoothing);
    const T *weight = call.in<T>(2);
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *z = call.in<T>(0) + m * C;
        const std::int64_t label = call.in<std::int64_t>(1)[m];
        T *dz = call.out<T>(4) ? call.out<T>(4) + m * C : nullptr;
        const auto target = [=](std::int64_t c, int) {
            return select<T>(lane_numbers<T>() == int(label - c), broadcast(hit), broadcast(other));
        };
        call.out<T>(3)[m] = smoothing != 0 ? cross_entropy_row(z, C, target, weight, scale, dz)
                                           : label_row(z, C, label, weight, scale, dz);
    }
}

// z (M, C), target (M, C), weight (C,) or null -> losses (M,), dz (M, C) or null
template <class T> void cross_entropy_soft(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T smoothing = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T other = C ? smoothing / T(C) : T(0), kept = T(1) - smoothing;
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *row = call.in<T>(1) + m * C;
        const auto target = [=](std::int64_t c, int n) { return load_n(row + c, n) * kept + other; };
        T *dz = call.out<T>(4) ? call.out<T>(4) + m * C : nullptr;
        call.out<T>(3)[m] = cross_entropy_row(call.in<T>(0) + m * C, C, target, call.in<T>(2), scale, dz);
    }
}

// losses = (y - target)^2 / 2 and dy = (y - target) scale, elementwise; dy may be null
template <class T> void squared_error(const Call &call, int part, int parts) {
    const T *y = call.in<T>(0), *target = call.in<T>(1);
    T *losses = call.out<T>(2), *dy = call.out<T>(3);
    const T scale = gradient_factor<T>(call);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const Vec<T> difference = load_n(y + e, n) - load_n(target + e, n);
        store_n(losses + e, T(0.5) * (difference * difference), n);
        if (dy) store_n(dy + e, difference * scale, n);
    });
}

}  // namespace fastnn
