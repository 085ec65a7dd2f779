// Losses with their gradients, computed in one pass over the outputs. scalar[0] is the label smoothing. The
// factor of the gradient (1 / divisor for a mean) is read from the operand `factors` if it depends on the
// labels, otherwise it is scalar[1].
#pragma once

#include <algorithm>
#include <limits>

#include "families/act.hpp"
#include "plan/call.hpp"
#include "simd/vmath.hpp"

namespace fastnn {

// One row: loss = -sum_c w_c t_c log softmax(z)_c and, unless dz is null, its gradient times `scale`.
// target(c, n) is the vector of t_c, t_c+1, ...; weight may be null.
template <class T, class Target>
inline T cross_entropy_row(const T *z, std::int64_t C, Target target, const T *weight, T scale, T *dz) {
    if (C == 0) return 0;
    const T top = largest(z, C);
    const T sum = exponentials(z, C, top, dz);  // dz temporarily holds the exponentials
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

// The common case, a label without smoothing: loss = w_label (log sum_c exp(z_c) - z_label). The terms of
// other classes are never computed, so these classes may have the logit -inf.
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

// Rows of up to this many vectors of classes are processed in groups of LANES rows.
constexpr int SHORT_VECTORS = 2;

// What the losses of a group of rows are computed from. The same as `label_row`, but the exponentials stay in
// registers, because a masked load waits for a masked store to the same place, and the logarithms of the group
// are computed together (200 rows of ten classes on Zen 4: 6.1 -> 2.9 us).
template <class T> struct LabelTerms {
    T sum[LANES<T>], gap[LANES<T>], own[LANES<T>];

    // own (log sum - gap) of each row.
    Vec<T> losses() const { return load(own) * (log<T>(load(sum)) - load(gap)); }

    // Adds a row of C classes in VECTORS vectors, and computes its gradient dz.
    template <int VECTORS>
    void add(int row, const T *z, std::int64_t C, std::int64_t label, const T *weight, T scale, T *dz) {
        constexpr std::int64_t LAST = (VECTORS - 1) * LANES<T>;
        const T top = largest(z, C);
        Vec<T> e[VECTORS], sums{};
        for (int j = 0; j < VECTORS; ++j) {
            const int n = j < VECTORS - 1 ? LANES<T> : int(C - LAST);
            e[j] = exp<T>(load_n(z + j * LANES<T>, n) - top);
            sums += keep_first<T>(e[j], n, T(0));
        }
        sum[row] = sum_lanes<T>(sums);
        gap[row] = z[label] - top;
        own[row] = weight ? weight[label] : T(1);
        const T factor = own[row] * scale / sum[row];
        for (int j = 0; j < VECTORS; ++j) {
            const auto is_label = lane_numbers<T>() == int(label - j * LANES<T>);
            const Vec<T> hit = select<T>(is_label, broadcast(own[row] * scale), Vec<T>{});
            store_n(dz + j * LANES<T>, e[j] * factor - hit, j < VECTORS - 1 ? LANES<T> : int(C - LAST));
        }
    }
    // Adds a row without a class, whose loss is 0 or nan.
    void add_constant(int row, T loss) { sum[row] = 1, gap[row] = 0, own[row] = loss; }
};

// The label of row m: in [0, C), C for a row to ignore, or -1 if it is out of range.
inline std::int64_t label_of(const Call &call, std::int64_t m) {
    return index_at(call.in<std::int64_t>(operands::CROSS_ENTROPY_LABELS::label), m,
                    call.sizes<LabelSizes>().labels);
}

// Whether a row has no class: its loss and gradient are 0 if it is to be ignored, and nan if its label is out
// of range, so that the step is seen to fail.
template <class T> inline bool has_no_class(std::int64_t label, std::int64_t C, T &loss, T *dz) {
    if (0 <= label && label < C) return false;
    loss = label < 0 ? std::numeric_limits<T>::quiet_NaN() : T(0);
    if (dz) std::fill_n(dz, C, loss);
    return true;
}

template <class T> inline T gradient_factor(const Call &call) {
    const double *const factors = call.in<double>(operands::CROSS_ENTROPY_LABELS::factors);
    return T(factors ? factors[1] : call.scalar[1]);
}

// cross_entropy_labels for rows of at most SHORT_VECTORS vectors, without smoothing, with gradient.
template <class T> void short_cross_entropy_labels(const Call &call, Range rows) {
    using op = operands::CROSS_ENTROPY_LABELS;
    const std::int64_t C = call.sizes<LabelSizes>().C;
    const T scale = gradient_factor<T>(call), *weight = call.in<T>(op::weight);
    for_vectors<T>(rows.begin, rows.end, [=, &call](std::int64_t begin, int n) {
        LabelTerms<T> terms{};
        for (int row = 0; row < n; ++row) {
            const std::int64_t m = begin + row, label = label_of(call, m);
            const T *z = call.in<T>(op::z) + m * C;
            T *dz = call.out<T>(op::dz) + m * C, constant;
            if (has_no_class(label, C, constant, dz))
                terms.add_constant(row, constant);
            else if (C <= LANES<T>)
                terms.template add<1>(row, z, C, label, weight, scale, dz);
            else
                terms.template add<2>(row, z, C, label, weight, scale, dz);
        }
        store_n(call.out<T>(op::losses) + begin, terms.losses(), n);
    });
}

// z (M, C), label (M,), weight (C,) or (C + 1,) or null -> losses (M,), dz (M, C) or null
template <class T> void cross_entropy_labels(const Call &call, int part, int parts) {
    using op = operands::CROSS_ENTROPY_LABELS;
    const std::int64_t C = call.sizes<LabelSizes>().C;
    const T smoothing = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T other = C ? smoothing / T(C) : T(0), hit = other + (T(1) - smoothing);
    const T *weight = call.in<T>(op::weight);
    const Range rows = share(call.sizes<LabelSizes>().M, part, parts);
    if (smoothing == 0 && C <= SHORT_VECTORS * LANES<T> && call.out<T>(op::dz))
        return short_cross_entropy_labels<T>(call, rows);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *z = call.in<T>(op::z) + m * C;
        const std::int64_t label = label_of(call, m);
        T &loss = call.out<T>(op::losses)[m];
        T *dz = call.out<T>(op::dz) ? call.out<T>(op::dz) + m * C : nullptr;
        if (has_no_class(label, C, loss, dz)) continue;
        const auto target = [=](std::int64_t c, int) {
            return select<T>(lane_numbers<T>() == int(label - c), broadcast(hit), broadcast(other));
        };
        loss = smoothing != 0 ? cross_entropy_row(z, C, target, weight, scale, dz)
                              : label_row(z, C, label, weight, scale, dz);
    }
}

// z (M, C), target (M, C), weight (C,) or null -> losses (M,), dz (M, C) or null
template <class T> void cross_entropy_soft(const Call &call, int part, int parts) {
    using op = operands::CROSS_ENTROPY_SOFT;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const T smoothing = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T other = C ? smoothing / T(C) : T(0), kept = T(1) - smoothing;
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *row = call.in<T>(op::target) + m * C;
        const auto target = [=](std::int64_t c, int n) { return load_n(row + c, n) * kept + other; };
        T *dz = call.out<T>(op::dz) ? call.out<T>(op::dz) + m * C : nullptr;
        call.out<T>(op::losses)[m] =
            cross_entropy_row(call.in<T>(op::z) + m * C, C, target, call.in<T>(op::weight), scale, dz);
    }
}

