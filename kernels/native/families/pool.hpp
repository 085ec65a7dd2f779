// Max and average pooling and their gradients.
//
// Letters as in pool_ref.py. The gradients gather instead of scattering: each pixel of dx visits the windows
// that contain it. So parts own pixels, dx need not be cleared first, and a tap outside of its window or of
// the image has no effect. Sums run over p and q, or r and s, in ascending order.
#pragma once

#include <cstring>
#include <limits>

#include "families/act.hpp"
#include "families/pool_tiles.hpp"
#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

struct Windows : PoolSizes {
    explicit Windows(const PoolSizes &sizes) : PoolSizes(sizes) {}
    explicit Windows(const Call &call) : PoolSizes(call.sizes<PoolSizes>()) {}
};

// The range of the `size` taps of a window that are in the image, which has `inputs` pixels along this axis.
// The window starts at pixel `first`.
inline Range places_inside(std::int64_t first, std::int64_t size, std::int64_t inputs) {
    const std::int64_t begin = first < 0 ? -first : 0;
    const std::int64_t end = inputs - first < size ? inputs - first : size;
    return {begin, begin < end ? end : begin};
}

// Calls body(output, corner, rows, columns) for each pixel of y that a part owns: its offset in y, the offset
// of the window's first tap in x, and the taps of the window that are in the image.
template <class Body> inline void for_windows(const Windows &g, int part, int parts, Body body) {
    if (g.C == 0) return;
    const Range lines = share(g.N * g.P, part, parts);
    for (std::int64_t line = lines.begin; line < lines.end; ++line) {
        const std::int64_t top = line % g.P * g.stride[0] - g.padding[0];
        const Range rows = places_inside(top, g.R, g.H);
        for (std::int64_t q = 0; q < g.Q; ++q) {
            const std::int64_t left = q * g.stride[1] - g.padding[1];
            const std::int64_t corner = ((line / g.P * g.H + top) * g.W + left) * g.C;
            body((line * g.Q + q) * g.C, corner, rows, places_inside(left, g.S, g.W));
        }
    }
}

// Broadcasts an integer to all lanes.
template <class T> inline IntVec<T> tap_number(std::int64_t number) {
    return IntVec<T>{} + std::decay_t<decltype(IntVec<T>{}[0])>(number);
}

// Whether v replaces the maximum so far: if it is larger, or nan.
template <class T> inline auto beats(Vec<T> v, Vec<T> best) { return (v > best) | (v != v); }

// The maximum of a window so far, and its tap.
template <class T> struct Largest {
    Vec<T> value = broadcast(-std::numeric_limits<T>::infinity());
    IntVec<T> tap{};

    INLINED void meet(Vec<T> v, std::int64_t number) {
        const auto wins = beats<T>(v, value);
        value = select<T>(wins, v, value);
        tap = wins ? tap_number<T>(number) : tap;
    }
    INLINED void write(T *y, T *taps, int n) const {
        store_n(y, value, n);
        store_n(taps, Vec<T>(tap), n);  // the same bits
    }
};

// The pixels of a row of Q whose C channels may be loaded and stored as part of a whole vector: pixels that
// follow in ascending order overwrite what is behind them. All other pixels need masked stores, which are
// slow.
template <class T> inline std::int64_t pixels_of_whole_vectors(std::int64_t Q, std::int64_t C) {
    const std::int64_t touched = (LANES<T> + C - 1) / C;
    return C < LANES<T> && Q >= touched ? Q - touched + 1 : 0;
}

// Calls body(q, c, n) for the vectors of a row of Q pixels, pixel by pixel.
template <class T, class Body> INLINED inline void for_row(std::int64_t Q, std::int64_t C, Body body) {
    std::int64_t q = 0;
    for (const std::int64_t whole = pixels_of_whole_vectors<T>(Q, C); q < whole; ++q) body(q, 0, LANES<T>);
    for (; q < Q; ++q) for_vectors<T>(0, C, [=](std::int64_t c, int n) { body(q, c, n); });
}

