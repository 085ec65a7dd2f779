// Activations and their gradients. size[0] is the number of elements; for softmax rows and classes.
#pragma once

#include <cmath>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

// relu(nan) = nan: a comparison with nan is false, so the form x < 0 ? 0 : x lets it through.
template <class T> inline T relu(T x) { return x < 0 ? T(0) : x; }
template <class T> inline T relu_gradient(T y, T dy) { return y <= 0 ? T(0) : dy; }

// exp(-|x|) cannot overflow.
template <class T> inline T sigmoid(T x) {
    const T e = std::exp(-std::fabs(x));
    return (x < 0 ? e : T(1)) / (T(1) + e);
}
template <class T> inline T sigmoid_gradient(T y, T dy) { return dy * (y * (T(1) - y)); }
template <class T> inline T tanh_gradient(T y, T dy) { return dy * (T(1) - y * y); }

// y_e = f(x_e).  x, y of one shape
template <class T, class F> inline void map(const Call &call, int part, int parts, F f) {
    const T *x = call.in<T>(0);
    T *y = call.out<T>(1);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for (std::int64_t e = range.begin; e < range.end; ++e) y[e] = f(x[e]);
}

// dx_e = f(y_e, dy_e).  y, dy, dx of one shape
template <class T, class F> inline void map_gradient(const Call &call, int part, int parts, F f) {
    const T *y = call.in<T>(0), *dy = call.in<T>(1);
    T *dx = call.out<T>(2);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    for (std::int64_t e = range.begin; e < range.end; ++e) dx[e] = f(y[e], dy[e]);
}

template <class T> void relu_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](T x) { return relu(x); });
}

template <class T> void relu_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](T y, T dy) { return relu_gradient(y, dy); });
}

template <class T> void sigmoid_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](T x) { return sigmoid(x); });
}

template <class T> void sigmoid_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](T y, T dy) { return sigmoid_gradient(y, dy); });
}

template <class T> void tanh_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](T x) { return std::tanh(x); });
}

template <class T> void tanh_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](T y, T dy) { return tanh_gradient(y, dy); });
}

// The largest of C > 0 values; nan if there is one.
template <class T> inline T largest(const T *x, std::int64_t C) {
    T top = x[0];
    for (std::int64_t c = 1; c < C; ++c) top = x[c] > top || x[c] != x[c] ? x[c] : top;
    return top;
}

// y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).  x (M, C) -> y (M, C)
template <class T> void softmax_forward(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    if (C == 0) return;
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *x = call.in<T>(0) + m * C;
        T *y = call.out<T>(1) + m * C;
        const T top = largest(x, C);
        T sum = 0;
        for (std::int64_t c = 0; c < C; ++c) sum += y[c] = std::exp(x[c] - top);
        for (std::int64_t c = 0; c < C; ++c) y[c] /= sum;
    }
}

// dx_mc = y_mc (dy_mc - sum_c y_mc dy_mc).  y, dy (M, C) -> dx (M, C)
template <class T> void softmax_dx(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *y = call.in<T>(0) + m * C, *dy = call.in<T>(1) + m * C;
        T *dx = call.out<T>(2) + m * C;
        T dot = 0;
        for (std::int64_t c = 0; c < C; ++c) dot += y[c] * dy[c];
        for (std::int64_t c = 0; c < C; ++c) dx[c] = y[c] * (dy[c] - dot);
    }
}

}  // namespace fastnn