// losses_m *= s_m and dz_m *= s_m / divisor.
// sample_weight s (M,), factors (divisor, 1 / divisor) or null for 1 -> losses (M, L), dz (M, D) or null
template <class T> void weigh_loss(const Call &call, int part, int parts) {
    using op = operands::WEIGH_LOSS;
    const auto [M, L, D] = call.sizes<WeighSizes>();
    const double *const factors = call.in<double>(op::factors);
    const auto scale = [](T *x, std::int64_t count, T by) {
        for_vectors<T>(0, count, [=](std::int64_t e, int n) { store_n(x + e, load_n(x + e, n) * by, n); });
    };
    const Range rows = share(M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T own = call.in<T>(op::sample_weight)[m];
        scale(call.out<T>(op::losses) + m * L, L, own);
        if (T *const dz = call.out<T>(op::dz)) scale(dz + m * D, D, factors ? T(own * factors[1]) : own);
    }
}

// Focal loss of one class with nll = -log p: w t q^gamma nll with q = 1 - p, and
// g = w t q^gamma (-gamma p nll / q - 1), from which dz_k = g - p_k (sum of all g). The quotient
// nll / q counts as 1 where q is 0, so g is finite for every gamma.
template <class T> struct Focal {
    Vec<T> loss, g;
};

template <class T> inline Focal<T> focal_of(Vec<T> nll, Vec<T> target, T gamma) {
    const Vec<T> zero{}, one = broadcast<T>(1);
    const Vec<T> minus_q = expm1_of_negative<T>(-nll), p = one + minus_q;
    const Vec<T> factor = gamma == 0 ? one : exp<T>(log<T>(-minus_q) * gamma);
    const Vec<T> ratio = select<T>(minus_q == zero, one, nll / -minus_q);
    const Vec<T> slope = select<T>(p == zero, zero, gamma * p * ratio);  // not 0 * infinity
    const Vec<T> weighted = target * factor;
    return {select<T>(weighted == zero, zero, weighted * nll), -weighted * (slope + one)};
}

