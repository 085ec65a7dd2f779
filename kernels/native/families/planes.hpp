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
// the stride has a plane of its own.
//
// Results of an output have a position each, those of a row from p * row on. Rows of positions are as far
// apart as those of the planes, or closer together if whole halves of vectors are (24 pixels by 5x5: 24
// positions instead of 28). Then each half is loaded on its own, which costs a few per cent. Tap k of half h
// is at taps[k] + starts[h].
template <class T> struct Planes {
    const Geometry &g;
    const std::int64_t width, row, rows;  // of planes; of positions; output rows that are computed together

    Planes(const Geometry &g, std::int64_t rows)
        : g(g), width(g.Q + reach(1)), row(std::min((g.Q + HALF<T> - 1) / HALF<T> * HALF<T>, width)),
          rows(rows) {}

    // Whether the halves of a vector may be in different places.
    bool by_halves() const { return row < width; }

    // Whole tiles of positions are computed, which may end behind the last row.
    static constexpr std::int64_t SLACK = 2 * TILE_COLUMNS * LANES<T>;

    std::int64_t positions(std::int64_t count) const { return (count - 1) * row + g.Q; }
    std::int64_t taps() const { return g.R * g.S * g.C; }
    std::int64_t starts() const { return (positions(rows) + SLACK) / HALF<T>; }
    // Rounded up to whole cache lines.
    static std::int64_t in_whole_lines(std::int64_t elements) {
        return whole_lines(elements * std::int64_t(sizeof(T))) / std::int64_t(sizeof(T));
    }
    std::int64_t elements() const {
        return in_whole_lines(g.stride[0] * g.stride[1] * g.C * plane() + SLACK);
    }

    void list_taps(std::int64_t *taps) const {
        for (std::int64_t r = 0; r < g.R; ++r)
            for (std::int64_t s = 0; s < g.S; ++s)
                for (std::int64_t c = 0; c < g.C; ++c) *taps++ = offset(r, s, c);
    }
    // Behind the last row, the last half again.
    void list_starts(std::int64_t *starts) const {
        const std::int64_t halves = (positions(rows) + HALF<T> - 1) / HALF<T>, end = this->starts();
        for (std::int64_t h = 0, line = 0, column = 0; h < end; ++h) {
            starts[h] = line + column;
            if (h + 1 >= halves) continue;
            column += HALF<T>;
            if (column >= row) line += width, column -= row;
        }
    }

    // The pixels that the output rows `lines` read: in `memory`, or the image itself.
    const T *seen(const T *image, Range lines, T *memory) const {
        // The last tile of fewer rows reads behind them, perhaps behind the image.
        if (image_is_plane() && lines.end - lines.begin == rows && lines.end + reach(0) <= g.H)
            return image + lines.begin * g.W;
        draw(image, lines, memory);
        return memory;
    }

private:
    // Whether the rows of the image are those of a plane, and no half of a vector reaches beyond one.
    bool image_is_plane() const {
        return g.C == 1 && g.stride[0] == 1 && g.stride[1] == 1 && g.padding[0] == 0 && g.padding[1] == 0 &&
               g.W == width && by_halves() && g.Q % HALF<T> == 0;
    }
    void draw(const T *image, Range lines, T *to) const {
        std::memset(to, 0, std::size_t(elements()) * sizeof(T));
        const std::int64_t step = g.stride[1] * g.C;
        for (std::int64_t x = 0; x < g.stride[1]; ++x) {
            const std::int64_t left = x - g.padding[1];
            const Range columns = seen_within(left, g.stride[1], width, g.W);
            for (std::int64_t y = 0; y < g.stride[0]; ++y) {
                const std::int64_t top = lines.begin * g.stride[0] + y - g.padding[0];
                const Range inside = seen_within(top, g.stride[0], lines.end - lines.begin + reach(0), g.H);
                const std::int64_t pixel = (top + inside.begin * g.stride[0]) * g.W + left;
                draw_rows(image + pixel * g.C + columns.begin * step, g.stride[0] * g.W * g.C, step,
                          inside.end - inside.begin, columns.end - columns.begin, g.C,
                          to + plane_of(y, x, 0) + inside.begin * width + columns.begin, width, plane());
            }
        }
    }
    // Copies `rows` rows of `count` pixels, which are `step` elements apart. Whole vectors of a single
    // channel are stored: zeros, or what follows later, are behind a row.
    static void draw_rows(const T *from, std::int64_t from_row, std::int64_t step, std::int64_t rows,
                          std::int64_t count, std::int64_t channels, T *to, std::int64_t to_row,
                          std::int64_t apart) {
        for (std::int64_t row = 0; row < rows; ++row, from += from_row, to += to_row)
            if (step == 1)
                for_vectors<T>(0, count, [=](std::int64_t e, int n) { store(to + e, load_n(from + e, n)); });
            else
                split_channels(from, step, count, channels, to, apart);
    }

    // Rows or columns of a plane that the last output reads beyond its first one.
    std::int64_t reach(int side) const {
        const std::int64_t size = side ? g.S : g.R;
        return size ? (size - 1) * g.dilation[side] / g.stride[side] : 0;
    }
    std::int64_t plane() const { return (rows + reach(0)) * width; }
    std::int64_t plane_of(std::int64_t y, std::int64_t x, std::int64_t c) const {
        return ((y * g.stride[1] + x) * g.C + c) * plane();
    }
    std::int64_t offset(std::int64_t r, std::int64_t s, std::int64_t c) const {
        const std::int64_t y = r * g.dilation[0], x = s * g.dilation[1];
        return plane_of(y % g.stride[0], x % g.stride[1], c) + y / g.stride[0] * width + x / g.stride[1];
    }
};