// A row of y, if no window reaches beyond the image: x begins at the first pixel of its windows. Windows of R
// x S, or g.R x g.S if R = 0.
template <class T, int R, int S> void max_pool_line(const Windows &g, const T *x, T *y, T *taps) {
    const std::int64_t height = R ? R : g.R, width = R ? S : g.S;
    const std::int64_t column = g.C, row = g.W * column, step = g.stride[1] * column;
    for_row<T>(g.Q, column, [=](std::int64_t q, std::int64_t c, int n) {
        const T *const corner = x + q * step + c;
        Largest<T> largest{load_n(corner, n)};
        for (std::int64_t r = 0; r < height; ++r)
            for (std::int64_t s = 0; s < width; ++s)
                if (r + s > 0) largest.meet(load_n(corner + r * row + s * column, n), r * width + s);
        largest.write(y + q * column + c, taps + q * column + c, n);
    });
}

// `count` rows of y in succession, likewise.
template <class T> void max_pool_lines(const Windows &g, std::int64_t count, const T *x, T *y, T *taps) {
    const auto line = g.R == 2 && g.S == 2 ? max_pool_line<T, 2, 2> : max_pool_line<T, 0, 0>;
    const std::int64_t pixels = g.stride[0] * g.W * g.C, outputs = g.Q * g.C;
    for (std::int64_t p = 0; p < count; ++p) line(g, x + p * pixels, y + p * outputs, taps + p * outputs);
}

// Elements FIRST, FIRST + 2, ... of a pair of vectors.
template <int FIRST, class V, int... I>
INLINED inline V every_other(V low, V high, std::integer_sequence<int, I...>) {
    return lanes<(2 * I + FIRST)...>(low, high);
}

// The same maxima and taps for one channel that has a plane of its own, with rows of pixels `row` apart: of
// `count` rows of Q windows of R x 2. Whole vectors are read and written, also behind the last row.
template <class T>
void max_pool_plane(const T *x, std::int64_t row, std::int64_t count, std::int64_t Q, std::int64_t R, T *y,
                    T *taps) {
    constexpr auto all = std::make_integer_sequence<int, LANES<T>>();
    for (std::int64_t p = 0; p < count; ++p, y += Q, taps += Q)
        for (std::int64_t q = 0; q < Q; q += LANES<T>) {
            Largest<T> largest;
            for (std::int64_t r = 0; r < R; ++r) {
                const T *const pixels = x + (p * R + r) * row + 2 * q;
                const Vec<T> low = load(pixels), high = load(pixels + LANES<T>);
                const Vec<T> even = every_other<0>(low, high, all);
                if (r == 0)
                    largest.value = even;
                else
                    largest.meet(even, 2 * r);
                largest.meet(every_other<1>(low, high, all), 2 * r + 1);
            }
            largest.write(y + q, taps + q, LANES<T>);
        }
}

// The maximum of each window, and its tap r S + s: the first of equal maxima, or the last nan. A window
// outside of the image gives -inf and tap 0. x (N, H, W, C) -> y (N, P, Q, C), taps (N, P, Q, C), integers of
// the width of T
template <class T> void max_pool_forward(const Call &call, int part, int parts) {
    using op = operands::MAX_POOL_FORWARD;
    const Windows g(call);
    if (g.C > 0 && g.windows_stay_inside())
        return for_lines(g.N, g.P, part, parts, [&](std::int64_t n, Range lines) {
            const std::int64_t output = (n * g.P + lines.begin) * g.Q * g.C;
            max_pool_lines(g, lines.end - lines.begin,
                           call.in<T>(op::x) + (n * g.H + lines.begin * g.stride[0]) * g.W * g.C,
                           call.out<T>(op::y) + output, call.out<T>(op::taps) + output);
        });
    for_windows(g, part, parts, [&](std::int64_t output, std::int64_t corner, Range rows, Range columns) {
        const bool sees = rows.begin < rows.end && columns.begin < columns.end;
        const std::int64_t first = sees ? rows.begin * g.S + columns.begin : 0;
        for_vectors<T>(0, g.C, [&](std::int64_t c, int n) {
            Largest<T> largest;
            largest.tap = tap_number<T>(first);
            for (std::int64_t r = rows.begin; r < rows.end; ++r)
                for (std::int64_t s = columns.begin; s < columns.end; ++s)
                    largest.meet(load_n(call.in<T>(op::x) + (corner + (r * g.W + s) * g.C + c), n),
                                 r * g.S + s);
            largest.write(call.out<T>(op::y) + output + c, call.out<T>(op::taps) + output + c, n);
        });
    });
}

