// Convolution kernels: matrix products whose left-hand matrix, the patches of an image, is never written
// (implicit im2col: Chetlur et al. 2014, arXiv:1410.0759). A register tile reads the patches of neighbouring
// pixels straight from the image, run by run: with filters in the order (R, S, C, O), the S C numbers that a
// row of a filter sees lie side by side. Where a filter sees more than the image, it is copied into zeros.
//
// Filters of 3 x 3 over many channels go by Winograd's algorithm instead (winograd.hpp).
//
// Letters as in conv_ref.py. Sums go along r, s and c in ascending order; that over the pixels, for dw, along
// n, p and q. No order depends on the number of threads.
#pragma once

#include <cstring>

#include "gemm.hpp"
#include "transpose.hpp"
#include "winograd.hpp"

namespace fastnn {

// The sizes of a call, in this order.
struct Geometry {
    std::int64_t N, H, W, C, R, S, channels, O, P, Q, stride[2], padding[2], dilation[2];

    explicit Geometry(const Call &call) {
        static_assert(sizeof(Geometry) == sizeof call.size);
        std::memcpy(this, call.size, sizeof call.size);
    }
    std::int64_t groups() const { return C / channels; }
    std::int64_t outputs() const { return O / groups(); }  // of a group
};

// A part of an image with zeros around and between its pixels, as a convolution without padding sees it.
template <class T> struct Canvas {
    T *data;
    std::int64_t width, channels;  // rows are `width` pixels apart

    T *pixel(std::int64_t row, std::int64_t column) const { return data + (row * width + column) * channels; }

    // Draws `rows` rows, from the row `first` of the whole canvas on: pixel (i, j) of the image
    // (H, W, channels) goes to (top + i * step[0], left + j * step[1]).
    void draw(const T *image, std::int64_t H, std::int64_t W, const std::int64_t (&step)[2], std::int64_t top,
              std::int64_t left, std::int64_t first, std::int64_t rows) const {
        std::memset(data, 0, std::size_t(rows * width * channels) * sizeof(T));
        const Range columns = inside(left, step[1], W, 0, width);
        const Range lines = inside(top, step[0], H, first, first + rows);
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

    // Those of `size` indices i for which begin <= offset + i * step < end.
    static Range inside(std::int64_t offset, std::int64_t step, std::int64_t size, std::int64_t begin,
                        std::int64_t end) {
        const auto count_below = [=](std::int64_t limit) {  // how many have offset + i * step < limit
            const std::int64_t count = limit <= offset ? 0 : (limit - offset + step - 1) / step;
            return count < size ? count : size;
        };
        return {count_below(begin), count_below(end)};
    }

    static void copy(const T *from, T *to, std::int64_t count) {
        for_vectors<T>(0, count, [=](std::int64_t e, int n) { store_n(to + e, load_n(from + e, n), n); });
    }
};

// A convolution without padding, of a canvas.
template <class T> struct Correlation {
    std::int64_t P, Q, R, S, channels, groups, stride[2], dilation[2];

    explicit Correlation(const Geometry &g)
        : P(g.P), Q(g.Q), R(g.R), S(g.S), channels(g.channels), groups(g.groups()),
          stride{g.stride[0], g.stride[1]}, dilation{g.dilation[0], g.dilation[1]} {}

    // The rows of the canvas that so many rows of the output see, and the columns of a canvas.
    std::int64_t rows(std::int64_t count) const { return extent(count, stride[0], R, dilation[0]); }
    std::int64_t width() const { return extent(Q, stride[1], S, dilation[1]); }
    std::int64_t elements(std::int64_t count) const { return rows(count) * width() * channels * groups; }

    // The numbers of a patch, in a canvas whose rows have `width` pixels.
    Runs patch(std::int64_t width) const {
        const std::int64_t pixel = channels * groups, row = dilation[0] * width * pixel;
        if (rows_are_runs()) return {S * channels, 1, 0, R, row};
        return {channels, S, dilation[1] * pixel, R, row};
    }
    // Whether what a row of a filter sees lies side by side.
    bool rows_are_runs() const { return groups == 1 && (dilation[1] == 1 || S == 1); }

private:
    static std::int64_t extent(std::int64_t outputs, std::int64_t stride, std::int64_t size,
                               std::int64_t dilation) {
        return outputs && size ? (outputs - 1) * stride + (size - 1) * dilation + 1 : 0;
    }
};

// The rows `lines` of all outputs y (P, Q, O) of a convolution, from a canvas that begins with what the first
// of them sees; w (R, S, channels, O), b (O,) or null.
template <class T>
inline void correlate(const Correlation<T> &c, const Canvas<T> &canvas, Range lines, const T *w, const T *b,
                      std::int64_t O, T *y) {
    const std::int64_t outputs = O / c.groups;
    const Runs runs = c.patch(canvas.width);
    for (std::int64_t group = 0; group < c.groups; ++group)
        for (std::int64_t index = 0; index < ColumnBlock<T>::count(outputs); ++index) {
            const ColumnBlock<T> block(outputs, index);
            const std::int64_t first = group * outputs + block.begin;
            const Rows<T> filters{w + first, O, block.last, false};
            const Tiles tiles(c.Q, tile_rows(block.vectors));
            for (std::int64_t p = lines.begin; p < lines.end; ++p)
                for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                    const std::int64_t q = tiles.begin(tile);
                    const T *corner = canvas.pixel((p - lines.begin) * c.stride[0], q * c.stride[1]);
                    const Operand<T> patches{corner + group * c.channels, c.stride[1] * canvas.channels, 1};
                    const StoreTile<T> place{y + (p * c.Q + q) * O + first, O};
                    const int rows = int(tiles.length(tile));
                    if (b)
                        tile_of_size<T>(rows, block.vectors, patches, filters, runs, {nullptr, 0},
                                        StoreTilePlusBias<T>{place, b + first});
                    else
                        tile_of_size<T>(rows, block.vectors, patches, filters, runs, {nullptr, 0}, place);
                }
        }
}

// Calls body(n, lines) for those rows of the outputs of N images, of P rows each, that a part owns.
template <class Body> inline void for_lines(std::int64_t N, std::int64_t P, int part, int parts, Body body) {
    const Range mine = share(N * P, part, parts);
    for (std::int64_t line = mine.begin; line < mine.end;) {
        const std::int64_t n = line / P, left = mine.end - line, rest = (n + 1) * P - line;
        const std::int64_t count = left < rest ? left : rest;
        body(n, Range{line - n * P, line - n * P + count});
        line += count;
    }
}

// Whether a filter never sees more than the image.
template <class T> inline bool stays_inside(const Geometry &g, const Correlation<T> &c) {
    return g.padding[0] == 0 && g.padding[1] == 0 && c.rows(g.P) <= g.H && c.width() <= g.W;
}

constexpr std::int64_t PIXEL_STEP[2] = {1, 1};

// The rows of the canvas that the outputs `lines` of an image see: drawn, or the image itself.
template <class T>
inline Canvas<T> seen_by(const Geometry &g, const Correlation<T> &c, const T *image, Range lines, T *memory) {
    const std::int64_t first = lines.begin * c.stride[0], rows = c.rows(lines.end - lines.begin);
    // The image is only read through this canvas.
    if (stays_inside(g, c)) return {const_cast<T *>(image) + first * g.W * g.C, g.W, g.C};
    const Canvas<T> canvas{memory, c.width(), g.C};
    canvas.draw(image, g.H, g.W, PIXEL_STEP, g.padding[0], g.padding[1], first, rows);
    return canvas;
}

// dw[r, s, c, o] = sum over images and pixels. Each part owns rows (r, s, c) of dw, and goes through all
// images, which it draws itself.
// x (N, H, W, C), dy (N, P, Q, O) -> dw (R, S, channels, O)
template <class T>
void correlate_gradients(const Geometry &g, const T *x, const T *dy, T *memory, int part, int parts, T *dw) {
    const Correlation<T> c(g);
    // Lines of dw whose inputs lie side by side: a row of a filter, or one place of it.
    const bool whole_rows = c.rows_are_runs();
    const std::int64_t places = whole_rows ? 1 : g.S, length = whole_rows ? g.S * g.channels : g.channels;
    const Tiles tiles(length, tile_rows(ColumnBlock<T>(g.outputs(), 0).vectors));
    const std::int64_t blocks = ColumnBlock<T>::count(g.outputs());
    const std::int64_t of_line = tiles.count * blocks * g.groups();
    const Range mine = share(g.R * places * of_line, part, parts);
    for (std::int64_t n = 0; n < (g.N ? g.N : 1) && mine.begin < mine.end; ++n) {
        const Range all = {0, g.N ? g.P : 0};  // without images, sums of nothing
        const T *const image = x + n * g.H * g.W * g.C;
        const Canvas<T> canvas = g.N ? seen_by(g, c, image, all, memory) : Canvas<T>{nullptr, 0, g.C};
        const Runs pixels{g.Q, 1, 0, all.end, g.stride[0] * canvas.width * g.C};
        for (std::int64_t unit = mine.begin; unit < mine.end; ++unit) {
            const std::int64_t line = unit / of_line, group = unit % of_line / (tiles.count * blocks);
            const std::int64_t tile = unit % (tiles.count * blocks) / blocks;
            const ColumnBlock<T> block(g.outputs(), unit % blocks);
            const std::int64_t r = line / places, s = line % places, row = tiles.begin(tile);
            const T *corner = canvas.pixel(r * g.dilation[0], s * g.dilation[1]) + group * g.channels + row;
            const std::int64_t column = group * g.outputs() + block.begin;
            const Rows<T> gradients{dy + n * g.P * g.Q * g.O + column, g.O, block.last, false};
            const StoreTile<T> place{dw + (line * length + row) * g.O + column, g.O};
            const Operand<T> inputs{corner, 1, g.stride[1] * g.C};
            const Partial<T> partial{n ? place.c : nullptr, place.row};
            const int rows = int(tiles.length(tile));
            tile_of_size<T>(rows, block.vectors, inputs, gradients, pixels, partial, place);
        }
    }
}

// Whether a convolution (of C channels to O, with P Q pixels each) goes by 3 x 3 filters in the simplest way.
inline bool goes_by_winograd(const Geometry &g, std::int64_t C, std::int64_t O, std::int64_t P,
                             std::int64_t Q) {
    for (int i = 0; i < 2; ++i)
        if (g.stride[i] != 1 || g.dilation[i] != 1) return false;
    return g.R == 3 && g.S == 3 && g.groups() == 1 && winograd_pays(C, O, P, Q);
}
template <class T> inline Winograd<T> winograd_of(const Geometry &g) {
    return {g.N, g.H, g.W, g.C, g.P, g.Q, g.O, g.padding[0], g.padding[1]};
}

// An empty convolution, whose filters nobody prepares, takes the plain way.
inline bool forward_by_winograd(const Geometry &g) { return goes_by_winograd(g, g.C, g.O, g.P, g.Q); }

template <class T> ScratchNeeds conv_forward_scratch(const Call &call) {
    const Geometry g(call);
    const Correlation<T> c(g);
    const std::int64_t size = sizeof(T);
    if (forward_by_winograd(g)) {
        const Winograd<T> w = winograd_of<T>(g);
        return {0, w.filter_elements() * size, w.forward_elements() * size};
    }
    return {0, 0, stays_inside(g, c) ? 0 : c.elements(g.P) * size};
}

template <class T> void conv_forward_prepare(const Call &call, int part, int parts) {
    const Geometry g(call);
    if (forward_by_winograd(g))
        transform_filters(winograd_of<T>(g), share(g.C, part, parts), call.in<T>(1),
                          reinterpret_cast<T *>(call.scratch));
}

// y = b + x * w.  x (N, H, W, C), w (R, S, channels, O), b (O,) or null -> y (N, P, Q, O)
template <class T> void conv_forward(const Call &call, int part, int parts) {
    const Geometry g(call);
    T *const memory = scratch_of<T>(call, part);
    if (forward_by_winograd(g))
        return winograd_forward(winograd_of<T>(g), call.in<T>(0), reinterpret_cast<T *>(call.scratch),
                                call.in<T>(2), memory, part, parts, call.out<T>(3));
    const Correlation<T> c(g);
    for_lines(g.N, g.P, part, parts, [&](std::int64_t n, Range lines) {
        const T *image = call.in<T>(0) + n * g.H * g.W * g.C;
        const Canvas<T> canvas = seen_by(g, c, image, lines, memory);
        correlate(c, canvas, lines, call.in<T>(1), call.in<T>(2), g.O, call.out<T>(3) + n * g.P * g.Q * g.O);
    });
}

// The gradient of the input is a convolution, too: of dy, with zeros between its pixels for the strides, by
// the filters turned round, with C and O exchanged.
template <class T> inline Correlation<T> turned(const Geometry &g) {
    Correlation<T> c(g);
    c.P = g.H, c.Q = g.W;
    c.channels = g.outputs();
    c.stride[0] = c.stride[1] = 1;
    return c;
}

// How many zeros that takes above dy and on its left.
inline std::int64_t turned_padding(const Geometry &g, int side) {
    return ((side ? g.S : g.R) - 1) * g.dilation[side] - g.padding[side];
}

inline bool dx_by_winograd(const Geometry &g) { return goes_by_winograd(g, g.O, g.C, g.H, g.W); }
template <class T> inline Winograd<T> turned_winograd(const Geometry &g) {
    return {g.N, g.P, g.Q, g.O, g.H, g.W, g.C, turned_padding(g, 0), turned_padding(g, 1)};
}
template <class T> inline std::int64_t filter_elements(const Geometry &g) {
    return whole_lines(g.R * g.S * g.outputs() * g.C * std::int64_t(sizeof(T))) / std::int64_t(sizeof(T));
}

template <class T> ScratchNeeds conv_dx_scratch(const Call &call) {
    const Geometry g(call);
    const std::int64_t size = sizeof(T), filters = filter_elements<T>(g);
    if (dx_by_winograd(g)) {
        const Winograd<T> w = turned_winograd<T>(g);
        return {0, (filters + w.filter_elements()) * size, w.forward_elements() * size};
    }
    return {0, filters * size, turned<T>(g).elements(g.H) * size};
}

// turned[R - 1 - r, S - 1 - s, o, c] = w[r, s, c, o], in each group. The parts are outputs of the groups.
template <class T> void conv_dx_prepare(const Call &call, int part, int parts) {
    const Geometry g(call);
    T *const filters = reinterpret_cast<T *>(call.scratch);
    const Range mine = share(g.outputs(), part, parts, LANES<T>);
    for (std::int64_t place = 0; place < g.R * g.S; ++place)
        for (std::int64_t group = 0; group < g.groups(); ++group) {
            const T *from = call.in<T>(1) + place * g.channels * g.O + group * g.outputs() + mine.begin;
            T *to = filters + ((g.R * g.S - 1 - place) * g.outputs() + mine.begin) * g.C + group * g.channels;
            transpose<T, false>(from, g.O, g.channels, mine.end - mine.begin, to, g.C);
        }
    if (dx_by_winograd(g))
        transform_filters(turned_winograd<T>(g), mine, filters, filters + filter_elements<T>(g));
}

// dy (N, P, Q, O), w (R, S, channels, O) -> dx (N, H, W, C)
template <class T> void conv_dx(const Call &call, int part, int parts) {
    const Geometry g(call);
    T *const filters = reinterpret_cast<T *>(call.scratch), *const memory = scratch_of<T>(call, part);
    const T *const no_bias = nullptr;
    if (dx_by_winograd(g))
        return winograd_forward(turned_winograd<T>(g), call.in<T>(0), filters + filter_elements<T>(g),
                                no_bias, memory, part, parts, call.out<T>(2));
    const Correlation<T> c = turned<T>(g);
    const Canvas<T> canvas{memory, c.width(), g.O};
    const std::int64_t top = turned_padding(g, 0), left = turned_padding(g, 1);
    for_lines(g.N, g.H, part, parts, [&](std::int64_t n, Range lines) {
        const T *dy = call.in<T>(0) + n * g.P * g.Q * g.O;
        canvas.draw(dy, g.P, g.Q, g.stride, top, left, lines.begin, c.rows(lines.end - lines.begin));
        correlate(c, canvas, lines, filters, no_bias, g.C, call.out<T>(2) + n * g.H * g.W * g.C);
    });
}

inline bool dw_by_winograd(const Geometry &g) { return g.N > 0 && forward_by_winograd(g); }

template <class T> ScratchNeeds conv_dw_scratch(const Call &call) {
    const Geometry g(call);
    const Correlation<T> c(g);
    const std::int64_t size = sizeof(T);
    if (dw_by_winograd(g)) {
        const Winograd<T> w = winograd_of<T>(g);
        return {CACHE_LINE, CACHE_LINE + w.filter_elements() * size, w.dw_elements() * size};
    }
    return {0, 0, stays_inside(g, c) ? 0 : c.elements(g.P) * size};
}

// dw[r, s, c, o] = sum over images and pixels.
// x (N, H, W, C), dy (N, P, Q, O) -> dw (R, S, channels, O)
template <class T> void conv_dw(const Call &call, int part, int parts) {
    const Geometry g(call);
    T *const memory = scratch_of<T>(call, part);
    if (dw_by_winograd(g))
        winograd_dw(winograd_of<T>(g), call.in<T>(0), call.in<T>(1), memory,
                    reinterpret_cast<T *>(call.scratch + CACHE_LINE), reinterpret_cast<int *>(call.scratch),
                    part, parts, call.out<T>(2));
    else
        correlate_gradients(g, call.in<T>(0), call.in<T>(1), memory, part, parts, call.out<T>(2));
}

// Calls body(patch, pixel) for each pixel of the patches (P, Q, R, S, C) of an image (H, W, C), in the order
// of the patches; `pixel` is null outside of the image.
template <class Patches, class Image, class Body>
inline void for_patches(const Geometry &g, Patches patches, Image image, Body body) {
    for (std::int64_t p = 0; p < g.P; ++p)
        for (std::int64_t q = 0; q < g.Q; ++q)
            for (std::int64_t r = 0; r < g.R; ++r)
                for (std::int64_t s = 0; s < g.S; ++s, patches += g.C) {
                    const std::int64_t h = p * g.stride[0] + r * g.dilation[0] - g.padding[0];
                    const std::int64_t w = q * g.stride[1] + s * g.dilation[1] - g.padding[1];
                    const bool inside = h >= 0 && h < g.H && w >= 0 && w < g.W;
                    body(patches, inside ? image + (h * g.W + w) * g.C : nullptr);
                }
}

// x (N, H, W, C) -> columns (N, P, Q, R, S, C)
template <class T> void im2col(const Call &call, int part, int parts) {
    const Geometry g(call);
    const Range images = share(g.N, part, parts);
    for (std::int64_t n = images.begin; n < images.end; ++n) {
        T *const columns = call.out<T>(1) + n * g.P * g.Q * g.R * g.S * g.C;
        for_patches(g, columns, call.in<T>(0) + n * g.H * g.W * g.C, [&](T *patch, const T *pixel) {
            if (pixel)
                Canvas<T>::copy(pixel, patch, g.C);
            else
                std::memset(patch, 0, std::size_t(g.C) * sizeof(T));
        });
    }
}

// columns (N, P, Q, R, S, C) -> x (N, H, W, C)
template <class T> void col2im(const Call &call, int part, int parts) {
    const Geometry g(call);
    const Range images = share(g.N, part, parts);
    for (std::int64_t n = images.begin; n < images.end; ++n) {
        T *const image = call.out<T>(1) + n * g.H * g.W * g.C;
        std::memset(image, 0, std::size_t(g.H * g.W * g.C) * sizeof(T));
        const T *const columns = call.in<T>(0) + n * g.P * g.Q * g.R * g.S * g.C;
        for_patches(g, columns, image, [&](const T *patch, T *pixel) {
            if (!pixel) return;
            for_vectors<T>(0, g.C, [=](std::int64_t e, int k) {
                store_n(pixel + e, load_n(pixel + e, k) + load_n(patch + e, k), k);
            });
        });
    }
}

}  // namespace fastnn
