// Depthwise convolution: each channel is a group with a filter of its own. This is no matrix product, so
// vectors run along the channels. Images are read in place; filter taps outside of the image are skipped.
//
// Letters as in conv_ref.py, with O = C. Sums run over r and s in ascending order; the sums of dw run over n,
// p and q, with separate sums for even and odd q.
#pragma once

#include <cstring>

#include "families/correlation.hpp"

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

// Computes some channels of COUNT neighbouring outputs of row p, y (Q, C), whose filter columns `s` are all
// in the image.
template <class T, int COUNT>
inline void depthwise_pixels(const Depthwise &g, const T *x, const T *w, const T *b, std::int64_t p,
                             std::int64_t q, Range rows, Range columns, std::int64_t c, int n, T *y) {
    const std::int64_t apart = g.stride[1] * g.C, step = g.dilation[1] * g.C;
    Vec<T> sum[COUNT];
    const Vec<T> bias = b ? load_n(b + c, n) : Vec<T>{};
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) sum[i] = bias;
    for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        const T *seen = x + g.corner(p, q, r) + columns.begin * step + c;
        const T *filter = w + (r * g.S + columns.begin) * g.C + c;
        for (std::int64_t s = columns.begin; s < columns.end; ++s, seen += step, filter += g.C) {
            const Vec<T> weight = load_n(filter, n);
#pragma GCC unroll 8
            for (int i = 0; i < COUNT; ++i) sum[i] = fma(load_n(seen + i * apart, n), weight, sum[i]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < COUNT; ++i) store_n(y + (q + i) * g.C + c, sum[i], n);
}

// The rows `lines` of y = b + x * w.  x (H, W, C), w (R, S, C), b (C,) or null -> y (lines, Q, C)
// `after(pixels, count, width)` is called for each row when it is complete.
template <class T, class After>
void depthwise_forward(const Depthwise &g, const T *x, const T *w, const T *b, Range lines, T *y,
                       After after) {
    const Range inner = g.inner();
    for (std::int64_t p = lines.begin; p < lines.end; ++p, y += g.Q * g.C) {
        const Range rows = g.rows(p);
        for_vectors<T>(0, g.C, [&](std::int64_t c, int n) {
            const auto at_the_edge = [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t q = begin; q < end; ++q)
                    depthwise_pixels<T, 1>(g, x, w, b, p, q, rows, g.columns(q), c, n, y);
            };
            std::int64_t q = inner.begin;
            at_the_edge(0, q);
            for (; q + 8 <= inner.end; q += 8)
                depthwise_pixels<T, 8>(g, x, w, b, p, q, rows, {0, g.S}, c, n, y);
            for (; q + 4 <= inner.end; q += 4)
                depthwise_pixels<T, 4>(g, x, w, b, p, q, rows, {0, g.S}, c, n, y);
            at_the_edge(q, g.Q);
        });
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

// Adds the contribution of a row of outputs to some channels of COUNT neighbouring taps of a filter row.
template <class T, int COUNT>
inline void depthwise_places(const Depthwise &g, const T *x, const T *dy, std::int64_t p, std::int64_t r,
                             std::int64_t s, Range outputs, std::int64_t c, int n, T *dw) {
    T *const place = dw + (r * g.S + s) * g.C + c;
    const std::int64_t apart = g.dilation[1] * g.C, step = g.stride[1] * g.C;
    Vec<T> sum[COUNT] = {}, odd[COUNT] = {};  // two dependency chains, to hide the latency of the FMA
    const T *seen = x + g.corner(p, outputs.begin, r) + s * apart + c;
    const T *gradient = dy + (p * g.Q + outputs.begin) * g.C + c;
    std::int64_t q = outputs.begin;
    for (; q + 2 <= outputs.end; q += 2, seen += 2 * step, gradient += 2 * g.C) {
        const Vec<T> first = load_n(gradient, n), second = load_n(gradient + g.C, n);
#pragma GCC unroll 4
        for (int i = 0; i < COUNT; ++i) {
            sum[i] = fma(load_n(seen + i * apart, n), first, sum[i]);
            odd[i] = fma(load_n(seen + step + i * apart, n), second, odd[i]);
        }
    }
    for (int i = 0; i < COUNT; ++i) {
        if (q < outputs.end) sum[i] = fma(load_n(seen + i * apart, n), load_n(gradient, n), sum[i]);
        store_n(place + i * g.C, load_n(place + i * g.C, n) + (sum[i] + odd[i]), n);
    }
}

// Adds an image to dw, for some channels.  x (H, W, C), dy (P, Q, C) -> dw (R, S, C)
template <class T> void depthwise_dw(const Depthwise &g, const T *x, const T *dy, Range channels, T *dw) {
    const Range inner = g.inner();
    for_vectors<T>(channels.begin, channels.end, [&](std::int64_t c, int n) {
        for (std::int64_t p = 0; p < g.P; ++p) {
            const Range rows = g.rows(p);
            for (std::int64_t r = rows.begin; r < rows.end; ++r) {
                std::int64_t s = 0;
                for (; s + 3 <= g.S; s += 3) depthwise_places<T, 3>(g, x, dy, p, r, s, inner, c, n, dw);
                for (; s < g.S; ++s) depthwise_places<T, 1>(g, x, dy, p, r, s, inner, c, n, dw);
                for (s = 0; s < g.S; ++s) {
                    const Range own = g.outputs(s);
                    const std::int64_t left = own.end < inner.begin ? own.end : inner.begin;
                    const std::int64_t right = own.begin > inner.end ? own.begin : inner.end;
                    for (const Range edge : {Range{own.begin, left}, Range{right, own.end}})
                        if (edge.begin < edge.end) depthwise_places<T, 1>(g, x, dy, p, r, s, edge, c, n, dw);
                }
            }
        }
    });
}

}  // namespace fastnn