// The number of output rows that are computed together, a multiple of `multiple`: their results stay in the
// L1 cache, unless that many rows are too large for it.
inline std::int64_t plane_lines(const Geometry &g, std::int64_t multiple) {
    constexpr std::int64_t ELEMENTS = 5120;
    const std::int64_t row = std::max<std::int64_t>(g.O * (g.Q + g.S), 1);
    const Tiles even(g.P, std::max<std::int64_t>(ELEMENTS / row, 1));
    return std::max<std::int64_t>((g.P + even.count - 1) / even.count / multiple, 1) * multiple;
}

// The pixels of vector j: from two places, or where the vectors before end.
template <class T, bool HALVES>
INLINED inline Vec<T> load_pixels(const T *from, const std::int64_t *starts, std::int64_t j) {
    return HALVES ? load_halves(from + starts[2 * j], from + starts[2 * j + 1])
                  : load(from + starts[0] + j * LANES<T>);
}

// y[i, position] = b[i] + sum_k x[taps[k] + starts[half]] w[k, i] for ROWS outputs and some vectors of
// positions.
template <class T, int ROWS, bool HALVES>
[[gnu::noinline]] void plane_tile(const T *x, const std::int64_t *taps, std::int64_t K,
                                  const std::int64_t *starts, const T *w, std::int64_t O, const T *b, T *y,
                                  std::int64_t apart) {
    constexpr int COLUMNS = plane_columns(ROWS);
    Vec<T> sum[ROWS][COLUMNS] = {};
    std::int64_t at[2 * COLUMNS];
#pragma GCC unroll 16
    for (int h = 0; h < 2 * COLUMNS; ++h) at[h] = starts[h];
    for (std::int64_t k = 0; k < K; ++k, w += O) {
        const T *const from = x + taps[k];
        if constexpr (COLUMNS <= ROWS) {  // keep the smaller operand in registers
            Vec<T> pixels[COLUMNS];
#pragma GCC unroll 8
            for (int j = 0; j < COLUMNS; ++j) pixels[j] = load_pixels<T, HALVES>(from, at, j);
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
                const Vec<T> pixels = load_pixels<T, HALVES>(from, at, j);
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

// sum[k, i] += x[taps[k] + starts[half]] dy[i, position] for TAPS taps and ROWS outputs, over whole vectors
// of positions.
template <class T, int TAPS, int ROWS, bool HALVES>
[[gnu::noinline]] void gradient_tile(const T *x, const std::int64_t *taps, const std::int64_t *starts,
                                     const T *dy, std::int64_t apart, std::int64_t positions, T *sums,
                                     std::int64_t O) {
    Vec<T> sum[TAPS][ROWS] = {};
    const T *seen[TAPS];
#pragma GCC unroll 8
    for (int k = 0; k < TAPS; ++k) seen[k] = x + taps[k];
    for (std::int64_t at = 0; at < positions; at += LANES<T>) {
        Vec<T> gradient[ROWS];
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) gradient[i] = load(dy + i * apart + at);
#pragma GCC unroll 8
        for (int k = 0; k < TAPS; ++k) {
            const Vec<T> pixels = load_pixels<T, HALVES>(seen[k], starts, at / LANES<T>);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS; ++i) sum[k][i] = fma(pixels, gradient[i], sum[k][i]);
        }
    }
    // Unrolled, because otherwise the sums are kept in memory, which has to be cleared first.
#pragma GCC unroll 8
    for (int k = 0; k < TAPS; ++k) {
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            T *const place = sums + (k * O + i) * LANES<T>;
            store(place, load(place) + sum[k][i]);
        }
    }
}

