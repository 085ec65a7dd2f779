// Convolutions to few outputs, with vectors along the pixels: outputs that do not fill a vector would leave
// lanes idle in a matrix product (LeNet's first convolution has 6). The channels of an image are copied to
// planes of their own, so that neighbouring pixels are contiguous, and results are copied back.
//
// Letters as in conv_ref.py. Outputs have one accumulator, which adds over r, s and c in ascending order, as
// in correlation.hpp. The sums of dw have one accumulator for each lane, and these are added last.
#pragma once

#include <algorithm>
#include <cstring>

#include "families/correlation.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// Rows of a tile are outputs, its columns vectors of pixels. A tile of few rows has twice the columns, for
// enough accumulators to hide the latency of the FMA.
constexpr int PLANE_ROWS = 6;
constexpr int plane_columns(int rows) { return rows > PLANE_ROWS / 2 ? TILE_COLUMNS : 2 * TILE_COLUMNS; }
// The tiles of dw: taps by outputs.
constexpr int PLANE_TAPS = 4;
constexpr int GRADIENT_ROWS = TILE_COLUMNS >= 4 ? 6 : 3;

// The pixels of an image (H, W, C) by channel, with zeros around them. Strides are undone: pixels that the
// same tap reads for neighbouring outputs are contiguous, because each remainder of a row or column modulo
// the stride has a plane of its own. Output (p, q) has position p * width + q, whose tap k is at taps[k].
template <class T> struct Planes {
    const Geometry &g;
    const std::int64_t width, rows;  // of outputs that are computed together

    Planes(const Geometry &g, std::int64_t rows) : g(g), width(g.Q + reach(1)), rows(rows) {}

    // Whole tiles of positions are read, which may end behind the last row.
    static constexpr std::int64_t SLACK = 2 * TILE_COLUMNS * LANES<T>;

    std::int64_t positions(std::int64_t count) const { return (count - 1) * width + g.Q; }
    std::int64_t taps() const { return g.R * g.S * g.C; }
    std::int64_t plane() const { return (rows + reach(0)) * width; }
    std::int64_t elements() const { return whole_vectors(g.stride[0] * g.stride[1] * g.C * plane() + SLACK); }
    // Rounded up to whole cache lines.
    static std::int64_t whole_vectors(std::int64_t elements) {
        return whole_lines(elements * std::int64_t(sizeof(T))) / std::int64_t(sizeof(T));
    }

    std::int64_t offset(std::int64_t r, std::int64_t s, std::int64_t c) const {
        const std::int64_t y = r * g.dilation[0], x = s * g.dilation[1];
        return plane_of(y % g.stride[0], x % g.stride[1], c) + y / g.stride[0] * width + x / g.stride[1];
    }
    void list_taps(std::int64_t *taps) const {
        for (std::int64_t r = 0; r < g.R; ++r)
            for (std::int64_t s = 0; s < g.S; ++s)
                for (std::int64_t c = 0; c < g.C; ++c) *taps++ = offset(r, s, c);
    }

    // Fills the planes with the pixels that the output rows `lines` read.
    void draw(const T *image, Range lines, T *to) const {
        std::memset(to, 0, std::size_t(elements()) * sizeof(T));
        for (std::int64_t x = 0; x < g.stride[1]; ++x) {
            const std::int64_t left = x - g.padding[1];
            const Range columns = seen_within(left, g.stride[1], width, g.W);
            for (std::int64_t y = 0; y < g.stride[0]; ++y) {
                const std::int64_t top = lines.begin * g.stride[0] + y - g.padding[0];
                const Range inside = seen_within(top, g.stride[0], lines.end - lines.begin + reach(0), g.H);
                for (std::int64_t row = inside.begin; row < inside.end; ++row) {
                    const std::int64_t pixel = (top + row * g.stride[0]) * g.W + left;
                    const T *const from = image + (pixel + columns.begin * g.stride[1]) * g.C;
                    T *const at = to + plane_of(y, x, 0) + row * width + columns.begin;
                    if (g.C * g.stride[1] == 1)
                        Canvas<T>::copy(from, at, columns.end - columns.begin);
                    else
                        split_channels(from, g.stride[1] * g.C, columns.end - columns.begin, g.C, at,
                                       plane());
                }
            }
        }
    }

private:
    // Rows or columns of a plane that the last output reads beyond its first one.
    std::int64_t reach(int side) const {
        const std::int64_t size = side ? g.S : g.R;
        return size ? (size - 1) * g.dilation[side] / g.stride[side] : 0;
    }
    std::int64_t plane_of(std::int64_t y, std::int64_t x, std::int64_t c) const {
        return ((y * g.stride[1] + x) * g.C + c) * plane();
    }
};

