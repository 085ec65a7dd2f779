// Activations and their gradients, and the sum of two arrays.
//
// Each formula is one inline function on vectors. Fused kernels use the same functions, so that fused and
// separate kernels agree bit for bit.
#pragma once

#include "plan/call.hpp"
#include "simd/simd.hpp"
#include "simd/vmath.hpp"

namespace fastnn {

// relu(nan) = nan: a comparison with nan is false, so x < 0 ? 0 : x returns x.
template <class T> inline Vec<T> relu(Vec<T> x) { return select<T>(x < T(0), Vec<T>{}, x); }
template <class T> inline Vec<T> relu_gradient(Vec<T> y, Vec<T> dy) {
    return select<T>(y <= T(0), Vec<T>{}, dy);
}
template <class T> inline Vec<T> sigmoid_gradient(Vec<T> y, Vec<T> dy) { return dy * (y * (T(1) - y)); }
template <class T> inline Vec<T> tanh_gradient(Vec<T> y, Vec<T> dy) { return dy * (T(1) - y * y); }

// f(v) and g(y, dy) of a block of `rows` by `width` elements in place, whose rows are `stride` apart.
template <class T, class F>
inline void map_block(T *block, std::int64_t stride, std::int64_t rows, std::int64_t width, F f) {
    if (width == stride) width *= rows, rows = 1;  // rows that do not fill vectors
    for (std::int64_t i = 0; i < rows; ++i)
        for_vectors<T>(0, width, [=](std::int64_t e, int n) {
            const std::int64_t at = i * stride + e;
            store_n(block + at, f(at, load_n(block + at, n), n), n);
        });
}

// y = f(y) for a block of a fused kernel's output.
template <class T>
inline void activate(int activation, T *y, std::int64_t stride, std::int64_t rows, std::int64_t width) {
    if (activation == RELU)
        map_block(y, stride, rows, width, [](std::int64_t, Vec<T> v, int) { return relu<T>(v); });
    else if (activation == SIGMOID)
        map_block(y, stride, rows, width, [](std::int64_t, Vec<T> v, int) { return sigmoid<T>(v); });
    else if (activation == TANH)
        map_block(y, stride, rows, width, [](std::int64_t, Vec<T> v, int) { return tanh<T>(v); });
}

// leaky_relu(x) = x for x > 0, else slope x; slope >= 0, so the sign of y determines the branch. At nan the
// derivative is slope, as in PyTorch.
template <class T> inline Vec<T> leaky_relu(Vec<T> x, T slope) { return select<T>(x < T(0), x * slope, x); }
template <class T> inline Vec<T> leaky_relu_gradient(Vec<T> y, Vec<T> dy, T slope) {
    return select<T>(y > T(0), dy, dy * slope);
}
// elu(x) = x above 0, alpha (exp(x) - 1) below, where its derivative is alpha exp(x) = y + alpha.
template <class T> inline Vec<T> elu(Vec<T> x, T alpha) {
    return select<T>(x < T(0), expm1_of_negative<T>(x) * alpha, x);
}
template <class T> inline Vec<T> elu_gradient(Vec<T> y, Vec<T> dy, T alpha) {
    return select<T>(y > T(0), dy, dy * (y + alpha));
}
// silu(x) = x sigmoid(x).
template <class T> inline Vec<T> silu(Vec<T> x) { return x * sigmoid<T>(x); }
template <class T> inline Vec<T> silu_gradient(Vec<T> x, Vec<T> dy) {
    const Vec<T> s = sigmoid<T>(x);
    return dy * (s * (T(1) + x * (T(1) - s)));
}
// gelu(x) = x Phi(x), Phi the standard normal distribution function; and its tanh approximation (Hendrycks &
// Gimpel 2016).
template <class T> inline Vec<T> gelu(Vec<T> x) { return x * normal<T>(x).integral; }
template <class T> inline Vec<T> gelu_gradient(Vec<T> x, Vec<T> dy) {
    const auto [integral, density] = normal<T>(x);
    return dy * (integral + x * density);
}
// The latter is x (1 + tanh(u)) / 2 = x sigmoid(v) with v = 2 u = a x + b x^3. (1 + tanh(u) cancels where u
// is negative and would leave a float two digits at x = -4.5. sigmoid keeps them.)
template <class T> struct GeluTanh {
    static constexpr double factor = 1.5957691216057308;  // 2 sqrt(2 / pi)
    static constexpr T a = T(factor), b = T(0.044715 * factor);
    struct Polynomial {
        Vec<T> v, slope;  // v and dv/dx
    };
    // Beyond the bounds of x, sigmoid(v) is 0 or 1, and the cube would overflow; nan stays.
    static Polynomial polynomial(Vec<T> x) {
        const Vec<T> beyond = broadcast<T>(NormalSeries<T>::beyond), z = clamp(x, -beyond, beyond);
        const Vec<T> z2 = z * z;
        return {z * fma(z2, broadcast<T>(b), broadcast<T>(a)), fma(z2, broadcast<T>(3 * b), broadcast<T>(a))};
    }
    static Vec<T> value(Vec<T> x) { return x * sigmoid<T>(polynomial(x).v); }
    static Vec<T> gradient(Vec<T> x, Vec<T> dy) {
        const auto [v, slope] = polynomial(x);
        const Vec<T> s = sigmoid<T>(v);
        return dy * (s + x * (s * (T(1) - s) * slope));
    }
};

// dx = f'(x) dx for a block of a fused kernel's output, from y = f(x) at the same place.
template <class T>
inline void deactivate(int activation, const T *y, T *dx, std::int64_t stride, std::int64_t rows,
                       std::int64_t width) {
    if (activation == RELU)
        map_block(dx, stride, rows, width,
                  [=](std::int64_t at, Vec<T> v, int n) { return relu_gradient<T>(load_n(y + at, n), v); });
    else if (activation == SIGMOID)
        map_block(dx, stride, rows, width, [=](std::int64_t at, Vec<T> v, int n) {
            return sigmoid_gradient<T>(load_n(y + at, n), v);
        });
    else if (activation == TANH)
        map_block(dx, stride, rows, width,
                  [=](std::int64_t at, Vec<T> v, int n) { return tanh_gradient<T>(load_n(y + at, n), v); });
}

// y = f(x), elementwise.  x, y of one shape
template <class T, class F> inline void map(const Call &call, int part, int parts, F f) {
    using op = operands::RELU_FORWARD;  // the same positions for all of them
    const T *x = call.in<T>(op::x);
    T *y = call.out<T>(op::y);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end,
                   [=](std::int64_t e, int n) { store_n(y + e, f(load_n(x + e, n)), n); });
}

