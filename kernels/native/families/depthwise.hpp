// Depthwise convolution: each channel is a group with a filter of its own. This is no matrix product, so
// vectors run along the channels. Images are read in place; filter taps outside of the image are skipped.
//
// Letters as in conv_ref.py, with O = C. Sums run over r and s in ascending order; those of dw over n, p and
// q, with a sum of its own for each row of outputs.
#pragma once

#include <algorithm>
#include <cstring>

#include "families/correlation.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// A depthwise convolution of an image (H, W, C) to (P, Q, C); tap (r, s) reads the pixel
// (p stride + r dilation - padding, ...).
struct Depthwise {
    std::int64_t H, W, C, P, Q, R, S, stride[2], padding[2], dilation[2];

    // The filter rows that read a row of the image for output row p; the outputs for which a filter column
    // does.
    Range rows(std::int64_t p) const { return seen_within(p * stride[0] - padding[0], dilation[0], R, H); }
    Range columns(std::int64_t q) const { return seen_within(q * stride[1] - padding[1], dilation[1], S, W); }
    Range outputs(std::int64_t s) const { return seen_within(s * dilation[1] - padding[1], stride[1], Q, W); }
    // The outputs for which all filter columns are in the image.
    Range inner() const {
        if (S == 0) return {0, Q};
        const Range first = outputs(0), last = outputs(S - 1);
        const std::int64_t begin = first.begin > last.begin ? first.begin : last.begin;
        const std::int64_t end = first.end < last.end ? first.end : last.end;
        return {begin, end < begin ? begin : end};
    }
    // The offset in the image of the first tap of a filter row for output (p, q); it may be outside.
    std::int64_t corner(std::int64_t p, std::int64_t q, std::int64_t r) const {
        return ((p * stride[0] + r * dilation[0] - padding[0]) * W + q * stride[1] - padding[1]) * C;
    }
};

inline Depthwise depthwise_of(const Geometry &g) {
    return {g.H,
            g.W,
            g.C,
            g.P,
            g.Q,
            g.R,
            g.S,
            {g.stride[0], g.stride[1]},
            {g.padding[0], g.padding[1]},
            {g.dilation[0], g.dilation[1]}};
}

// The size of filter rows and the distance of outputs, if they are constants of the compilation: pixels that
// several outputs read are loaded only once then.
template <int SIZE, int STRIDE> struct Taps {};
using AnyTaps = Taps<0, 0>;

