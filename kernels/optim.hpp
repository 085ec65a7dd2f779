// Optimizer updates: one pass over value, gradient and moments. size[0] is the number of elements.
#pragma once

#include <cmath>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

// v = mu v + g', p -= lr (g' + mu v if nesterov else v), g' = g + wd p.  g, v or null, p of one shape
template <class T> void sgd(const Call &call, int part, int parts) {
    const T *g = call.in<T>(0);
    const double *hyper = call.in<double>(1);
    T *v = call.out<T>(2), *p = call.out<T>(3);
    const T lr = T(hyper[0]), momentum = T(hyper[1]), decay = T(hyper[2]);
    const bool nesterov = hyper[3] != 0;
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for (std::int64_t e = range.begin; e < range.end; ++e) {
        T step = decay != 0 ? g[e] + decay * p[e] : g[e];
        if (v) {
            v[e] = momentum * v[e] + step;
            step = nesterov ? step + momentum * v[e] : v[e];
        }
        p[e] -= lr * step;
    }
}

// m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2, p -= lr/c1 m / (sqrt(v / c2) + eps), g' = g + wd p
template <class T> void adam(const Call &call, int part, int parts) {
    const T *g = call.in<T>(0);
    const double *hyper = call.in<double>(1);
    T *m = call.out<T>(2), *v = call.out<T>(3), *p = call.out<T>(4);
    const T beta1 = T(hyper[1]), beta2 = T(hyper[2]), eps = T(hyper[3]), decay = T(hyper[4]);
    const T rest1 = T(1 - hyper[1]), rest2 = T(1 - hyper[2]);
    const T rate = T(hyper[0] / hyper[5]), per_root = T(1 / std::sqrt(hyper[6]));
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for (std::int64_t e = range.begin; e < range.end; ++e) {
        const T step = decay != 0 ? g[e] + decay * p[e] : g[e];
        m[e] = beta1 * m[e] + rest1 * step;
        v[e] = beta2 * v[e] + rest2 * (step * step);
        p[e] -= rate * m[e] / (std::sqrt(v[e]) * per_root + eps);
    }
}

}  // namespace fastnn