// dx = f(y, dy), elementwise, or y = f(x1, x2).  All of one shape
template <class T, class F> inline void map_gradient(const Call &call, int part, int parts, F f) {
    using op = operands::RELU_DX;  // the same positions for all of them
    const T *y = call.in<T>(op::y), *dy = call.in<T>(op::dy);
    T *dx = call.out<T>(op::dx);
    const Range range = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    for_vectors<T>(range.begin, range.end, [=](std::int64_t e, int n) {
        store_n(dx + e, f(load_n(y + e, n), load_n(dy + e, n)), n);
    });
}

template <class T> void relu_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return relu<T>(x); });
}
template <class T> void sigmoid_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return sigmoid<T>(x); });
}
template <class T> void tanh_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return tanh<T>(x); });
}
template <class T> void exp_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return exp<T>(x); });
}
template <class T> void log_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return log<T>(x); });
}

template <class T> void relu_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](Vec<T> y, Vec<T> dy) { return relu_gradient<T>(y, dy); });
}
template <class T> void sigmoid_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](Vec<T> y, Vec<T> dy) { return sigmoid_gradient<T>(y, dy); });
}
template <class T> void tanh_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](Vec<T> y, Vec<T> dy) { return tanh_gradient<T>(y, dy); });
}

// scalar[0] is the slope, or alpha, or not 0 for the tanh form
template <class T> void leaky_relu_forward(const Call &call, int part, int parts) {
    const T slope = T(call.scalar[0]);
    map<T>(call, part, parts, [=](Vec<T> x) { return leaky_relu<T>(x, slope); });
}
template <class T> void leaky_relu_dx(const Call &call, int part, int parts) {
    const T slope = T(call.scalar[0]);
    map_gradient<T>(call, part, parts,
                    [=](Vec<T> y, Vec<T> dy) { return leaky_relu_gradient<T>(y, dy, slope); });
}
template <class T> void elu_forward(const Call &call, int part, int parts) {
    const T alpha = T(call.scalar[0]);
    map<T>(call, part, parts, [=](Vec<T> x) { return elu<T>(x, alpha); });
}
template <class T> void elu_dx(const Call &call, int part, int parts) {
    const T alpha = T(call.scalar[0]);
    map_gradient<T>(call, part, parts, [=](Vec<T> y, Vec<T> dy) { return elu_gradient<T>(y, dy, alpha); });
}
template <class T> void silu_forward(const Call &call, int part, int parts) {
    map<T>(call, part, parts, [](Vec<T> x) { return silu<T>(x); });
}
template <class T> void silu_dx(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](Vec<T> x, Vec<T> dy) { return silu_gradient<T>(x, dy); });
}
template <class T> void gelu_forward(const Call &call, int part, int parts) {
    if (call.scalar[0] != 0)
        map<T>(call, part, parts, [](Vec<T> x) { return GeluTanh<T>::value(x); });
    else
        map<T>(call, part, parts, [](Vec<T> x) { return gelu<T>(x); });
}
template <class T> void gelu_dx(const Call &call, int part, int parts) {
    if (call.scalar[0] != 0)
        map_gradient<T>(call, part, parts, [](Vec<T> x, Vec<T> dy) { return GeluTanh<T>::gradient(x, dy); });
    else
        map_gradient<T>(call, part, parts, [](Vec<T> x, Vec<T> dy) { return gelu_gradient<T>(x, dy); });
}

