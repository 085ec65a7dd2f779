// The gradient of a convolution's input as products that are scattered: a pixel (p, q) of dy times the
// filters is added to the S C contiguous elements of dx that a row of a filter covers. Compared with the
// convolution of dy by the turned filters (conv.hpp), no product meets a zero that a stride inserts into dy,
// nor, unless there are few images, one of those around it; and S C columns fill vectors that C channels
// alone would not (LeNet's second convolution, 12x12x6 by 5x5 to 16: 2.2 times fewer pixels; 30 columns
// instead of 6).
//
// Letters as in conv_ref.py. The rows of a tile are images, or rows of an image if there are few images.
// Where dy is mostly 0 (sparse.hpp), pixels are visited one by one instead, and zeros are skipped. The sum
// for an element of dx runs over q in ascending order; each of its terms is a sum over r and o, also in
// ascending order. So all of these give the same bits.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>

#include "families/correlation.hpp"
#include "families/sparse.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The pixels of a column of dy and the rows of an image that they are added to, without stride or dilation.
template <class T> struct SparseColumn {
    const T *dy;
    std::int64_t dy_row, O;
    Range pixels;
    const T *filters;  // (R, O, row), from the first of the columns to compute on
    std::int64_t row;
    T *dx;
    std::int64_t dx_row, top;
    Range lines;
    int last;  // lanes of the last vector
};

// Adds the terms of a column of pixels: only those of elements that are not 0. The sums of the ROWS lines
// that a pixel reaches stay in registers while the pixels are visited from below, which is the order of r.
template <class T, int ROWS, int VECTORS> [[gnu::noinline]] void add_sparse_column(const SparseColumn<T> &c) {
    Vec<T> sum[ROWS][VECTORS] = {};
    const auto add = [&c](const Vec<T>(&sums)[VECTORS], std::int64_t h) INLINED {
        if (h < c.lines.begin || h >= c.lines.end) return;
        T *const line = c.dx + h * c.dx_row;
#pragma GCC unroll 2
        for (int v = 0; v < VECTORS; ++v) {
            const int n = v + 1 < VECTORS ? LANES<T> : c.last;
            store_n(line + v * LANES<T>, load_n(line + v * LANES<T>, n) + sums[v], n);
        }
    };
    for (std::int64_t p = c.pixels.end - 1; p >= c.pixels.begin; --p) {
        const T *const pixel = c.dy + p * c.dy_row;
        for_vectors<T>(0, c.O, [&](std::int64_t o, int n) INLINED {
            for (unsigned others = nonzero_lanes(load_n(pixel + o, n)); others;) {
                const std::int64_t own = o + take_lowest(others);
                const Vec<T> factor = broadcast(pixel[own]);
                const T *from = c.filters + own * c.row;
#pragma GCC unroll 8
                for (int r = 0; r < ROWS; ++r, from += c.O * c.row) {
#pragma GCC unroll 2
                    for (int v = 0; v < VECTORS; ++v)
                        sum[r][v] = fma(factor, load(from + v * LANES<T>), sum[r][v]);
                }
            }
        });
        add(sum[ROWS - 1], p + ROWS - 1 - c.top);
#pragma GCC unroll 8
        for (int r = ROWS - 1; r >= 0; --r) {
#pragma GCC unroll 2
            for (int v = 0; v < VECTORS; ++v) sum[r][v] = r ? sum[r - 1][v] : Vec<T>{};
        }
    }
#pragma GCC unroll 8
    for (int r = ROWS - 1; r > 0; --r) add(sum[r], c.pixels.begin + r - 1 - c.top);
}