// z (M, C), label (M,), weight (C,) or (C + 1,) or null; scalar[0] is gamma -> losses (M,), dz (M, C) or null
template <class T> void focal_labels(const Call &call, int part, int parts) {
    using op = operands::FOCAL_LABELS;
    const std::int64_t C = call.sizes<LabelSizes>().C;
    const T gamma = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T *weight = call.in<T>(op::weight);
    const Range rows = share(call.sizes<LabelSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *z = call.in<T>(op::z) + m * C;
        T *dz = call.out<T>(op::dz) ? call.out<T>(op::dz) + m * C : nullptr;
        const std::int64_t label = label_of(call, m);
        T &loss = call.out<T>(op::losses)[m];
        if (has_no_class(label, C, loss, dz)) continue;
        const T top = largest(z, C), sum = exponentials(z, C, top, dz);
        const T nll = log<T>(broadcast(sum))[0] - (z[label] - top);
        const Focal<T> found =
            focal_of<T>(broadcast(nll), broadcast(weight ? weight[label] : T(1)), gamma);
        loss = found.loss[0];
        if (!dz) continue;
        const T g = found.g[0] * scale, factor = -g / sum;
        for_vectors<T>(0, C, [=](std::int64_t c, int n) { store_n(dz + c, load_n(dz + c, n) * factor, n); });
        dz[label] += g;
    }
}

// z (M, C), target (M, C), weight (C,) or null; scalar[0] is gamma -> losses (M,), dz (M, C) or null
template <class T> void focal_soft(const Call &call, int part, int parts) {
    using op = operands::FOCAL_SOFT;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const T gamma = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T *weight = call.in<T>(op::weight);
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *z = call.in<T>(op::z) + m * C, *target = call.in<T>(op::target) + m * C;
        T *dz = call.out<T>(op::dz) ? call.out<T>(op::dz) + m * C : nullptr;
        const T top = C ? largest(z, C) : T(0), sum = exponentials(z, C, top, dz);
        const T log_sum = log<T>(broadcast(sum))[0];
        const auto focal = [=](std::int64_t c, int n) {
            const Vec<T> t = weight ? load_n(target + c, n) * load_n(weight + c, n) : load_n(target + c, n);
            return focal_of<T>(log_sum - (load_n(z + c, n) - top), t, gamma);
        };
        const Focal<T> sums =
            accumulate<T>(0, C, Focal<T>{}, [=](Focal<T> sums, std::int64_t c, int n) -> Focal<T> {
                const Focal<T> own = focal(c, n);
                return {sums.loss + keep_first<T>(own.loss, n, T(0)), sums.g + keep_first<T>(own.g, n, T(0))};
            });
        call.out<T>(op::losses)[m] = sum_lanes<T>(sums.loss);
        if (!dz) continue;
        const T factor = sum_lanes<T>(sums.g) / sum;
        for_vectors<T>(0, C, [=](std::int64_t c, int n) {
            store_n(dz + c, (focal(c, n).g - load_n(dz + c, n) * factor) * scale, n);
        });
    }
}

// The class other than `label` with the first NaN, or else the first largest score; -1 if there is none.
template <class T> inline std::int64_t rival_of(std::int64_t label, const T *z, std::int64_t C) {
    std::int64_t best = -1;
    for (std::int64_t c = 0; c < C; ++c)
        if (c != label && (best < 0 || (z[best] == z[best] && !(z[c] <= z[best])))) best = c;
    return best;
}

// losses_m = w_c max(0, margin + max_{k != c} z_mk - z_mc), c = label_m.
// z (M, C), label (M,), weight (C,) or (C + 1,) or null; scalar[0] is the margin -> losses (M,), dz (M, C) or null
template <class T> void hinge_labels(const Call &call, int part, int parts) {
    using op = operands::HINGE_LABELS;
    const std::int64_t C = call.sizes<LabelSizes>().C;
    const T margin = T(call.scalar[0]), scale = gradient_factor<T>(call);
    const T *weight = call.in<T>(op::weight);
    const Range rows = share(call.sizes<LabelSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *z = call.in<T>(op::z) + m * C;
        T *dz = call.out<T>(op::dz) ? call.out<T>(op::dz) + m * C : nullptr;
        const std::int64_t label = label_of(call, m);
        T &loss = call.out<T>(op::losses)[m];
        if (has_no_class(label, C, loss, dz)) continue;
        const std::int64_t rival = rival_of(label, z, C);
        const T gap = rival < 0 ? T(0) : margin + (z[rival] - z[label]);
        const T own = weight ? weight[label] : T(1);
        loss = gap <= 0 ? T(0) : own * gap;
        if (!dz) continue;
        std::fill_n(dz, C, T(0));
        if (gap <= 0) continue;
        dz[rival] = own * scale;
        dz[label] = -own * scale;
    }
}

