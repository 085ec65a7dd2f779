// Computes convolutions as matrix products whose left-hand matrix, the patches of an image, is never stored
// (implicit im2col: Chetlur et al. 2014, arXiv:1410.0759). A register tile reads the patches of neighbouring
// pixels directly from the image, run by run: with filters in the order (R, S, C, O), the S C values that a
// row of a filter reads are contiguous. Where filters reach beyond the image, a padded copy of it is read.
//
// Letters as in conv_ref.py. Sums run over r, s and c in ascending order; for dw the sum over the pixels runs
// over n, p and q. No order depends on the number of threads.
#pragma once

#include <cstring>

#include "gemm/pack.hpp"
#include "plan/algorithms.hpp"
#include "plan/call.hpp"

namespace fastnn {

// The sizes of a call, in this order.
struct Geometry : ConvSizes {
    explicit Geometry(const Call &call) : ConvSizes(call.sizes<ConvSizes>()) {}
};

// The range of i in [0, count) with 0 <= offset + i step < size.
inline Range seen_within(std::int64_t offset, std::int64_t step, std::int64_t count, std::int64_t size) {
    const auto reach = [=](std::int64_t limit) {  // how many i have offset + i step < limit
        const std::int64_t below = limit <= offset ? 0 : (limit - offset + step - 1) / step;
        return below < count ? below : count;
    };
    const std::int64_t begin = reach(0), end = reach(size);
    return {begin, end < begin ? begin : end};
}

// Rows of an image with zeros around and between its pixels, as input of a convolution without padding.
template <class T> struct Canvas {
    T *data;
    std::int64_t width, channels;  // rows are `width` pixels apart

    T *pixel(std::int64_t row, std::int64_t column) const { return data + (row * width + column) * channels; }

    // Fills `rows` rows, starting at row `first` of the whole canvas: pixel (i, j) of the image
    // (H, W, channels) goes to (top + i * step[0], left + j * step[1]).
    void draw(const T *image, std::int64_t H, std::int64_t W, const std::int64_t (&step)[2], std::int64_t top,
              std::int64_t left, std::int64_t first, std::int64_t rows) const {
        std::memset(data, 0, std::size_t(rows * width * channels) * sizeof(T));
        const Range columns = seen_within(left, step[1], W, width);
        const Range lines = seen_within(top - first, step[0], H, rows);
        for (std::int64_t i = lines.begin; i < lines.end; ++i) {
            const T *from = image + (i * W + columns.begin) * channels;
            T *to = pixel(top + i * step[0] - first, left + columns.begin * step[1]);
            if (step[1] == 1) {
                copy(from, to, (columns.end - columns.begin) * channels);
            } else {
                const std::int64_t apart = step[1] * channels;
                for (std::int64_t j = columns.begin; j < columns.end; ++j, from += channels, to += apart)
                    copy(from, to, channels);
            }
        }
    }

    static void copy(const T *from, T *to, std::int64_t count) {
        for_vectors<T>(0, count, [=](std::int64_t e, int n) { store_n(to + e, load_n(from + e, n), n); });
    }
};

// A convolution without padding, of a canvas.
template <class T> struct Correlation {
    std::int64_t P, Q, R, S, channels, groups, stride[2], dilation[2];
    // Neighbouring outputs of a row are this many pixels apart in memory; other than 1 only for a single row.
    std::int64_t step = 1;

    explicit Correlation(const Geometry &g)
        : P(g.P), Q(g.Q), R(g.R), S(g.S), channels(g.channels), groups(g.groups()),
          stride{g.stride[0], g.stride[1]}, dilation{g.dilation[0], g.dilation[1]} {}

    // The number of canvas rows that `count` output rows read, and the number of canvas columns.
    std::int64_t rows(std::int64_t count) const { return extent(count, stride[0], R, dilation[0]); }
    std::int64_t width() const { return extent(Q, stride[1], S, dilation[1]); }
    std::int64_t elements(std::int64_t count) const { return rows(count) * width() * channels * groups; }

    // The elements of a patch, in a canvas whose rows have `width` pixels.
    Runs patch(std::int64_t width) const {
        const std::int64_t pixel = channels * groups, row = dilation[0] * width * pixel;
        if (rows_are_runs()) return {S * channels, 1, 0, R, row};
        return {channels, S, dilation[1] * pixel, R, row};
    }
    // Returns whether the elements that a row of a filter reads are contiguous.
    bool rows_are_runs() const { return groups == 1 && (dilation[1] == 1 || S == 1); }

private:
    static std::int64_t extent(std::int64_t outputs, std::int64_t stride, std::int64_t size,
                               std::int64_t dilation) {
        return outputs && size ? (outputs - 1) * stride + (size - 1) * dilation + 1 : 0;
    }
};

// Computes the rows `lines` of the output of a convolution, y (lines, Q, O), from a canvas that starts with
// the rows that the first of them reads; w (R, S, channels, O), or its packed `panels` unless null; b (O,) or
// null. `after(pixels, count, width)` is called for `width` channels of `count` neighbouring pixels once
// complete.
template <class T, class After>
inline void correlate(const Correlation<T> &c, const Canvas<T> &canvas, Range lines, const T *w,
                      const T *panels, const T *b, std::int64_t O, T *y, After after) {
    const std::int64_t outputs = O / c.groups;
    const Runs runs = c.patch(canvas.width);
    for (std::int64_t group = 0; group < c.groups; ++group)
        for (std::int64_t index = 0; index < ColumnBlock<T>::count(outputs); ++index) {
            const ColumnBlock<T> block(outputs, index);
            const std::int64_t first = group * outputs + block.begin;
            const Rows<T> filters = panels ? Panels<T>{panels, c.R * c.S * c.channels}[block]
                                           : Rows<T>{w + first, O, block.last, false};
            const Tiles tiles(c.Q, tile_rows(block.vectors));
            // Only the start addresses differ between tiles.
            Operand<T> patches{nullptr, c.stride[1] * canvas.channels, 1};
            StoreTile<T> place{nullptr, c.step * O, b ? b + first : nullptr};
            const Partial<T> none{};
            for (std::int64_t p = lines.begin; p < lines.end; ++p) {
                const T *const line = canvas.pixel((p - lines.begin) * c.stride[0], 0) + group * c.channels;
                for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                    const std::int64_t q = tiles.begin(tile);
                    patches.data = line + q * patches.row;
                    place.c = y + ((p - lines.begin) * c.Q + q * c.step) * O + first;
                    tile_of_size<T>(int(tiles.length(tile)), block.vectors, patches, filters, runs, none,
                                    place);
                }
                after(y + (p - lines.begin) * c.Q * O + first, c.Q, block.width);
            }
        }
}

