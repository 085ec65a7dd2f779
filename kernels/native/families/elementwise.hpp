// Runs user-defined elementwise functions, which Numba has compiled to loops.
#pragma once

#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// y = f(x).  x, y of one shape, function f(x*, y*, n)
template <class T> void elementwise_forward(const Call &call, int part, int parts) {
    using op = operands::ELEMENTWISE_FORWARD;
    using Loop = void (*)(const T *x, T *y, std::int64_t n);
    const Loop loop = reinterpret_cast<Loop>(call.array[op::function]);
    const auto [begin, end] = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    if (begin < end) loop(call.in<T>(op::x) + begin, call.out<T>(op::y) + begin, end - begin);
}

// dx = f(x, dy).  x, dy, dx of one shape, function f(x*, dy*, dx*, n)
template <class T> void elementwise_dx(const Call &call, int part, int parts) {
    using op = operands::ELEMENTWISE_DX;
    using Loop = void (*)(const T *x, const T *dy, T *dx, std::int64_t n);
    const Loop loop = reinterpret_cast<Loop>(call.array[op::function]);
    const auto [begin, end] = share(call.sizes<Elements>().count, part, parts, LANES<T>);
    if (begin < end)
        loop(call.in<T>(op::x) + begin, call.in<T>(op::dy) + begin, call.out<T>(op::dx) + begin, end - begin);
}

}  // namespace fastnn