// Sums for the dice loss: sum y t and sum (y + t), y = sigmoid(z), without the pixels whose target is negative.
template <class T> struct Overlap {
    Vec<T> both{}, total{};

    void add(Vec<T> z, Vec<T> target, int n) {
        const auto ignored = target < Vec<T>{};
        const Vec<T> y = select<T>(ignored, Vec<T>{}, keep_first<T>(sigmoid<T>(z), n, T(0)));
        const Vec<T> t = select<T>(ignored, Vec<T>{}, target);
        both += y * t;
        total += y + t;
    }
};

// The number of vectors to sum in T before the sum is added to a double, which limits the rounding error.
constexpr std::int64_t DICE_BLOCK = 16;  // vectors

// losses_mc = w_c (1 - (2 sum_s y t + smooth) / (sum_s (y + t) + smooth)), 0 / 0 = 1, over the s with t >= 0.
// z, target (M, S, C), weight (C,) or null; scalar[0] is smooth -> losses (M, C), dz (M, S, C) or null
template <class T> void dice(const Call &call, int part, int parts) {
    using op = operands::DICE;
    const DiceSizes size = call.sizes<DiceSizes>();
    const std::int64_t S = size.S, C = size.C;
    const T *weight = call.in<T>(op::weight);
    const double smooth = call.scalar[0];
    const T scale = gradient_factor<T>(call);
    // With a single class, vectors run along its pixels; with several, along the classes.
    const std::int64_t width = C == 1 ? 1 : LANES<T>, step = C == 1 ? LANES<T> : 1;
    const Range rows = share(size.M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m)
        for (std::int64_t c = 0; c < C; c += width) {
            const T *z = call.in<T>(op::z) + m * S * C + c, *target = call.in<T>(op::target) + m * S * C + c;
            const int classes = int(C - c < width ? C - c : width);
            double both[LANES<T>] = {}, total[LANES<T>] = {};
            for (std::int64_t begin = 0; begin < S; begin += DICE_BLOCK * step) {
                const std::int64_t end = S - begin < DICE_BLOCK * step ? S : begin + DICE_BLOCK * step;
                Overlap<T> sums;
                for (std::int64_t s = begin; s < end; s += step) {
                    const int n = C == 1 ? int(end - s < step ? end - s : step) : classes;
                    sums.add(load_n(z + s * C, n), load_n(target + s * C, n), n);
                }
                if (C == 1) {
                    both[0] += double(sum_lanes<T>(sums.both));
                    total[0] += double(sum_lanes<T>(sums.total));
                } else
                    for (int lane = 0; lane < classes; ++lane) {
                        both[lane] += double(sums.both[lane]);
                        total[lane] += double(sums.total[lane]);
                    }
            }
            // dz = y / below (1 - y) (of_y - of_t t), so that nothing overflows where all y are tiny.
            Vec<T> of_y{}, of_t{}, below = broadcast<T>(1);
            for (int lane = 0; lane < classes; ++lane) {
                const double sum = total[lane] + smooth, own = weight ? double(weight[c + lane]) : 1.0;
                const double ratio = sum == 0 ? 1 : (2 * both[lane] + smooth) / sum;
                call.out<T>(op::losses)[m * C + c + lane] = T(own * (1 - ratio));
                of_y[lane] = T(own * scale * ratio);
                of_t[lane] = T(own * scale * 2);
                if (T(sum) != 0) below[lane] = T(sum);
            }
            if (!call.out<T>(op::dz)) continue;
            T *dz = call.out<T>(op::dz) + m * S * C + c;
            if (C == 1) {
                of_y = broadcast<T>(of_y[0]);
                of_t = broadcast<T>(of_t[0]);
                below = broadcast<T>(below[0]);
            }
            for (std::int64_t s = 0; s < S; s += step) {
                const int n = C == 1 ? int(S - s < step ? S - s : step) : classes;
                const Vec<T> y = sigmoid<T>(load_n(z + s * C, n)), t = load_n(target + s * C, n);
                const Vec<T> slope = y / below * (T(1) - y) * (of_y - of_t * t);
                store_n(dz + s * C, select<T>(t < Vec<T>{}, Vec<T>{}, slope), n);
            }
        }
}

}  // namespace fastnn
