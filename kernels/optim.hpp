// Optimizer updates: one pass over value, gradient and moments. size[0] is the number of elements.
//
// The formulas are inline functions on vectors, which fused kernels share.
#pragma once

#include <cmath>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

// g' = g + wd p
template <class T> inline Vec<T> decayed(Vec<T> g, Vec<T> p, T decay) {
    return decay != 0 ? fma(broadcast(decay), p, g) : g;
}

template <class T> struct SgdRule {
    T lr, momentum, decay;
    bool nesterov;

    // hyper = (lr, mu, wd, nesterov)
    explicit SgdRule(const double *hyper)
        : lr(T(hyper[0])), momentum(T(hyper[1])), decay(T(hyper[2])), nesterov(hyper[3] != 0) {}

    // The new p = p - lr g'.
    Vec<T> plain(Vec<T> g, Vec<T> p) const { return fma(broadcast(-lr), decayed(g, p, decay), p); }

    // v = mu v + g'; the new p = p - lr (g' + mu v if nesterov else v).
    Vec<T> with_momentum(Vec<T> g, Vec<T> &v, Vec<T> p) const {
        const Vec<T> step = decayed(g, p, decay);
        v = fma(broadcast(momentum), v, step);
        return fma(broadcast(-lr), nesterov ? fma(broadcast(momentum), v, step) : v, p);
    }
};

template <class T> struct AdamRule {
    T beta1, beta2, rest1, rest2, eps, decay, rate, per_root;

    // hyper = (lr, b1, b2, eps, wd, c1, c2)
    explicit AdamRule(const double *hyper)
        : beta1(T(hyper[1])), beta2(T(hyper[2])), rest1(T(1 - hyper[1])), rest2(T(1 - hyper[2])),
          eps(T(hyper[3])), decay(T(hyper[4])), rate(T(hyper[0] / hyper[5])),
          per_root(T(1 / std::sqrt(hyper[6]))) {}

    // m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2; the new p = p - lr/c1 m / (sqrt(v / c2) + eps).
    Vec<T> update(Vec<T> g, Vec<T> &m, Vec<T> &v, Vec<T> p) const {
        const Vec<T> step = decayed(g, p, decay);
        m = fma(broadcast(beta1), m, rest1 * step);
        v = fma(broadcast(beta2), v, rest2 * (step * step));
        return p - rate * m / fma(square_root(v), broadcast(per_root), broadcast(eps));
    }
};

// The update of some elements, given their gradient: hyper, v or null, p stand in the call from array FIRST on.
template <class T> struct SgdUpdate {
    SgdRule<T> rule;
    T *v, *p;

    SgdUpdate(const Call &call, int first)
        : rule(call.in<double>(first)), v(call.out<T>(first + 1)), p(call.out<T>(first + 2)) {}

    void prefetch(std::int64_t e) const {
        __builtin_prefetch(p + e, 1);
        if (v) __builtin_prefetch(v + e, 1);
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

// The same with hyper, m, v, p.
template <class T> struct AdamUpdate {
    AdamRule<T> rule;
    T *m, *v, *p;

    AdamUpdate(const Call &call, int first)
        : rule(call.in<double>(first)), m(call.out<T>(first + 1)), v(call.out<T>(first + 2)),
          p(call.out<T>(first + 3)) {}

    void prefetch(std::int64_t e) const {
        __builtin_prefetch(m + e, 1);
        __builtin_prefetch(v + e, 1);
        __builtin_prefetch(p + e, 1);
    }

    [[gnu::always_inline]] void operator()(std::int64_t e, Vec<T> g, int n) const {
        Vec<T> first = load_n(m + e, n), second = load_n(v + e, n);
        store_n(p + e, rule.update(g, first, second, load_n(p + e, n)), n);
        store_n(m + e, first, n);
        store_n(v + e, second, n);
    }
};

// g, and what the update takes, of one shape
template <class T, template <class> class Update> void update_kernel(const Call &call, int part, int parts) {
    const T *g = call.in<T>(0);
    const Update<T> update(call, 1);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end,
                   [=](std::int64_t e, int n) { update(e, load_n(g + e, n), n); });
}

}  // namespace fastnn