// A convolution by planes, of some rows of an image, of which a multiple of `multiple` are computed together.
// Without memory, it only tells how much a part needs.
template <class T> struct PlaneConvolution {
    const Geometry g;
    const Planes<T> planes;

    explicit PlaneConvolution(const Geometry &g, T *memory = nullptr, std::int64_t multiple = 1)
        : g(g), planes(this->g, plane_lines(g, multiple)), memory(memory) {
        if (!memory) return;
        planes.list_taps(taps());
        planes.list_starts(starts());
    }
    PlaneConvolution(const PlaneConvolution &) = delete;

    std::int64_t bytes() const {
        return list_bytes() + (planes.elements() + g.O * apart()) * std::int64_t(sizeof(T));
    }

    // y = activation(b + x * w) for the rows `lines` of an image.  y (lines, Q, O)
    template <class Apply>
    void forward(const T *x, const T *w, const T *b, Range lines, T *y, Apply apply) const {
        for_planes(x, w, b, lines, apply, [&](Range now) {
            for_runs(now, [&](std::int64_t p, std::int64_t at, std::int64_t count) {
                join_channels(results() + at, apart(), count, g.O, y + (p - lines.begin) * g.Q * g.O);
            });
        });
    }

    // The same, but calls use(now) after some rows, whose outputs are in the planes of `results`: those of
    // row p from (p - now.begin) planes.row on.
    template <class Apply, class Use>
    void for_planes(const T *x, const T *w, const T *b, Range lines, Apply apply, Use use) const {
        for (std::int64_t first = lines.begin; first < lines.end; first += planes.rows) {
            const Range now = {first, std::min(first + planes.rows, lines.end)};
            const T *const seen = planes.seen(x, now, pixels());
            const std::int64_t positions = planes.positions(now.end - now.begin);
            const Tiles outputs(g.O, PLANE_ROWS);
            for (std::int64_t tile = 0; tile < outputs.count; ++tile)
                with_size<PLANE_ROWS>(outputs.length(tile), [&](auto rows, auto halves) {
                    const std::int64_t o = outputs.begin(tile);
                    for (std::int64_t at = 0; at < positions; at += plane_columns(rows) * LANES<T>)
                        plane_tile<T, rows, halves>(seen, taps(), planes.taps(), starts() + at / HALF<T>,
                                                    w + o, g.O, b ? b + o : nullptr,
                                                    results() + o * apart() + at, apart());
                });
            apply(results(), g.O, positions, apart());
            use(now);
        }
    }

    // Results of an output, or gradients: whole tiles of positions, `apart` from those of the next output.
    T *results() const { return pixels() + planes.elements(); }
    std::int64_t apart() const {
        return Planes<T>::in_whole_lines(planes.positions(planes.rows) + Planes<T>::SLACK);
    }

    std::int64_t sum_elements() const { return planes.taps() * g.O * LANES<T>; }
    std::int64_t dw_bytes() const { return bytes() + sum_elements() * std::int64_t(sizeof(T)); }

    // dw[r, s, c, o] = sum over some images and their pixels. dy_of(n) returns the gradients of the outputs
    // of image n.
    template <class Gradients> void gradients(const T *x, Gradients dy_of, Range images, T *dw) const {
        T *const sums = results() + g.O * apart();
        std::memset(sums, 0, std::size_t(sum_elements()) * sizeof(T));
        if (planes.row > g.Q)  // there are positions between the rows
            std::memset(results(), 0, std::size_t(g.O * apart()) * sizeof(T));
        const Tiles groups(planes.taps(), PLANE_TAPS), outputs(g.O, GRADIENT_ROWS);
        for (std::int64_t n = images.begin; n < images.end; ++n) {
            const T *const dy = dy_of(n);
            for (std::int64_t first = 0; first < g.P; first += planes.rows) {
                const Range now = {first, std::min(first + planes.rows, g.P)};
                const std::int64_t positions = planes.positions(now.end - now.begin);
                const T *const seen = planes.seen(x + n * g.H * g.W * g.C, now, pixels());
                for_runs(now, [&](std::int64_t p, std::int64_t at, std::int64_t count) {
                    split_channels(dy + p * g.Q * g.O, g.O, count, g.O, results() + at, apart());
                });
                // The last vector ends behind them, where a longer chunk may have left its gradients.
                for (std::int64_t o = 0; o < g.O; ++o) store(results() + o * apart() + positions, Vec<T>{});
                for (std::int64_t tile = 0; tile < outputs.count; ++tile)
                    for (std::int64_t group = 0; group < groups.count; ++group)
                        with_size<GRADIENT_ROWS>(outputs.length(tile), [&](auto rows, auto halves) {
                            with_constant<PLANE_TAPS>(groups.length(group), [&](auto count) {
                                const std::int64_t k = groups.begin(group), o = outputs.begin(tile);
                                gradient_tile<T, count, rows, halves>(
                                    seen, taps() + k, starts(), results() + o * apart(), apart(), positions,
                                    sums + (k * g.O + o) * LANES<T>, g.O);
                            });
                        });
            }
        }
        for (std::int64_t e = 0; e < planes.taps() * g.O; ++e)
            dw[e] = sum_lanes<T>(load(sums + e * LANES<T>));
    }

private:
    // Calls body(rows, halves) with the constants of a tile.
    template <int MOST, class Body> void with_size(std::int64_t rows, Body body) const {
        with_constant<MOST>(rows, [&](auto constant) {
            planes.by_halves() ? body(constant, std::true_type()) : body(constant, std::false_type());
        });
    }
    // Calls body(p, at, count) for runs of outputs, rows from p on, whose positions from `at` on are
    // contiguous.
    template <class Body> void for_runs(Range lines, Body body) const {
        if (planes.row == g.Q) return body(lines.begin, 0, (lines.end - lines.begin) * g.Q);
        for (std::int64_t p = lines.begin; p < lines.end; ++p) body(p, (p - lines.begin) * planes.row, g.Q);
    }

    std::int64_t list_bytes() const {
        return whole_lines((planes.taps() + planes.starts()) * std::int64_t(sizeof(std::int64_t)));
    }

    std::int64_t *taps() const { return reinterpret_cast<std::int64_t *>(memory); }
    std::int64_t *starts() const { return taps() + planes.taps(); }
    T *pixels() const { return memory + list_bytes() / std::int64_t(sizeof(T)); }

    T *const memory;
};

}  // namespace fastnn