// The number of output rows that are computed together: their results stay in the L1 cache.
inline std::int64_t plane_lines(const Geometry &g) {
    constexpr std::int64_t ELEMENTS = 5120;
    const std::int64_t row = std::max<std::int64_t>(g.O * (g.Q + g.S), 1);
    const Tiles even(g.P, std::max<std::int64_t>(ELEMENTS / row, 1));
    return std::max<std::int64_t>((g.P + even.count - 1) / even.count, 1);
}

// y[i, position] = b[i] + sum_k x[taps[k] + position] w[k, i] for ROWS outputs and some vectors of positions.
template <class T, int ROWS>
[[gnu::noinline]] void plane_tile(const T *x, const std::int64_t *taps, std::int64_t K, const T *w,
                                  std::int64_t O, const T *b, T *y, std::int64_t apart) {
    constexpr int COLUMNS = plane_columns(ROWS);
    Vec<T> sum[ROWS][COLUMNS] = {};
    for (std::int64_t k = 0; k < K; ++k, w += O) {
        const T *const from = x + taps[k];
        if constexpr (COLUMNS <= ROWS) {  // keep the smaller operand in registers
            Vec<T> pixels[COLUMNS];
#pragma GCC unroll 8
            for (int j = 0; j < COLUMNS; ++j) pixels[j] = load(from + j * LANES<T>);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) {
                const Vec<T> weight = broadcast(w[i]);
#pragma GCC unroll 8
                for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(weight, pixels[j], sum[i][j]);
            }
        } else {
            Vec<T> weight[ROWS];
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) weight[i] = broadcast(w[i]);
#pragma GCC unroll 8
            for (int j = 0; j < COLUMNS; ++j) {
                const Vec<T> pixels = load(from + j * LANES<T>);
#pragma GCC unroll 8
                for (int i = 0; i < ROWS; ++i) sum[i][j] = fma(weight[i], pixels, sum[i][j]);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 8
        for (int j = 0; j < COLUMNS; ++j)
            store(y + i * apart + j * LANES<T>, b ? sum[i][j] + broadcast(b[i]) : sum[i][j]);
    }
}

// sum[k, i] += x[taps[k] + position] dy[i, position] for TAPS taps and ROWS outputs, over whole vectors of
// positions.
template <class T, int TAPS, int ROWS>
[[gnu::noinline]] void gradient_tile(const T *x, const std::int64_t *taps, const T *dy, std::int64_t apart,
                                     std::int64_t positions, T *sums, std::int64_t O) {
    Vec<T> sum[TAPS][ROWS] = {};
    const T *seen[TAPS];
    for (int k = 0; k < TAPS; ++k) seen[k] = x + taps[k];
    for (std::int64_t at = 0; at < positions; at += LANES<T>) {
        Vec<T> gradient[ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) gradient[i] = load(dy + i * apart + at);
#pragma GCC unroll 8
        for (int k = 0; k < TAPS; ++k) {
            const Vec<T> pixels = load(seen[k] + at);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) sum[k][i] = fma(pixels, gradient[i], sum[k][i]);
        }
    }
    for (int k = 0; k < TAPS; ++k)
        for (int i = 0; i < ROWS; ++i) {
            T *const place = sums + (k * O + i) * LANES<T>;
            store(place, load(place) + sum[k][i]);
        }
}

// Calls body(std::integral_constant<int, n>()), n from 1 to MOST.
template <int MOST, class Body> inline void with_constant(std::int64_t n, Body body) {
    if (n == MOST)
        body(std::integral_constant<int, MOST>());
    else if constexpr (MOST > 1)
        with_constant<MOST - 1>(n, body);
}

