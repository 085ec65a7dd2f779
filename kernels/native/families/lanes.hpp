// Kernels for several models at once: lane i of each vector belongs to model i (plan/population.hpp).
//
// Element e of model i is at [e * LANES + i], so the shapes below are those of one model. Each lane computes
// what the kernel of the same name computes for its model, in the same order: a sum of products has one
// accumulator, which adds its terms in ascending order; where the other kernel adds up the lanes of a vector,
// the elements are added in the order of `fold`.
#pragma once

#include <limits>
#include <type_traits>

#include "families/lanes_dense.hpp"
#include "families/optim.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The formulas of the optimizers with hyper-parameters of each model: hyper is (4, LANES) or (8, LANES).
template <class T> struct LaneSgdRule : SgdRule<T, Vec<T>, IntVec<T>> {
    explicit LaneSgdRule(const double *hyper) {
        for (int lane = 0; lane < LANES<T>; ++lane) {
            double own[4];
            for (int i = 0; i < 4; ++i) own[i] = hyper[i * LANES<T> + lane];
            const SgdRule<T> rule(own);
            this->lr[lane] = rule.lr;
            this->momentum[lane] = rule.momentum;
            this->decay[lane] = rule.decay;
            this->nesterov[lane] = -int(rule.nesterov);
        }
    }
};
template <class T> struct LaneAdamRule : AdamRule<T, Vec<T>> {
    explicit LaneAdamRule(const double *hyper) {
        for (int lane = 0; lane < LANES<T>; ++lane) {
            double own[8];
            for (int i = 0; i < 8; ++i) own[i] = hyper[i * LANES<T> + lane];
            const AdamRule<T> rule(own);
            this->beta1[lane] = rule.beta1;
            this->beta2[lane] = rule.beta2;
            this->rest1[lane] = rule.rest1;
            this->rest2[lane] = rule.rest2;
            this->eps[lane] = rule.eps;
            this->decay[lane] = rule.decay;
            this->rate[lane] = rule.rate;
            this->per_root[lane] = rule.per_root;
            this->kept[lane] = rule.kept;
        }
    }
};
template <class T> using LaneSgd = SgdUpdateBy<T, LaneSgdRule<T>>;
template <class T> using LaneAdam = AdamUpdateBy<T, LaneAdamRule<T>>;

template <class T, template <class> class Update> void lanes_dense_dw_update(const Call &call, int, int) {
    lanes_for_dw<T>(call, Update<T>(call, operands::DENSE_DW_SGD::hyper));
}
template <class T, template <class> class Update> void lanes_dense_db_update(const Call &call, int, int) {
    using op = operands::DENSE_DB_SGD;
    lanes_for_db(call, call.in<T>(op::dy), Update<T>(call, op::hyper));
}
template <class T, template <class> class Update> void lanes_update(const Call &call, int, int) {
    const T *const g = call.in<T>(operands::SGD::g);
    const Update<T> update(call, operands::SGD::hyper);
    for (std::int64_t e = 0; e < call.sizes<Elements>().count; ++e)
        update(e * LANES<T>, element(g, e), LANES<T>);
}

// Combines up to LANES values as `fold` combines the lanes of a vector, the missing ones left out: they would
// change nothing.
template <class T, class F> inline Vec<T> fold_elements(Vec<T> *values, std::int64_t count, F f) {
    for (int width = LANES<T> / 2; width > 0; width /= 2) {
        for (int i = 0; i + width < count && i < width; ++i) values[i] = f(values[i], values[i + width]);
        if (count > width) count = width;
    }
    return values[0];
}

// The integers of all models as lanes of vectors of T.
template <class T> inline IntVec<T> integers(const std::int64_t *x) {
    IntVec<T> v{};
    for (int lane = 0; lane < LANES<T>; ++lane) v[lane] = static_cast<std::decay_t<decltype(v[0])>>(x[lane]);
    return v;
}