template <class T> struct ScatteredGradient {
    const Geometry g;
    // Filter rows that read the same row of the image are `step` apart, the rows of dy `rise` apart.
    const std::int64_t step, rise;
    const Tiles images;

    explicit ScatteredGradient(const Geometry &g)
        : g(g), step(g.stride[0] / std::gcd(g.stride[0], g.dilation[0])),
          rise(g.dilation[0] / std::gcd(g.stride[0], g.dilation[0])),
          images(g.N, tile_rows(ColumnBlock<T>(g.S * g.C, 0).vectors)) {}

    std::int64_t row() const { return (g.S * g.C + LANES<T> - 1) / LANES<T> * LANES<T>; }  // of the filters
    // A block of columns that starts within a row is loaded by whole vectors, too.
    std::int64_t filter_elements() const { return g.R * g.O * row() + LANES<T>; }
    // The images of a tile are copied, because in place they may be a multiple of 4 KiB apart.
    std::int64_t image_elements() const { return outputs() + CopiedTiles<T>::GAP; }
    std::int64_t elements() const {
        return by_lines() ? framed_elements() : images.length(images.count - 1) * image_elements();
    }

    // filters[r, o, s, c] = w[r, s, c, o] for some o, with the r of one remainder modulo `step` together.
    void turn(const T *w, Range outputs, T *filters) const {
        for (std::int64_t r = 0; r < g.R; ++r)
            transpose<T, false>(w + r * g.S * g.C * g.O + outputs.begin, g.O, g.S * g.C,
                                outputs.end - outputs.begin,
                                filters + (place(r) * g.O + outputs.begin) * row(), row());
    }

    // Computes a part of dx. `after(pixels, count, width)` is called for rows when they are complete.
    template <class After>
    void run(const T *dy, const T *w, const T *filters, T *memory, int part, int parts, T *dx,
             After after) const {
        const Range mine = share(g.N ? images.count * g.H : 0, part, parts);
        const std::int64_t size = g.H * g.W * g.C;
        bool may_skip = skips(), is_checked = false;  // whether the filters are finite
        for (std::int64_t unit = mine.begin; unit < mine.end;) {
            const std::int64_t tile = unit / g.H, first = unit % g.H, count = images.length(tile);
            const Range lines = {first, std::min(first + mine.end - unit, g.H)};
            unit += lines.end - lines.begin;
            const T *const own = dy + images.begin(tile) * outputs();
            T *const image = dx + images.begin(tile) * size;
            if (may_skip && is_sparse(own, count * outputs())) {
                if (!is_checked) may_skip = all_finite(w, g.R * g.S * g.C * g.O), is_checked = true;
                if (may_skip) {
                    // As many lines, but of one image after the other: a part visits the rows of dy that
                    // its first line meets, and would do so in every image.
                    for_lines_of(
                        {lines.begin * count, lines.end * count}, [&](std::int64_t n, Range of_image) {
                            sparse_image(own + n * outputs(), filters, of_image, image + n * size, after);
                        });
                    continue;
                }
            }
            if (by_lines()) {
                for (std::int64_t n = 0; n < count; ++n)
                    lines_of_image(own + n * outputs(), filters, lines, memory, image + n * size, after);
                continue;
            }
            copy_images(own, count, memory);
            for (std::int64_t h = lines.begin; h < lines.end; ++h) {
                T *const line = image + h * g.W * g.C;
                for (std::int64_t n = 0; n < count; ++n)
                    std::memset(line + n * size, 0, std::size_t(g.W * g.C) * sizeof(T));
                fetch(dy, tile, h, line);
                add_row(memory, filters, int(count), h, line);
                for (std::int64_t n = 0; n < count; ++n) after(line + n * size, g.W, g.C);
            }
        }
    }

private:
    // With fewer filter rows than these, there are too few sums to hide the latency of the multiplications;
    // with more, they do not fit into registers.
    static constexpr int LEAST_ROWS = 3, MOST_ROWS = 7;

    // Whether elements of dy that are 0 may be skipped.
    bool skips() const {
        return g.stride[0] == 1 && g.stride[1] == 1 && g.dilation[0] == 1 && g.R >= LEAST_ROWS &&
               g.R <= MOST_ROWS;
    }

    std::int64_t outputs() const { return g.P * g.Q * g.O; }  // of an image

    // Calls body(n, lines) for the images whose lines, one image after the other, are in a range.
    template <class Body> void for_lines_of(Range range, Body body) const {
        for (std::int64_t line = range.begin; line < range.end;) {
            const std::int64_t n = line / g.H, end = std::min(range.end - n * g.H, g.H);
            body(n, Range{line - n * g.H, end});
            line = n * g.H + end;
        }
    }

    // Whether the rows of a tile are rows of an image: with few images, a tile has too few sums to hide the
    // latency of the multiplications, which takes SUMS (14x14x32 by 5x5 to 32, one image, AVX-512: 182 -> 88
    // us). But an image has more rows than dy.
    bool by_lines() const {
        constexpr std::int64_t SUMS = 8;
        const std::int64_t sums = std::min(g.N * ColumnBlock<T>(g.S * g.C, 0).vectors, SUMS);
        return g.stride[0] == 1 && above() <= g.P + g.H && g.H * sums <= SUMS * g.P;
    }
    // Rows of pixels that the first row of dx meets, except for its own.
    std::int64_t above() const { return (g.R - 1) * g.dilation[0]; }
    std::int64_t framed_row() const { return g.Q * g.O + CopiedTiles<T>::GAP; }
    std::int64_t framed_elements() const { return (above() + g.H) * framed_row(); }

    // The rows `lines` of an image dx (H, W, C), from its dy (P, Q, O): a copy has the rows that they meet,
    // zeros where there are none, so that every row of dx meets all rows of the filters.
    template <class After>
    void lines_of_image(const T *dy, const T *filters, Range lines, T *memory, T *dx, After after) const {
        const std::int64_t count = lines.end - lines.begin, line = g.W * g.C, row = framed_row();
        for (std::int64_t i = 0; i < above() + count; ++i) {
            const std::int64_t p = lines.begin + g.padding[0] - above() + i;
            T *const to = memory + i * row;
            if (p >= 0 && p < g.P)
                std::copy(dy + p * g.Q * g.O, dy + (p + 1) * g.Q * g.O, to);
            else
                std::fill(to, to + row, T(0));
        }
        T *const begin = dx + lines.begin * line;
        std::fill(begin, begin + count * line, T(0));
        add_columns(memory + above() * row, row, filters, {g.O, 1, 0, g.R, -g.dilation[0] * row}, int(count),
                    begin, line);
        after(begin, count * g.W, g.C);
    }

    // The rows `lines` of an image dx (H, W, C), from its dy (P, Q, O) that is mostly 0.
    template <class After>
    void sparse_image(const T *dy, const T *filters, Range lines, T *dx, After after) const {
        T *const begin = dx + lines.begin * g.W * g.C;
        const std::int64_t count = (lines.end - lines.begin) * g.W;
        std::memset(begin, 0, std::size_t(count * g.C) * sizeof(T));
        const Range pixels = {std::max<std::int64_t>(lines.begin + g.padding[0] - g.R + 1, 0),
                              std::min(lines.end + g.padding[0], g.P)};
        for (std::int64_t q = 0; q < g.Q; ++q) {
            const std::int64_t left = q - g.padding[1];
            const Range s = seen_within(left, 1, g.S, g.W);
            const std::int64_t end = (s.end - s.begin) * g.C;
            for (std::int64_t column = 0; column < end; column += 2 * LANES<T>) {
                const std::int64_t width = std::min<std::int64_t>(end - column, 2 * LANES<T>);
                const bool pair = width > LANES<T>;
                const SparseColumn<T> own{dy + q * g.O,
                                          g.Q * g.O,
                                          g.O,
                                          pixels,
                                          filters + s.begin * g.C + column,
                                          row(),
                                          dx + (left + s.begin) * g.C + column,
                                          g.W * g.C,
                                          g.padding[0],
                                          lines,
                                          int(width - (pair ? LANES<T> : 0))};
                with_constant<MOST_ROWS>(g.R, [&](auto rows) {
                    pair ? add_sparse_column<T, rows, 2>(own) : add_sparse_column<T, rows, 1>(own);
                });
            }
        }
        after(begin, count, g.C);
    }

    std::int64_t place(std::int64_t r) const {
        const std::int64_t remainder = r % step, longer = g.R % step;
        return remainder * (g.R / step) + std::min(remainder, longer) + r / step;
    }

    // The next row of dx, and some of what the next tile copies of dy.
    INLINED void fetch(const T *dy, std::int64_t tile, std::int64_t h, const T *line) const {
        const std::int64_t row = g.W * g.C, size = outputs();
        if (h + 1 < g.H)
            for (std::int64_t n = 0; n < images.length(tile); ++n)
                fetch_ahead(line + n * g.H * row + row, row);
        if (tile + 1 == images.count) return;
        const std::int64_t next = images.length(tile + 1) * size, begin = next * h / g.H;
        fetch_ahead(dy + images.begin(tile + 1) * size + begin, next * (h + 1) / g.H - begin);
    }

    void copy_images(const T *dy, std::int64_t count, T *memory) const {
        for (std::int64_t n = 0; n < count; ++n)
            std::memcpy(memory + n * image_elements(), dy + n * outputs(),
                        std::size_t(outputs()) * sizeof(T));
    }

    // Adds the terms of row h of dx, which starts at `line`, for some images.
    void add_row(const T *dy, const T *filters, int count, std::int64_t h, T *line) const {
        std::int64_t r = 0;
        while (r < step && (h + g.padding[0] - r * g.dilation[0]) % g.stride[0] != 0) ++r;
        if (r == step) return;
        // The filter rows r, r + step, ... meet the rows p, p - rise, ... of dy.
        const std::int64_t p = (h + g.padding[0] - r * g.dilation[0]) / g.stride[0];
        const std::int64_t rows = r < g.R ? (g.R - r + step - 1) / step : 0;
        const std::int64_t first = p < g.P ? 0 : (p - g.P + rise) / rise;
        const std::int64_t end = std::min(rows, p < 0 ? 0 : p / rise + 1);
        if (first >= end) return;
        add_columns(dy + (p - first * rise) * g.Q * g.O, image_elements(),
                    filters + place(r + first * step) * g.O * row(),
                    {g.O, 1, 0, end - first, -rise * g.Q * g.O}, count, line, g.H * g.W * g.C);
    }

    // Adds the products of the pixels of a row of dy, from `dy` on, and those of the rows after it in `runs`,
    // to a row of dx: for `count` rows of tiles, which are dy_step and dx_step elements apart.
    void add_columns(const T *dy, std::int64_t dy_step, const T *weights, const Runs &runs, int count, T *dx,
                     std::int64_t dx_step) const {
        for (std::int64_t q = 0; q < g.Q; ++q) {
            const std::int64_t left = q * g.stride[1] - g.padding[1];
            const Range s = seen_within(left, 1, g.S, g.W);
            const std::int64_t columns = (s.end - s.begin) * g.C;
            if (columns == 0) continue;
            for (std::int64_t index = 0; index < ColumnBlock<T>::count(columns); ++index) {
                const ColumnBlock<T> block(columns, index);
                const Tiles tiles(count, tile_rows(block.vectors));
                for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                    const std::int64_t first = tiles.begin(tile);
                    T *const place = dx + first * dx_step + (left + s.begin) * g.C + block.begin;
                    tile_of_size<T>(int(tiles.length(tile)), block.vectors,
                                    Operand<T>{dy + q * g.O + first * dy_step, dy_step, 1},
                                    Rows<T>{weights + s.begin * g.C + block.begin, row(), block.last, true},
                                    runs, Partial<T>{}, StoreTile<T>{place, dx_step, nullptr, true});
                }
            }
        }
    }
};

}  // namespace fastnn