// The factor on the sum over a window: 1 / (R S), or 1 / (its pixels inside the image) if scalar[0] is set.
template <class T> struct MeanFactor {
    T whole;
    bool only_inside;

    MeanFactor(const Windows &g, const Call &call)
        : whole(T(1 / double(g.R * g.S))), only_inside(call.scalar[0] != 0) {}

    T of(Range rows, Range columns) const {
        return only_inside ? T(1 / double((rows.end - rows.begin) * (columns.end - columns.begin))) : whole;
    }
};

// y = the mean over the window; pixels outside of the image are 0, or do not count if scalar[0] is set.
// x (N, H, W, C) -> y (N, P, Q, C)
template <class T> void avg_pool_forward(const Call &call, int part, int parts) {
    using op = operands::AVG_POOL_FORWARD;
    const Windows g(call);
    const T *const x = call.in<T>(op::x);
    const MeanFactor<T> mean(g, call);
    for_windows(g, part, parts, [&](std::int64_t output, std::int64_t corner, Range rows, Range columns) {
        const T factor = mean.of(rows, columns);
        for_vectors<T>(0, g.C, [&](std::int64_t c, int n) {
            Vec<T> sum{};
            for (std::int64_t r = rows.begin; r < rows.end; ++r)
                for (std::int64_t s = columns.begin; s < columns.end; ++s)
                    sum += load_n(x + (corner + (r * g.W + s) * g.C + c), n);
            store_n(call.out<T>(op::y) + output + c, sum * factor, n);
        });
    });
}

// The windows that contain a pixel, along one axis. They are updated from pixel to pixel, because computing
// them by a division takes longer than all other work for a pixel.
class SeenBy {
public:
    SeenBy(const Windows &g, int side)
        : outputs_(side ? g.Q : g.P), size_(side ? g.S : g.R), stride_(g.stride[side]),
          padding_(g.padding[side]) {}

    // `pixel` must not be smaller than in the previous call.
    Range move_to(std::int64_t pixel) {
        at_ = pixel + padding_;
        while (end_ < outputs_ && end_ * stride_ <= at_) ++end_;
        while (begin_ < end_ && begin_ * stride_ + size_ <= at_) ++begin_;
        return {begin_, end_};
    }

    // The tap at which the window of an output reads the pixel.
    std::int64_t place(std::int64_t output) const { return at_ - output * stride_; }

private:
    std::int64_t outputs_, size_, stride_, padding_, begin_ = 0, end_ = 0, at_ = 0;
};

// dx = f(sum of term(at, place, n) over the windows that contain the pixel), for n channels at a time: `at`
// is the offset of the window's channels in dy, `place` the tap of the pixel in the window. Some rows of
// image `n`, to which dx (H, W, C) belongs.
template <class T, class Term, class F>
inline void gather_lines(const Windows &g, std::int64_t n, Range lines, T *dx, Term term, F f) {
    if (g.C == 0) return;
    SeenBy below(g, 0);
    for (std::int64_t h = lines.begin; h < lines.end; ++h) {
        const Range ps = below.move_to(h);
        SeenBy beside(g, 1);
        for (std::int64_t w = 0; w < g.W; ++w) {
            const Range qs = beside.move_to(w);
            for_vectors<T>(0, g.C, [&](std::int64_t c, int lanes) {
                Vec<T> sum{};
                for (std::int64_t p = ps.begin; p < ps.end; ++p)
                    for (std::int64_t q = qs.begin; q < qs.end; ++q)
                        sum += term(((n * g.P + p) * g.Q + q) * g.C + c,
                                    below.place(p) * g.S + beside.place(q), lanes);
                store_n(dx + (h * g.W + w) * g.C + c, f(sum), lanes);
            });
        }
    }
}