template <class T> void add(const Call &call, int part, int parts) {
    map_gradient<T>(call, part, parts, [](Vec<T> x1, Vec<T> x2) { return x1 + x2; });
}

// y_mc = x_mc + b_c.  x (M, C), b (C,) -> y (M, C)
template <class T> void add_bias(const Call &call, int part, int parts) {
    using op = operands::ADD_BIAS;
    const auto [M, C] = call.sizes<MatrixSizes>();
    const T *const x = call.in<T>(op::x), *const b = call.in<T>(op::b);
    T *const y = call.out<T>(op::y);
    const Range rows = share(M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m)
        for_vectors<T>(0, C, [=, from = m * C](std::int64_t c, int n) {
            store_n(y + from + c, load_n(x + from + c, n) + load_n(b + c, n), n);
        });
}

// The largest of C values, ignoring nan; -inf if there is none. (Softmax need not look for nan here, since
// the exponentials and therefore the sum become nan.)
template <class T> inline T largest(const T *x, std::int64_t C) {
    const T lowest = -T(__builtin_inf());
    const Vec<T> top = accumulate<T>(0, C, broadcast(lowest), [=](Vec<T> top, std::int64_t c, int n) {
        return larger(keep_first<T>(load_n(x + c, n), n, lowest), top);
    });
    return fold_lanes<T>(top, [](auto a, auto b) { return a > b ? a : b; });
}

// e_c = exp(x_c - top), unless e is null, and their sum.
template <class T> inline T exponentials(const T *x, std::int64_t C, T top, T *e) {
    return sum_lanes<T>(accumulate<T>(0, C, Vec<T>{}, [=](Vec<T> sum, std::int64_t c, int n) {
        const Vec<T> value = exp<T>(load_n(x + c, n) - top);
        if (e) store_n(e + c, value, n);
        return sum + keep_first<T>(value, n, T(0));
    }));
}

// y_mc = exp(x_mc - max_c x_mc) / sum_c exp(x_mc - max_c x_mc).  x (M, C) -> y (M, C)
template <class T> void softmax_forward(const Call &call, int part, int parts) {
    using op = operands::SOFTMAX_FORWARD;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    if (C == 0) return;
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *x = call.in<T>(op::x) + m * C;
        T *y = call.out<T>(op::y) + m * C;
        const T sum = exponentials(x, C, largest(x, C), y);
        for_vectors<T>(0, C, [=](std::int64_t c, int n) { store_n(y + c, load_n(y + c, n) / sum, n); });
    }
}

// dx_mc = y_mc (dy_mc - sum_c y_mc dy_mc).  y, dy (M, C) -> dx (M, C)
template <class T> void softmax_dx(const Call &call, int part, int parts) {
    using op = operands::SOFTMAX_DX;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *y = call.in<T>(op::y) + m * C, *dy = call.in<T>(op::dy) + m * C;
        T *dx = call.out<T>(op::dx) + m * C;
        const T dot = sum_lanes<T>(accumulate<T>(0, C, Vec<T>{}, [=](Vec<T> sum, std::int64_t c, int n) {
            return fma(load_n(y + c, n), load_n(dy + c, n), sum);
        }));
        for_vectors<T>(0, C, [=](std::int64_t c, int n) {
            store_n(dx + c, load_n(y + c, n) * (load_n(dy + c, n) - dot), n);
        });
    }
}

}  // namespace fastnn