// Computes COUNT neighbouring outputs of row p, y (Q, C), whose filter columns `columns` are all in the image.
// (Channels innermost: with the pixels innermost, which may be a multiple of 2 KiB apart, lines push each
// other out of the L1 cache.)
template <class T, int COUNT, int SIZE, int STRIDE>
inline void depthwise_pixels(const Depthwise &g, const T *x, const T *w, const T *b, std::int64_t p,
                             std::int64_t q, Range rows, Range columns, T *y, Taps<SIZE, STRIDE>) {
    const std::int64_t C = g.C, next = g.dilation[0] * g.W * C, step = g.dilation[1] * C;
    const std::int64_t apart = g.stride[1] * C, filter_row = g.S * C;
    const T *const seen = x + g.corner(p, q, rows.begin) + columns.begin * step;
    const T *const filters = w + (rows.begin * g.S + columns.begin) * C;
    T *const to = y + q * C;
    for_vectors<T>(0, C, [=](std::int64_t c, int n) {
        Vec<T> sum[COUNT];
        const Vec<T> bias = b ? load_n(b + c, n) : Vec<T>{};
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) sum[i] = bias;
        const T *row = seen + c, *filter = filters + c;
        for (std::int64_t r = rows.begin; r < rows.end; ++r, row += next, filter += filter_row) {
            const T *pixel = row;
            if constexpr (SIZE > 0) {
                Vec<T> weight[SIZE];
#pragma GCC unroll 8
                for (int s = 0; s < SIZE; ++s) weight[s] = load_n(filter + s * C, n);
#pragma GCC unroll 32
                for (int j = 0; j < (COUNT - 1) * STRIDE + SIZE; ++j, pixel += C) {
                    const Vec<T> value = load_n(pixel, n);
#pragma GCC unroll 8
                    for (int s = SIZE - 1; s >= 0; --s)
                        if (j >= s && (j - s) % STRIDE == 0 && (j - s) / STRIDE < COUNT)
                            sum[(j - s) / STRIDE] = fma(value, weight[s], sum[(j - s) / STRIDE]);
                }
            } else {
                const T *place = filter;
                for (std::int64_t s = columns.begin; s < columns.end; ++s, pixel += step, place += C) {
                    const Vec<T> weight = load_n(place, n);
#pragma GCC unroll 8
                    for (int i = 0; i < COUNT; ++i)
                        sum[i] = fma(load_n(pixel + i * apart, n), weight, sum[i]);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < COUNT; ++i) store_n(to + i * C + c, sum[i], n);
    });
}

// Calls body(taps) with the constants for which there are kernels of their own.
template <class Body> inline void with_taps(const Depthwise &g, Body body) {
    if (g.dilation[1] == 1 && g.S == 3 && g.stride[1] == 1) return body(Taps<3, 1>());
    if (g.dilation[1] == 1 && g.S == 3 && g.stride[1] == 2) return body(Taps<3, 2>());
    if (g.dilation[1] == 1 && g.S == 5 && g.stride[1] == 1) return body(Taps<5, 1>());
    body(AnyTaps());
}

// The rows `lines` of y = b + x * w.  x (H, W, C), w (R, S, C), b (C,) or null -> y (lines, Q, C)
// `after(pixels, count, width)` is called for each row when it is complete.
template <class T, class After>
void depthwise_forward(const Depthwise &g, const T *x, const T *w, const T *b, Range lines, T *y,
                       After after) {
    const Range inner = g.inner();
    for (std::int64_t p = lines.begin; p < lines.end; ++p, y += g.Q * g.C) {
        const Range rows = g.rows(p);
        const auto at_the_edge = [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t q = begin; q < end; ++q)
                depthwise_pixels<T, 1>(g, x, w, b, p, q, rows, g.columns(q), y, AnyTaps());
        };
        at_the_edge(0, inner.begin);
        with_taps(g, [&](auto taps) {
            std::int64_t q = inner.begin;
            for (; q + 8 <= inner.end; q += 8)
                depthwise_pixels<T, 8>(g, x, w, b, p, q, rows, {0, g.S}, y, taps);
            for (; q + 4 <= inner.end; q += 4)
                depthwise_pixels<T, 4>(g, x, w, b, p, q, rows, {0, g.S}, y, taps);
            for (; q < inner.end; ++q)
                depthwise_pixels<T, 1>(g, x, w, b, p, q, rows, {0, g.S}, y, taps);
        });
        at_the_edge(inner.end, g.Q);
        after(y, g.Q, g.C);
    }
}

// The rows `lines` of dx, whatever the stride.  dy (P, Q, C), w (R, S, C) -> dx (H, W, C)
template <class T, class After>
void depthwise_dx(const Depthwise &g, const T *dy, const T *w, Range lines, T *dx, After after) {
    const std::int64_t count = lines.end - lines.begin;
    std::memset(dx + lines.begin * g.W * g.C, 0, std::size_t(count * g.W * g.C) * sizeof(T));
    for (std::int64_t p = 0; p < g.P; ++p) {
        const Range rows =
            seen_within(p * g.stride[0] - g.padding[0] - lines.begin, g.dilation[0], g.R, count);
        for (std::int64_t r = rows.begin; r < rows.end; ++r)
            for (std::int64_t q = 0; q < g.Q; ++q) {
                const T *const gradient = dy + (p * g.Q + q) * g.C;
                const Range columns = g.columns(q);
                for (std::int64_t s = columns.begin; s < columns.end; ++s) {
                    const T *const filter = w + (r * g.S + s) * g.C;
                    T *const pixel = dx + g.corner(p, q, r) + s * g.dilation[1] * g.C;
                    for_vectors<T>(0, g.C, [=](std::int64_t c, int n) {
                        const Vec<T> weight = load_n(filter + c, n);
                        store_n(pixel + c, fma(load_n(gradient + c, n), weight, load_n(pixel + c, n)), n);
                    });
                }
            }
    }
    after(dx + lines.begin * g.W * g.C, count * g.W, g.C);
}