// The same for the rows of all images that a part owns.
template <class T, class Term, class F>
inline void gather_windows(const Windows &g, T *dx, int part, int parts, Term term, F f) {
    for_lines(g.N, g.H, part, parts, [&](std::int64_t n, Range lines) {
        gather_lines(g, n, lines, dx + n * g.H * g.W * g.C, term, f);
    });
}

// The gradient of max pooling and, if it is OF_RELU, of the ReLU below it. The ReLU's output at the pixel
// that wins a window is the window's output y, so dy is multiplied with the derivative before it passes.
// dy, taps, y (N, P, Q, C); y may be null if it is not OF_RELU.
template <class T, bool OF_RELU> class MaxPoolGradient {
public:
    MaxPoolGradient(const Windows &g, const T *dy, const T *taps, const T *y)
        : g_(g), dy_(dy), taps_(taps), y_(y),
          spreads_(g.P > 0 && g.windows_tile_the_image() && (g.C >= LANES<T> || TileRow<T>::fits(g.S, g.C))),
          narrow_(g.Q, g.S, spreads_ && g.C < LANES<T> ? g.C : 0) {}

    // The rows of pixels that a part owns.  dx (N, H, W, C)
    void run(T *dx, int part, int parts) const {
        for_lines(g_.N, units(), part, parts, [&](std::int64_t n, Range lines) {
            lines_of_image(n, lines, dx + n * g_.H * g_.W * g_.C);
        });
    }
    std::int64_t window() const { return g_.R * g_.S; }  // pixels
    // A single image.  dx (H, W, C)
    void image(std::int64_t n, T *dx) const { lines_of_image(n, {0, units()}, dx); }

private:
    // An image is divided by rows of windows if they tile it, else by rows of pixels.
    std::int64_t units() const { return spreads_ ? g_.P : g_.H; }

    void lines_of_image(std::int64_t n, Range lines, T *dx) const {
        if (spreads_) return spread(n, lines, dx);
        const auto won = [=](std::int64_t at, std::int64_t place, int lanes) {
            const IntVec<T> winner = IntVec<T>(load_n(taps_ + at, lanes));
            const Vec<T> passed = gradient([=](const T *from) INLINED { return load_n(from + at, lanes); });
            return select<T>(winner == tap_number<T>(place), passed, Vec<T>{});
        };
        gather_lines(g_, n, lines, dx, won, [](Vec<T> sum) { return sum; });
    }

    // What passes of the gradients that fetch(dy) returns.
    template <class Fetch> INLINED Vec<T> gradient(Fetch fetch) const {
        if constexpr (OF_RELU)
            return relu_gradient<T>(fetch(y_), fetch(dy_));
        else
            return fetch(dy_);
    }

    // Each window writes its pixels, so dy and taps are read once.
    void spread(std::int64_t n, Range lines, T *dx) const {
        const std::int64_t row = g_.W * g_.C, covered = g_.Q * g_.S * g_.C;
        const auto clear = [=](std::int64_t begin, std::int64_t end) {
            std::memset(dx + begin, 0, std::size_t(end - begin) * sizeof(T));
        };
        const auto write = [=](std::int64_t pixel, int lanes, Vec<T> passed, auto won) INLINED {
            store_n(dx + pixel, Vec<T>{} + select<T>(won, passed, Vec<T>{}), lanes);
        };
        for (std::int64_t p = lines.begin; p < lines.end; ++p) {
            const std::int64_t top = p * g_.R * row, line = (n * g_.P + p) * g_.Q * g_.C;
            if (g_.C < LANES<T>)
                narrow_.for_vectors([&](std::int64_t e, int lanes, IntVec<T> column, auto fetch) INLINED {
                    const Vec<T> passed = gradient([&](const T *from) INLINED { return fetch(from + line); });
                    const IntVec<T> winner = IntVec<T>(fetch(taps_ + line));
                    for (std::int64_t r = 0; r < g_.R; ++r)
                        write(top + r * row + e, lanes, passed, winner == column + tap_number<T>(r * g_.S));
                });
            else
                for (std::int64_t q = 0; q < g_.Q; ++q)
                    for_overlapping_vectors<T>(g_.C, [&](std::int64_t c) INLINED {
                        const std::int64_t at = line + q * g_.C + c;
                        const Vec<T> passed =
                            gradient([=](const T *from) INLINED { return load(from + at); });
                        const IntVec<T> winner = IntVec<T>(load(taps_ + at));
                        for (std::int64_t r = 0; r < g_.R; ++r)
                            for (std::int64_t s = 0; s < g_.S; ++s)
                                write(top + r * row + (q * g_.S + s) * g_.C + c, LANES<T>, passed,
                                      winner == tap_number<T>(r * g_.S + s));
                    });
            for (std::int64_t r = 0; r < g_.R; ++r) clear(top + r * row + covered, top + (r + 1) * row);
            if (p == g_.P - 1) clear(top + g_.R * row, g_.H * row);
        }
    }

    const Windows g_;
    const T *const dy_, *const taps_, *const y_;
    const bool spreads_;
    const TileRow<T> narrow_;
};

