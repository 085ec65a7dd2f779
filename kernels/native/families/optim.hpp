// Optimizer updates: one pass over value, gradient and moments.
//
// The formulas are inline functions on vectors, which the fused kernels use too.
#pragma once

#include <cmath>

#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// A hyper-parameter for all lanes, or already one for each (lanes.hpp).
template <class T> inline Vec<T> spread(T x) { return broadcast(x); }
template <class T> inline Vec<T> spread(Vec<T> x) { return x; }

// g' = g + wd p
template <class T, class S> inline Vec<T> decayed(Vec<T> g, Vec<T> p, S decay) {
    return decay != T(0) ? fma(spread<T>(decay), p, g) : g;
}

// S is the type of a hyper-parameter, Flag that of a yes or no.
template <class T, class S = T, class Flag = bool> struct SgdRule {
    S lr, momentum, decay;
    Flag nesterov;

    SgdRule() = default;
    // hyper = (lr, mu, wd, nesterov)
    explicit SgdRule(const double *hyper)
        : lr(T(hyper[0])), momentum(T(hyper[1])), decay(T(hyper[2])), nesterov(hyper[3] != 0) {}

    // The new p = p - lr g'.
    Vec<T> plain(Vec<T> g, Vec<T> p) const { return fma(spread<T>(-lr), decayed<T>(g, p, decay), p); }

    // v = mu v + g'; the new p = p - lr (g' + mu v if nesterov else v).
    Vec<T> with_momentum(Vec<T> g, Vec<T> &v, Vec<T> p) const {
        const Vec<T> step = decayed<T>(g, p, decay);
        v = fma(spread<T>(momentum), v, step);
        return fma(spread<T>(-lr), nesterov ? fma(spread<T>(momentum), v, step) : v, p);
    }
};

template <class T, class S = T> struct AdamRule {
    S beta1, beta2, rest1, rest2, eps, decay, rate, per_root, kept;

    AdamRule() = default;
    // hyper = (lr, b1, b2, eps, wd, c1, c2, decoupled)
    explicit AdamRule(const double *hyper)
        : beta1(T(hyper[1])), beta2(T(hyper[2])), rest1(T(1 - hyper[1])), rest2(T(1 - hyper[2])),
          eps(T(hyper[3])), decay(hyper[7] != 0 ? T(0) : T(hyper[4])), rate(T(hyper[0] / hyper[5])),
          per_root(T(1 / std::sqrt(hyper[6]))), kept(hyper[7] != 0 ? T(1 - hyper[0] * hyper[4]) : T(1)) {}

    // m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2; the new p = kept p - lr/c1 m / (sqrt(v / c2) + eps).
    Vec<T> update(Vec<T> g, Vec<T> &m, Vec<T> &v, Vec<T> p) const {
        const Vec<T> step = decayed<T>(g, p, decay);
        m = fma(spread<T>(beta1), m, rest1 * step);
        v = fma(spread<T>(beta2), v, rest2 * (step * step));
        return kept * p - rate * m / fma(square_root(v), spread<T>(per_root), spread<T>(eps));
    }
};

// Updates some elements, given their gradient. The arrays of the call from FIRST on are hyper, v or null, p.
template <class T, class Rule> struct SgdUpdateBy {
    Rule rule;
    T *v, *p;

    SgdUpdateBy(const Call &call, int first)
        : rule(call.in<double>(first)), v(call.out<T>(first + 1)), p(call.out<T>(first + 2)) {}

    // What it changes, from element `e` on.
    void changes(std::int64_t e, T *(&array)[3]) const {
        array[0] = p + e;
        array[1] = v ? v + e : nullptr;
    }

    [[gnu::always_inline]] void operator()(std::int64_t e, Vec<T> g, int n) const {
        if (v) {
            Vec<T> velocity = load_n(v + e, n);
            store_n(p + e, rule.with_momentum(g, velocity, load_n(p + e, n)), n);
            store_n(v + e, velocity, n);
        } else {
            store_n(p + e, rule.plain(g, load_n(p + e, n)), n);
        }
    }
};

