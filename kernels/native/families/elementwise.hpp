// Runs user-defined elementwise functions, which Numba has compiled to loops.
#pragma once

#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// y = f(x).  x, y of one shape; array 7: f(x*, y*, n)
template <class T> void elementwise_forward(const Call &call, int part, int parts) {
    using Loop = void (*)(const T *x, T *y, std::int64_t n);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    if (range.begin < range.end)
        reinterpret_cast<Loop>(call.array[7])(call.in<T>(0) + range.begin, call.out<T>(1) + range.begin,
                                              range.end - range.begin);
}

// dx = f(x, dy).  x, dy, dx of one shape; array 7: f(x*, dy*, dx*, n)
template <class T> void elementwise_dx(const Call &call, int part, int parts) {
    using Loop = void (*)(const T *x, const T *dy, T *dx, std::int64_t n);
    const Range range = share(call.size[0], part, parts, LANES<T>);
    if (range.begin < range.end)
        reinterpret_cast<Loop>(call.array[7])(call.in<T>(0) + range.begin, call.in<T>(1) + range.begin,
                                              call.out<T>(2) + range.begin, range.end - range.begin);
}

}  // namespace fastnn