// dx = sum of dy over the windows whose maximum is this pixel. In plans, times the derivative of the ReLU
// below, whose maximum over a window is y. dy, taps (N, P, Q, C), y (N, P, Q, C) or null -> dx (N, H, W, C)
template <class T> void max_pool_dx(const Call &call, int part, int parts) {
    using op = operands::MAX_POOL_DX;
    const Windows g(call);
    const T *const dy = call.in<T>(op::dy), *const taps = call.in<T>(op::taps), *const y = call.in<T>(op::y);
    if (call.activation == RELU)
        MaxPoolGradient<T, true>(g, dy, taps, y).run(call.out<T>(op::dx), part, parts);
    else
        MaxPoolGradient<T, false>(g, dy, taps, y).run(call.out<T>(op::dx), part, parts);
}

// dx = sum over the windows that contain the pixel of dy / (R S), or of dy / (pixels inside the image) if
// scalar[0] is set. dy (N, P, Q, C) -> dx (N, H, W, C)
template <class T> void avg_pool_dx(const Call &call, int part, int parts) {
    using op = operands::AVG_POOL_DX;
    const Windows g(call);
    const MeanFactor<T> mean(g, call);
    const T *const dy = call.in<T>(op::dy);
    if (mean.only_inside) {
        const auto weighted = [&](std::int64_t at, std::int64_t, int n) {
            const std::int64_t pixel = at / g.C, q = pixel % g.Q, p = pixel / g.Q % g.P;
            const Range rows = places_inside(p * g.stride[0] - g.padding[0], g.R, g.H);
            const Range columns = places_inside(q * g.stride[1] - g.padding[1], g.S, g.W);
            return load_n(dy + at, n) * mean.of(rows, columns);
        };
        gather_windows(g, call.out<T>(op::dx), part, parts, weighted, [](Vec<T> sum) { return sum; });
        return;
    }
    const auto seen = [=](std::int64_t at, std::int64_t, int n) { return load_n(dy + at, n); };
    gather_windows(g, call.out<T>(op::dx), part, parts, seen,
                   [factor = mean.whole](Vec<T> sum) { return sum * factor; });
}

}  // namespace fastnn