// The same with the arrays hyper, m, v, p.
template <class T, class Rule> struct AdamUpdateBy {
    Rule rule;
    T *m, *v, *p;

    AdamUpdateBy(const Call &call, int first)
        : rule(call.in<double>(first)), m(call.out<T>(first + 1)), v(call.out<T>(first + 2)),
          p(call.out<T>(first + 3)) {}

    void changes(std::int64_t e, T *(&array)[3]) const {
        array[0] = m + e;
        array[1] = v + e;
        array[2] = p + e;
    }

    [[gnu::always_inline]] void operator()(std::int64_t e, Vec<T> g, int n) const {
        Vec<T> first = load_n(m + e, n), second = load_n(v + e, n);
        store_n(p + e, rule.update(g, first, second, load_n(p + e, n)), n);
        store_n(m + e, first, n);
        store_n(v + e, second, n);
    }
};

template <class T> using SgdUpdate = SgdUpdateBy<T, SgdRule<T>>;
template <class T> using AdamUpdate = AdamUpdateBy<T, AdamRule<T>>;

// v = alpha v + (1 - alpha) g'^2; buffer = mu buffer + g' / (sqrt(v - mean^2) + eps); p -= lr buffer.
// g, hyper (lr, alpha, eps, wd, mu), v, mean or null, buffer or null, p
template <class T> void rmsprop(const Call &call, int part, int parts) {
    using op = operands::RMSPROP;
    const double *const hyper = call.in<double>(op::hyper);
    const T lr = T(hyper[0]), alpha = T(hyper[1]), rest = T(1 - hyper[1]), eps = T(hyper[2]);
    const T decay = T(hyper[3]), momentum = T(hyper[4]);
    const T *const g = call.in<T>(op::g);
    T *const v = call.out<T>(op::v), *const mean = call.out<T>(op::mean),
             *const buffer = call.out<T>(op::buffer);
    T *const p = call.out<T>(op::p);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const Vec<T> value = load_n(p + e, n), step = decayed<T>(load_n(g + e, n), value, decay);
        Vec<T> square = fma(broadcast(alpha), load_n(v + e, n), rest * (step * step));
        store_n(v + e, square, n);
        if (mean) {
            const Vec<T> first = fma(broadcast(alpha), load_n(mean + e, n), rest * step);
            store_n(mean + e, first, n);
            square = square - first * first;
            square = select<T>(square < Vec<T>{}, Vec<T>{}, square);  // rounded; a nan stays
        }
        Vec<T> change = step / (square_root(square) + broadcast(eps));
        if (buffer) {
            change = fma(broadcast(momentum), load_n(buffer + e, n), change);
            store_n(buffer + e, change, n);
        }
        store_n(p + e, fma(broadcast(-lr), change, value), n);
    });
}

// The number of chunks of a sum of squares, whatever the number of threads. They are added in ascending
// order.
constexpr std::int64_t SQUARES_CHUNKS = 64;

inline ScratchNeeds sum_squares_scratch(const Call &) {
    return {0, SQUARES_CHUNKS * std::int64_t(sizeof(double)), 0};
}

// total = sum of g_e^2, in double.  g, total (1,)
template <class T> void sum_squares(const Call &call, int part, int parts) {
    using op = operands::SUM_SQUARES;
    const T *const g = call.in<T>(op::g);
    const std::int64_t count = call.sizes<Elements>().count;
    double *const sums = reinterpret_cast<double *>(call.scratch);
    const Range mine = share(SQUARES_CHUNKS, part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const std::int64_t begin = count * chunk / SQUARES_CHUNKS, end = count * (chunk + 1) / SQUARES_CHUNKS;
        constexpr int CHAINS = 8;
        double sum[CHAINS] = {};
        std::int64_t e = begin;
        for (; e + CHAINS <= end; e += CHAINS)
            for (int i = 0; i < CHAINS; ++i) sum[i] += double(g[e + i]) * double(g[e + i]);
        for (; e < end; ++e) sum[0] += double(g[e]) * double(g[e]);
        sums[chunk] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    }
}

