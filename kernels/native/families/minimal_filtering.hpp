// The transforms of Winograd's minimal filtering F(m, 3): m outputs of a filter of 3 weights with m + 2
// multiplications (Winograd 1980; Lavin & Gray 2016, arXiv:1509.09308).
//
//     y = A^T [(G w) . (B^T x)] SCALE        x: m + 2 pixels, w: 3 weights, y: m outputs
//
// Each function returns the product of row I of a matrix and a vector whose element i is line(i), in turn a
// SIMD vector of channels. In float32, F(2, 3) loses almost no precision and F(4, 3) about three bits.
#pragma once

#include "simd/simd.hpp"

namespace fastnn {

template <class T, int OUTPUTS> struct MinimalFiltering;

// The points 0, 1, -1 and infinity. All constants are 1 and 1/2, so whole numbers stay exact.
template <class T> struct MinimalFiltering<T, 2> {
    static constexpr T SCALE = 1;

    template <int I, class Line> static auto pixels(Line x) {  // B^T x
        if constexpr (I == 0) return x(0) - x(2);
        if constexpr (I == 1) return x(1) + x(2);
        if constexpr (I == 2) return x(2) - x(1);
        if constexpr (I == 3) return x(1) - x(3);
    }
    template <int I, class Line> static auto filters(Line w) {  // G w
        if constexpr (I == 0) return w(0);
        if constexpr (I == 1) return T(0.5) * (w(0) + w(2)) + T(0.5) * w(1);
        if constexpr (I == 2) return T(0.5) * (w(0) + w(2)) - T(0.5) * w(1);
        if constexpr (I == 3) return w(2);
    }
    template <int I, class Line> static auto outputs(Line m) {  // A^T m
        if constexpr (I == 0) return m(0) + m(1) + m(2);
        if constexpr (I == 1) return m(1) - m(2) - m(3);
    }
    template <int I, class Line> static auto gradients(Line dy) {  // A dy
        if constexpr (I == 0) return dy(0);
        if constexpr (I == 1) return dy(0) + dy(1);
        if constexpr (I == 2) return dy(0) - dy(1);
        if constexpr (I == 3) return -dy(1);
    }
    template <int I, class Line> static auto filter_gradients(Line du) {  // G^T du
        if constexpr (I == 0) return du(0) + T(0.5) * (du(1) + du(2));
        if constexpr (I == 1) return T(0.5) * (du(1) - du(2));
        if constexpr (I == 2) return T(0.5) * (du(1) + du(2)) + du(3);
    }
};

// The points 0, 1, -1, 2, -2 and infinity. G is three times the usual matrix, so that its constants are sums
// of powers of 2. Whole numbers therefore stay exact as long as the sums have about 20 bits to spare: the
// product with SCALE is rounded to the exact result.
template <class T> struct MinimalFiltering<T, 4> {
    static constexpr T SCALE = T(1) / T(9);

    // y + factor x. The factors are powers of 2, so one rounding gives the same bits as two.
    static Vec<T> sum(Vec<T> y, T factor, Vec<T> x) { return fma(broadcast(factor), x, y); }

    template <int I, class Line> static auto pixels(Line x) {
        if constexpr (I == 0) return sum(x(4) - x(2), 4, x(0) - x(2));  // 4 x0 - 5 x2 + x4
        if constexpr (I == 1) return sum(x(4), -4, x(2)) + sum(x(3), -4, x(1));
        if constexpr (I == 2) return sum(x(4), -4, x(2)) - sum(x(3), -4, x(1));
        if constexpr (I == 3) return sum(x(4) - x(2), 2, x(3) - x(1));
        if constexpr (I == 4) return sum(x(4) - x(2), -2, x(3) - x(1));
        if constexpr (I == 5) return sum(x(5) - x(3), -4, x(3) - x(1));  // 4 x1 - 5 x3 + x5
    }
    template <int I, class Line> static auto filters(Line w) {
        if constexpr (I == 0) return T(0.75) * w(0);
        if constexpr (I == 1) return T(-0.5) * ((w(0) + w(2)) + w(1));
        if constexpr (I == 2) return T(-0.5) * ((w(0) + w(2)) - w(1));
        if constexpr (I == 3) return (T(0.125) * w(0) + T(0.5) * w(2)) + T(0.25) * w(1);
        if constexpr (I == 4) return (T(0.125) * w(0) + T(0.5) * w(2)) - T(0.25) * w(1);
        if constexpr (I == 5) return T(3) * w(2);
    }
    template <int I, class Line> static auto outputs(Line m) {
        if constexpr (I == 0) return m(0) + (m(1) + m(2)) + (m(3) + m(4));
        if constexpr (I == 1) return sum(m(1) - m(2), 2, m(3) - m(4));
        if constexpr (I == 2) return sum(m(1) + m(2), 4, m(3) + m(4));
        if constexpr (I == 3) return sum(m(1) - m(2), 8, m(3) - m(4)) + m(5);
    }
    template <int I, class Line> static auto gradients(Line dy) {
        if constexpr (I == 0) return dy(0);
        if constexpr (I == 1) return (dy(0) + dy(2)) + (dy(1) + dy(3));
        if constexpr (I == 2) return (dy(0) + dy(2)) - (dy(1) + dy(3));
        if constexpr (I == 3) return sum(sum(dy(0), 4, dy(2)), 2, sum(dy(1), 4, dy(3)));
        if constexpr (I == 4) return sum(sum(dy(0), 4, dy(2)), -2, sum(dy(1), 4, dy(3)));
        if constexpr (I == 5) return dy(3);
    }
    template <int I, class Line> static auto filter_gradients(Line du) {
        if constexpr (I == 0) return T(0.75) * du(0) - T(0.5) * (du(1) + du(2)) + T(0.125) * (du(3) + du(4));
        if constexpr (I == 1) return T(0.5) * (du(2) - du(1)) + T(0.25) * (du(3) - du(4));
        if constexpr (I == 2) return T(0.5) * ((du(3) + du(4)) - (du(1) + du(2))) + T(3) * du(5);
    }
};

}  // namespace fastnn