// label_row of loss.hpp without weights; describe() leaves out the others.
template <class T> void lanes_cross_entropy_labels(const Call &call, int, int) {
    using op = operands::CROSS_ENTROPY_LABELS;
    const auto size = call.sizes<LabelSizes>();
    const std::int64_t C = size.C, first = C < LANES<T> ? C : LANES<T>;
    const T scale = T(call.scalar[1]);
    for (std::int64_t m = 0; m < size.M; ++m) {
        const T *const z = call.in<T>(op::z) + m * C * LANES<T>;
        T *const dz = call.out<T>(op::dz) + m * C * LANES<T>;
        const IntVec<T> label = integers<T>(call.in<std::int64_t>(op::label) + m * LANES<T>);
        Vec<T> part[LANES<T>];
        for (std::int64_t c = 0; c < C; ++c) {
            const Vec<T> before = c < LANES<T> ? broadcast(-T(__builtin_inf())) : part[c % LANES<T>];
            part[c % LANES<T>] = larger(element(z, c), before);
        }
        const Vec<T> top =
            fold_elements<T>(part, first, [](Vec<T> a, Vec<T> b) { return select<T>(a > b, a, b); });
        Vec<T> own{};
        for (std::int64_t c = 0; c < C; ++c) {
            const Vec<T> e = exp<T>(element(z, c) - top);
            part[c % LANES<T>] = c < LANES<T> ? e : part[c % LANES<T>] + e;
            set_element(dz, c, e);
            own = select<T>(label == int(c), element(z, c), own);
        }
        const Vec<T> sum = fold_elements<T>(part, first, [](Vec<T> a, Vec<T> b) { return a + b; });
        const Vec<T> factor = broadcast(scale) / sum;
        for (std::int64_t c = 0; c < C; ++c) {
            const Vec<T> hit = select<T>(label == int(c), broadcast(scale), Vec<T>{});
            set_element(dz, c, element(dz, c) * factor - hit);
        }
        set_element(call.out<T>(op::losses), m, log<T>(sum) - (own - top));
    }
}

// The eight sums of `reduce_loss`.
template <class T> void lanes_reduce_loss(const Call &call, int, int) {
    using op = operands::REDUCE_LOSS;
    constexpr int SUMS = 8;
    const T *const losses = call.in<T>(op::losses);
    double sums[SUMS][LANES<T>] = {};
    for (std::int64_t i = 0; i < call.sizes<Elements>().count; ++i)
        for (int lane = 0; lane < LANES<T>; ++lane) sums[i % SUMS][lane] += losses[i * LANES<T> + lane];
    for (int lane = 0; lane < LANES<T>; ++lane) {
        double total = 0;
        for (const auto &sum : sums) total += sum[lane];
        call.out<double>(op::loss)[lane] = total / call.scalar[0];
    }
}

// first_largest of serial.hpp.
template <class T> inline IntVec<T> lanes_first_largest(const T *y, std::int64_t C) {
    Vec<T> top = element(y, 0);
    IntVec<T> best{};
    for (std::int64_t c = 1; c < C; ++c) {
        const Vec<T> next = element(y, c);
        const auto is_better = (top == top) & ~(next <= top);
        top = select<T>(is_better, next, top);
        best = is_better ? best * 0 + int(c) : best;
    }
    return best;
}

template <class T> inline void add_hits(std::int64_t *count, IntVec<T> hits) {
    for (int lane = 0; lane < LANES<T>; ++lane) count[lane] -= hits[lane];  // -1 where it is one
}

template <class T> void lanes_count_correct(const Call &call, int, int) {
    using op = operands::COUNT_CORRECT;
    const auto size = call.sizes<MatrixSizes>();
    const T *const y = call.in<T>(op::y), *const target = call.in<T>(op::target);
    const std::int64_t *const label = call.in<std::int64_t>(op::label);
    IntVec<T> hits{};
    for (std::int64_t m = 0; m < size.M; ++m) {
        const std::int64_t row = m * size.C * LANES<T>;
        const IntVec<T> expected =
            target ? lanes_first_largest(target + row, size.C) : integers<T>(label + m * LANES<T>);
        hits += lanes_first_largest(y + row, size.C) == expected;
    }
    add_hits<T>(call.out<std::int64_t>(op::count), hits);
}