inline void sum_squares_finish(const Call &call) {
    using op = operands::SUM_SQUARES;
    const double *const sums = reinterpret_cast<const double *>(call.scratch);
    double total = 0;
    for (std::int64_t chunk = 0; chunk < SQUARES_CHUNKS; ++chunk) total += sums[chunk];
    *call.out<double>(op::total) = total;
}

// norm = sqrt(sum of totals), factor = min(1, bound / (norm + 1e-6)).
// totals (count,), bound (1,) -> norm (1,), factor (1,)
inline void clip_factor(const Call &call, int part, int) {
    using op = operands::CLIP_FACTOR;
    if (part != 0) return;
    double total = 0;
    for (std::int64_t i = 0; i < call.sizes<Elements>().count; ++i) total += call.in<double>(op::totals)[i];
    const double norm = std::sqrt(total), factor = *call.in<double>(op::bound) / (norm + 1e-6);
    *call.out<double>(op::norm) = norm;
    *call.out<double>(op::factor) = factor > 1 ? 1 : factor;
}

// x *= factor.  factor (1,) double
template <class T> void multiply_all(const Call &call, int part, int parts) {
    using op = operands::MULTIPLY;
    const T factor = T(*call.in<double>(op::factor));
    T *const x = call.out<T>(op::x);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end,
                   [=](std::int64_t e, int n) { store_n(x + e, factor * load_n(x + e, n), n); });
}

// x = min(max(x, -bound), bound); a nan stays.  bound (1,) double
template <class T> void clamp(const Call &call, int part, int parts) {
    using op = operands::CLAMP;
    const Vec<T> most = broadcast(T(*call.in<double>(op::bound))), least = -most;
    T *const x = call.out<T>(op::x);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const Vec<T> value = load_n(x + e, n), below = select<T>(value > most, most, value);
        store_n(x + e, select<T>(below < least, least, below), n);
    });
}

// x = source (0 if it is null) where mask == 0; the other elements keep their value.
template <class T> void hold(const Call &call, int part, int parts) {
    using op = operands::HOLD;
    const T *const mask = call.in<T>(op::mask), *const source = call.in<T>(op::source);
    T *const x = call.out<T>(op::x);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const Vec<T> held = source ? load_n(source + e, n) : Vec<T>{};
        store_n(x + e, select<T>(load_n(mask + e, n) == Vec<T>{}, held, load_n(x + e, n)), n);
    });
}

// e += (1 - d) (p - e), d = the decay, or with a warm-up (scalar1) min(decay, (1 + t) / (10 + t)).
// p, t (1,) int64, e; scalar0 = decay
template <class T> void ema(const Call &call, int part, int parts) {
    using op = operands::EMA;
    const double t = double(*call.in<std::int64_t>(op::steps)), early = (1 + t) / (10 + t),
                 decay = call.scalar[0];
    const T rest = T(1 - (call.scalar[1] != 0 && early < decay ? early : decay));
    const T *const p = call.in<T>(op::p);
    T *const average = call.out<T>(op::average);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        const Vec<T> old = load_n(average + e, n);
        store_n(average + e, fma(broadcast(rest), load_n(p + e, n) - old, old), n);
    });
}

// g, and what the update takes, of one shape
template <class T, template <class> class Update> void update_kernel(const Call &call, int part, int parts) {
    const T *g = call.in<T>(operands::SGD::g);
    const Update<T> update(call, operands::SGD::hyper);  // the same positions for ADAM
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) { update(e, load_n(g + e, n), n); });
}

}  // namespace fastnn