// A convolution by planes: what a part keeps in its scratch memory, and the work on some rows of an image.
template <class T> struct PlaneConvolution {
    const Geometry g;
    const Planes<T> planes;

    explicit PlaneConvolution(const Geometry &g) : g(g), planes(this->g, plane_lines(g)) {}
    PlaneConvolution(const PlaneConvolution &) = delete;

    // Results of an output, or gradients: whole tiles of positions.
    std::int64_t apart() const {
        return Planes<T>::whole_vectors(planes.positions(planes.rows) + Planes<T>::SLACK);
    }
    std::int64_t tap_bytes() const { return whole_lines(planes.taps() * std::int64_t(sizeof(std::int64_t))); }
    std::int64_t bytes() const {
        return tap_bytes() + (planes.elements() + g.O * apart()) * std::int64_t(sizeof(T));
    }

    // y = activation(b + x * w) for the rows `lines` of an image.  y (lines, Q, O)
    template <class Apply>
    void forward(const T *x, const T *w, const T *b, Range lines, T *memory, T *y, Apply apply) const {
        const Memory of{*this, memory};
        planes.list_taps(of.taps);
        for (std::int64_t first = lines.begin; first < lines.end; first += planes.rows) {
            const Range now = {first, std::min(first + planes.rows, lines.end)};
            planes.draw(x, now, of.pixels);
            const std::int64_t positions = planes.positions(now.end - now.begin);
            const Tiles outputs(g.O, PLANE_ROWS);
            for (std::int64_t tile = 0; tile < outputs.count; ++tile)
                with_constant<PLANE_ROWS>(outputs.length(tile), [&](auto rows) {
                    const std::int64_t o = outputs.begin(tile);
                    for (std::int64_t at = 0; at < positions; at += plane_columns(rows) * LANES<T>)
                        plane_tile<T, rows>(of.pixels + at, of.taps, planes.taps(), w + o, g.O,
                                            b ? b + o : nullptr, of.results + o * apart() + at, apart());
                });
            apply(of.results, g.O, positions, apart());
            for (std::int64_t p = now.begin; p < now.end; ++p)
                join_channels(of.results + (p - now.begin) * planes.width, apart(), g.Q, g.O,
                              y + (p - lines.begin) * g.Q * g.O);
        }
    }

    std::int64_t sum_elements() const { return planes.taps() * g.O * LANES<T>; }
    std::int64_t dw_bytes() const { return bytes() + sum_elements() * std::int64_t(sizeof(T)); }

    // dw[r, s, c, o] = sum over some images and their pixels. dy_of(n) returns the gradients of the outputs
    // of image n.
    template <class Gradients>
    void gradients(const T *x, Gradients dy_of, Range images, T *memory, T *dw) const {
        const Memory of{*this, memory};
        T *const sums = memory + bytes() / std::int64_t(sizeof(T));
        planes.list_taps(of.taps);
        std::memset(sums, 0, std::size_t(sum_elements()) * sizeof(T));
        std::memset(of.results, 0, std::size_t(g.O * apart()) * sizeof(T));
        const Tiles taps(planes.taps(), PLANE_TAPS), outputs(g.O, GRADIENT_ROWS);
        for (std::int64_t n = images.begin; n < images.end; ++n) {
            const T *const dy = dy_of(n);
            for (std::int64_t first = 0; first < g.P; first += planes.rows) {
                const Range now = {first, std::min(first + planes.rows, g.P)};
                const std::int64_t positions = planes.positions(now.end - now.begin);
                planes.draw(x + n * g.H * g.W * g.C, now, of.pixels);
                for (std::int64_t p = now.begin; p < now.end; ++p)
                    split_channels(dy + p * g.Q * g.O, g.O, g.Q, g.O,
                                   of.results + (p - now.begin) * planes.width, apart());
                // The last vector ends behind them, where a longer chunk may have left its gradients.
                for (std::int64_t o = 0; o < g.O; ++o) store(of.results + o * apart() + positions, Vec<T>{});
                for (std::int64_t tile = 0; tile < outputs.count; ++tile)
                    for (std::int64_t tap = 0; tap < taps.count; ++tap)
                        with_constant<GRADIENT_ROWS>(outputs.length(tile), [&](auto rows) {
                            with_constant<PLANE_TAPS>(taps.length(tap), [&](auto count) {
                                const std::int64_t k = taps.begin(tap), o = outputs.begin(tile);
                                gradient_tile<T, count, rows>(of.pixels, of.taps + k,
                                                              of.results + o * apart(), apart(), positions,
                                                              sums + (k * g.O + o) * LANES<T>, g.O);
                            });
                        });
            }
        }
        for (std::int64_t e = 0; e < planes.taps() * g.O; ++e)
            dw[e] = sum_lanes<T>(load(sums + e * LANES<T>));
    }

private:
    struct Memory {
        std::int64_t *const taps;
        T *const pixels, *const results;
        Memory(const PlaneConvolution &by, T *memory)
            : taps(reinterpret_cast<std::int64_t *>(memory)),
              pixels(memory + by.tap_bytes() / std::int64_t(sizeof(T))),
              results(pixels + by.planes.elements()) {}
    };
};

}  // namespace fastnn