template <class T> void lanes_count_correct_binary(const Call &call, int, int) {
    using op = operands::COUNT_CORRECT_BINARY;
    IntVec<T> hits{};
    for (std::int64_t e = 0; e < call.sizes<Elements>().count; ++e) {
        const Vec<T> y = element(call.in<T>(op::y), e), target = element(call.in<T>(op::target), e);
        hits += ~(target < T(0)) & ((y > T(0)) == (target > T(0.5)));
    }
    add_hits<T>(call.out<std::int64_t>(op::count), hits);
}

// n elements of a row of the data set; all NaN if there is no such row.
template <class T, class S> INLINED inline Vec<T> scaled(const S *row, int n, double scale) {
    if (!row) return broadcast(std::numeric_limits<T>::quiet_NaN());
    if constexpr (std::is_same_v<S, T>)
        if (scale == 1) return load_n(row, n);
    T own[LANES<T>] = {};
    for (int i = 0; i < n; ++i) own[i] = T(double(row[i]) * scale);
    return load(own);
}

// `source` holds the address of the data set of each model.
template <class T, class S> void lanes_gather(const Call &call, int, int) {
    using op = operands::GATHER_BYTES;
    const auto size = call.sizes<GatherSizes>();
    const double scale = call.scalar[0];
    const S *const *const source = call.in<const S *>(op::source);
    for (std::int64_t m = 0; m < size.M; ++m) {
        const S *rows[LANES<T>];
        for (int lane = 0; lane < LANES<T>; ++lane) {
            const std::int64_t row = index_at(call.in<std::int64_t>(op::index), m * LANES<T> + lane, size.rows);
            rows[lane] = row < 0 ? nullptr : source[lane] + row * size.D;
        }
        T *const out = call.out<T>(op::out) + m * size.D * LANES<T>;
        for_vectors<T>(0, size.D, [&](std::int64_t d, int n) {
            Vec<T> block[LANES<T>];
#pragma GCC unroll 16
            for (int lane = 0; lane < LANES<T>; ++lane)
                block[lane] = scaled<T>(rows[lane] ? rows[lane] + d : nullptr, n, scale);
            transpose_block<T>(block);
#pragma GCC unroll 16
            for (int i = 0; i < LANES<T>; ++i)
                if (i < n) set_element(out, d + i, block[i]);
        });
    }
}

template <class T> void lanes_gather_labels(const Call &call, int, int) {
    using op = operands::GATHER_LABELS;
    const auto size = call.sizes<GatherSizes>();
    const std::int64_t *const *const source = call.in<const std::int64_t *>(op::source);
    std::int64_t *const out = call.out<std::int64_t>(op::out);
    for (std::int64_t m = 0; m < size.M; ++m)
        for (int lane = 0; lane < LANES<T>; ++lane) {
            const std::int64_t row = index_at(call.in<std::int64_t>(op::index), m * LANES<T> + lane, size.rows);
            for (std::int64_t d = 0; d < size.D; ++d)
                out[(m * size.D + d) * LANES<T> + lane] = row < 0 ? -1 : source[lane][row * size.D + d];
        }
}

template <class T> void lanes_advance(const Call &call, int, int) {
    for (int lane = 0; lane < LANES<T>; ++lane) ++call.out<std::int64_t>(operands::ADVANCE::steps)[lane];
}

template <class T> void lanes_adam_corrections(const Call &call, int, int) {
    using op = operands::ADAM_CORRECTIONS;
    const std::int64_t *const steps = call.in<std::int64_t>(op::steps);
    double *const hyper = call.out<double>(op::hyper);
    for (int beta = 1; beta <= 2; ++beta)
        for (int lane = 0; lane < LANES<T>; ++lane) {
            const double *const own = hyper + beta * LANES<T> + lane;
            double *const correction = hyper + (4 + beta) * LANES<T> + lane;
            const bool is_known = lane && steps[lane] == steps[lane - 1] && own[0] == own[-1];
            *correction = is_known ? correction[-1] : 1 - std::pow(*own, double(steps[lane]));
        }
}

}  // namespace fastnn