// Returns whether no filter reaches beyond the image.
template <class T> inline bool stays_inside(const Geometry &g, const Correlation<T> &c) {
    return g.padding[0] == 0 && g.padding[1] == 0 && c.rows(g.P) <= g.H && c.width() <= g.W;
}

constexpr std::int64_t PIXEL_STEP[2] = {1, 1};

// The canvas rows that the output rows `lines` of an image read: a padded copy, or the image itself.
template <class T>
inline Canvas<T> seen_by(const Geometry &g, const Correlation<T> &c, const T *image, Range lines, T *memory) {
    const std::int64_t first = lines.begin * c.stride[0], rows = c.rows(lines.end - lines.begin);
    // The image is only read through this canvas.
    if (stays_inside(g, c)) return {const_cast<T *>(image) + first * g.W * g.C, g.W, g.C};
    const Canvas<T> canvas{memory, c.width(), g.C};
    canvas.draw(image, g.H, g.W, PIXEL_STEP, g.padding[0], g.padding[1], first, rows);
    return canvas;
}

// Cuts the rows of an image's gradients into chunks of about PIXELS pixels. Each chunk is summed on its own
// before it is added to the sum of the chunks before it.
inline Tiles chunks_of_lines(const Geometry &g) {
    constexpr std::int64_t PIXELS = 2048;
    return {g.P, g.Q < PIXELS ? PIXELS / (g.Q ? g.Q : 1) : 1};
}

// The gradient of the filters, cut into tiles of rows (r, s, c).
template <class T> struct FilterGradient {
    const Geometry g;
    const Correlation<T> c;
    // A line of dw has contiguous inputs: a whole row of a filter, or a single tap.
    const std::int64_t places, length;
    const Tiles tiles;
    const std::int64_t blocks, of_line;

    explicit FilterGradient(const Geometry &g)
        : g(g), c(g), places(c.rows_are_runs() ? 1 : g.S),
          length(c.rows_are_runs() ? g.S * g.channels : g.channels),
          tiles(length, tile_rows(ColumnBlock<T>(g.outputs(), 0).vectors)),
          blocks(ColumnBlock<T>::count(g.outputs())), of_line(tiles.count * blocks * g.groups()) {}

    std::int64_t elements() const { return g.R * g.S * g.channels * g.O; }
    std::int64_t count() const { return g.R * places * of_line; }  // of tiles

    // dw[r, s, c, o] = sum over these images and their pixels, for these tiles. dy_of(n) returns the
    // gradients of the outputs of image n. Padded copies of the images go to `memory`.
    template <class Gradients>
    void sum(const T *x, Gradients dy_of, Range images, Range mine, T *memory, T *dw) const {
        const Tiles chunks = chunks_of_lines(g);
        for (std::int64_t n = images.begin; n < images.end; ++n) {
            const T *const image = x + n * g.H * g.W * g.C, *const dy = dy_of(n);
            const Canvas<T> canvas = seen_by(g, c, image, {0, g.P}, memory);
            for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
                const Range lines = {chunks.begin(chunk), chunks.begin(chunk + 1)};
                const bool adds = n > images.begin || chunk > 0;
                for (std::int64_t tile = mine.begin; tile < mine.end; ++tile)
                    sum_lines(canvas, dy, lines, tile, adds, dw);
            }
        }
    }

private:
    void sum_lines(const Canvas<T> &canvas, const T *dy, Range lines, std::int64_t index, bool adds,
                   T *dw) const {
        const std::int64_t line = index / of_line, group = index % of_line / (tiles.count * blocks);
        const std::int64_t tile = index % (tiles.count * blocks) / blocks, row = tiles.begin(tile);
        const std::int64_t r = line / places, s = line % places;
        const ColumnBlock<T> block(g.outputs(), index % blocks);
        const std::int64_t column = group * g.outputs() + block.begin;
        const T *corner = canvas.pixel(lines.begin * g.stride[0] + r * g.dilation[0], s * g.dilation[1]);
        const Operand<T> inputs{corner + group * g.channels + row, 1, g.stride[1] * g.C};
        const Rows<T> gradients{dy + lines.begin * g.Q * g.O + column, g.O, block.last, false};
        const Runs pixels{g.Q, 1, 0, lines.end - lines.begin, g.stride[0] * canvas.width * g.C};
        tile_of_size<T>(int(tiles.length(tile)), block.vectors, inputs, gradients, pixels, {nullptr, 0},
                        StoreTile<T>{dw + (line * length + row) * g.O + column, g.O, nullptr, adds});
    }
};

}  // namespace fastnn