// A block of at most this many rows and columns of taps is summed at the same time.
constexpr int TAPS_TOGETHER = 3;

// Adds the contribution of an output row to some channels of ROWS x COLUMNS taps from (r, s) on.
template <class T, int ROWS, int COLUMNS>
inline void depthwise_places(const Depthwise &g, const T *x, const T *dy, std::int64_t p, std::int64_t r,
                             std::int64_t s, Range inner, const Range (&outputs)[COLUMNS], std::int64_t c,
                             int n, T *dw) {
    const std::int64_t next = g.dilation[0] * g.W * g.C, apart = g.dilation[1] * g.C;
    const std::int64_t step = g.stride[1] * g.C;
    const T *const seen = x + g.corner(p, 0, r) + s * apart + c, *const gradients = dy + p * g.Q * g.C + c;
    Vec<T> sum[ROWS][COLUMNS] = {};
    const auto add = [&](std::int64_t q, int j, Vec<T> gradient) INLINED {
#pragma GCC unroll 4
        for (int i = 0; i < ROWS; ++i)
            sum[i][j] = fma(load_n(seen + q * step + i * next + j * apart, n), gradient, sum[i][j]);
    };
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j)
        for (std::int64_t q = outputs[j].begin; q < std::min(outputs[j].end, inner.begin); ++q)
            add(q, j, load_n(gradients + q * g.C, n));
    for (std::int64_t q = inner.begin; q < inner.end; ++q) {
        const Vec<T> gradient = load_n(gradients + q * g.C, n);
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) add(q, j, gradient);
    }
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j)
        for (std::int64_t q = std::max(outputs[j].begin, inner.end); q < outputs[j].end; ++q)
            add(q, j, load_n(gradients + q * g.C, n));
#pragma GCC unroll 4
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) {
            T *const place = dw + ((r + i) * g.S + s + j) * g.C + c;
            store_n(place, load_n(place, n) + sum[i][j], n);
        }
    }
}

// Adds an image to dw, for some channels.  x (H, W, C), dy (P, Q, C) -> dw (R, S, C)
template <class T> void depthwise_dw(const Depthwise &g, const T *x, const T *dy, Range channels, T *dw) {
    const Range inner = g.inner();
    const Tiles of_columns(g.S, TAPS_TOGETHER);
    for (std::int64_t p = 0; p < g.P; ++p) {
        const Range rows = g.rows(p);
        const Tiles of_rows(rows.end - rows.begin, TAPS_TOGETHER);
        const auto add_row = [&](auto height, auto width, std::int64_t r, std::int64_t s) {
            Range outputs[width];
            for (int j = 0; j < width; ++j) outputs[j] = g.outputs(s + j);
            for_vectors<T>(channels.begin, channels.end, [&](std::int64_t c, int n) {
                depthwise_places<T, height, width>(g, x, dy, p, r, s, inner, outputs, c, n, dw);
            });
        };
        for (std::int64_t i = 0; i < of_rows.count; ++i)
            for (std::int64_t j = 0; j < of_columns.count; ++j)
                with_constant<TAPS_TOGETHER>(of_rows.length(i), [&](auto height) {
                    with_constant<TAPS_TOGETHER>(of_columns.length(j), [&](auto width) {
                        add_row(height, width, rows.begin + of_rows.begin(i), of_columns.begin(j));
                    });
                });
    }
}

}  // namespace fastnn
