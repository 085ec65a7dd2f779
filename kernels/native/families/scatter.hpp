// The gradient of a convolution's input as products that are scattered: a pixel (p, q) of dy times the
// filters is added to the S C contiguous elements of dx that a row of a filter covers. Compared with the
// convolution of dy by the turned filters (conv.hpp), no product meets a zero, neither of those around dy nor
// of those that a stride inserts into it, and S C columns fill vectors that C channels alone would not
// (LeNet's second convolution, 12x12x6 by 5x5 to 16: 2.2 times fewer pixels; 30 columns instead of 6).
//
// Letters as in conv_ref.py. The rows of a tile are images. The sum for an element of dx runs over q in
// ascending order; each of its terms is a sum over r and o, also in ascending order.
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>

#include "families/correlation.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

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
    std::int64_t image_elements() const { return g.P * g.Q * g.O + CopiedTiles<T>::GAP; }
    std::int64_t elements() const { return images.length(images.count - 1) * image_elements(); }

    // filters[r, o, s, c] = w[r, s, c, o] for some o, with the r of one remainder modulo `step` together.
    void turn(const T *w, Range outputs, T *filters) const {
        for (std::int64_t r = 0; r < g.R; ++r)
            transpose<T, false>(w + r * g.S * g.C * g.O + outputs.begin, g.O, g.S * g.C,
                                outputs.end - outputs.begin,
                                filters + (place(r) * g.O + outputs.begin) * row(), row());
    }

    // Computes a part of dx. `after(pixels, count, width)` is called for each row when it is complete.
    template <class After>
    void run(const T *dy, const T *filters, T *memory, int part, int parts, T *dx, After after) const {
        const Range mine = share(g.N ? images.count * g.H : 0, part, parts);
        for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
            const std::int64_t tile = unit / g.H, h = unit % g.H, size = g.H * g.W * g.C;
            if (unit == mine.begin || h == 0) copy_images(dy, tile, memory);
            T *const line = dx + images.begin(tile) * size + h * g.W * g.C;
            for (std::int64_t n = 0; n < images.length(tile); ++n)
                std::memset(line + n * size, 0, std::size_t(g.W * g.C) * sizeof(T));
            fetch(dy, tile, h, line);
            add_row(memory, filters, int(images.length(tile)), h, line);
            for (std::int64_t n = 0; n < images.length(tile); ++n) after(line + n * size, g.W, g.C);
        }
    }

private:
    std::int64_t place(std::int64_t r) const {
        const std::int64_t remainder = r % step, longer = g.R % step;
        return remainder * (g.R / step) + std::min(remainder, longer) + r / step;
    }

    // The next row of dx, and some of what the next tile copies of dy.
    INLINED void fetch(const T *dy, std::int64_t tile, std::int64_t h, const T *line) const {
        const std::int64_t row = g.W * g.C, size = g.P * g.Q * g.O;
        if (h + 1 < g.H)
            for (std::int64_t n = 0; n < images.length(tile); ++n)
                fetch_ahead(line + n * g.H * row + row, row);
        if (tile + 1 == images.count) return;
        const std::int64_t next = images.length(tile + 1) * size, begin = next * h / g.H;
        fetch_ahead(dy + images.begin(tile + 1) * size + begin, next * (h + 1) / g.H - begin);
    }

    void copy_images(const T *dy, std::int64_t tile, T *memory) const {
        const std::int64_t size = g.P * g.Q * g.O;
        for (std::int64_t n = 0; n < images.length(tile); ++n)
            std::memcpy(memory + n * image_elements(), dy + (images.begin(tile) + n) * size,
                        std::size_t(size) * sizeof(T));
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
        const Runs runs{g.O, 1, 0, end - first, -rise * g.Q * g.O};
        const T *const from = dy + (p - first * rise) * g.Q * g.O;
        const T *const weights = filters + place(r + first * step) * g.O * row();
        for (std::int64_t q = 0; q < g.Q; ++q) {
            const std::int64_t left = q * g.stride[1] - g.padding[1];
            const Range s = seen_within(left, 1, g.S, g.W);
            const std::int64_t columns = (s.end - s.begin) * g.C;
            if (columns == 0) continue;
            for (std::int64_t index = 0; index < ColumnBlock<T>::count(columns); ++index) {
                const ColumnBlock<T> block(columns, index);
                tile_of_size<T>(count, block.vectors, Operand<T>{from + q * g.O, image_elements(), 1},
                                Rows<T>{weights + s.begin * g.C + block.begin, row(), block.last, true}, runs,
                                Partial<T>{},
                                StoreTile<T>{line + (left + s.begin) * g.C + block.begin, g.H * g.W * g.C,
                                             nullptr, true});
            }
        }
    }
};

}  // namespace fastnn
