// Convolution by 3 x 3 filters with 16 instead of 36 multiplications for each 2 x 2 pixels of the output: the
// algorithm F(2 x 2, 3 x 3) of Winograd, as matrix products (Lavin & Gray 2016, arXiv:1509.09308).
//
//     y = A^T [(G w G^T) . (B^T x B)] A      x: 4 x 4 pixels, w: 3 x 3, y: 2 x 2
//
// The sum over the channels makes of each of the 16 places of the dot a matrix product. Groups of tiles are
// transformed, multiplied and transformed back while they are in the second-level cache.
//
// All constants are 1 and 1/2, so whole numbers stay exact. What a pixel contributes to outputs that do not
// see it cancels only if it is finite: a nan or an infinity spreads over its tiles.
#pragma once

#include <cstring>

#include "call.hpp"
#include "pack.hpp"

namespace fastnn {

// A convolution of images (N, H, W, C) by 3 x 3 filters to outputs (N, P, Q, O), stride and dilation 1, whose
// first output sees the pixels from (-top, -left) on.
template <class T> struct Winograd {
    std::int64_t N, H, W, C, P, Q, O, top, left;

    static constexpr int PLACES = 16;
    // Tiles that are transformed together. Many share the reading of the filters, few stay in the cache.
    static constexpr std::int64_t GROUP = 96;
    // Lines between the planes of two places, so that they do not lie a multiple of 4 KiB apart.
    static constexpr std::int64_t GAP = 64 / sizeof(T);

    std::int64_t tile_rows() const { return (P + 1) / 2; }
    std::int64_t tile_columns() const { return (Q + 1) / 2; }
    std::int64_t tiles() const { return N * tile_rows() * tile_columns(); }
    std::int64_t group() const { return tiles() < GROUP ? tiles() : GROUP; }

    std::int64_t plane(std::int64_t columns) const {
        return (Panels<T>::elements(group(), columns) + GAP - 1) / GAP * GAP + GAP;
    }
    std::int64_t filter_plane() const { return (Panels<T>::elements(C, O) + GAP - 1) / GAP * GAP + GAP; }
    std::int64_t filter_elements() const { return PLACES * filter_plane(); }
    // A pixel, of zeros or one that nobody reads, in whole cache lines.
    std::int64_t pixel() const { return ((C > O ? C : O) + GAP - 1) / GAP * GAP; }
    // What winograd_forward and winograd_dw need for a group of tiles.
    std::int64_t forward_elements() const { return PLACES * (plane(C) + plane(O)) + 2 * pixel(); }
    std::int64_t dw_elements() const { return 4 * (plane(C) + plane(O)) + pixel(); }
};

// Whether that pays: wide enough to fill vectors and to repay the transforms, and not too many tiles that
// reach beyond the outputs.
inline bool winograd_pays(std::int64_t C, std::int64_t O, std::int64_t P, std::int64_t Q) {
    const std::int64_t computed = (P + 1) / 2 * ((Q + 1) / 2) * 16, direct = P * Q * 9;
    return C >= 16 && O >= 16 && 4 * computed <= 3 * direct;
}

// u = G w G^T for some channels.  w (3, 3, C, O) -> 16 planes of panels (C, O)
template <class T> void transform_filters(const Winograd<T> &g, Range channels, const T *w, T *u) {
    const std::int64_t plane = g.filter_plane();
    for (std::int64_t c = channels.begin; c < channels.end; ++c)
        Panels<T>::for_columns(g.O, g.C, u, [&](std::int64_t o, int n, T *panel, std::int64_t stride) {
            Vec<T> half[4][3];
            for (int s = 0; s < 3; ++s) {
                const auto weight = [&](int r) { return load_n(w + ((r * 3 + s) * g.C + c) * g.O + o, n); };
                const Vec<T> outer = T(0.5) * (weight(0) + weight(2)), inner = T(0.5) * weight(1);
                half[0][s] = weight(0), half[1][s] = outer + inner;
                half[2][s] = outer - inner, half[3][s] = weight(2);
            }
            T *const to = panel + c * stride;
            for (int i = 0; i < 4; ++i) {
                const Vec<T> outer = T(0.5) * (half[i][0] + half[i][2]), inner = T(0.5) * half[i][1];
                store(to + (4 * i + 0) * plane, half[i][0]);
                store(to + (4 * i + 1) * plane, outer + inner);
                store(to + (4 * i + 2) * plane, outer - inner);
                store(to + (4 * i + 3) * plane, half[i][2]);
            }
        });
}

// dw = G^T du G.  16 planes du (C, O) -> dw (3, 3, C, O)
template <class T> void transform_filters_back(const Winograd<T> &g, const T *du, T *dw) {
    const std::int64_t plane = g.C * g.O;
    for_vectors<T>(0, plane, [&](std::int64_t e, int n) {
        Vec<T> half[3][4];
        for (int j = 0; j < 4; ++j) {
            const auto at = [&](int i) { return load_n(du + (4 * i + j) * g.filter_plane() + e, n); };
            const Vec<T> sum = T(0.5) * (at(1) + at(2)), difference = T(0.5) * (at(1) - at(2));
            half[0][j] = at(0) + sum, half[1][j] = difference, half[2][j] = sum + at(3);
        }
        for (int r = 0; r < 3; ++r) {
            const Vec<T> sum = T(0.5) * (half[r][1] + half[r][2]);
            store_n(dw + (3 * r + 0) * plane + e, half[r][0] + sum, n);
            store_n(dw + (3 * r + 1) * plane + e, T(0.5) * (half[r][1] - half[r][2]), n);
            store_n(dw + (3 * r + 2) * plane + e, sum + half[r][3], n);
        }
    });
}

// Where the SIDE x SIDE pixels from (row, column) on of an image (H, W, C) are; `outside` for those that are
// not in it.
template <int SIDE, class T>
inline void find_pixels(T *image, std::int64_t H, std::int64_t W, std::int64_t C, std::int64_t row,
                        std::int64_t column, T *outside, T *(&pixel)[SIDE][SIDE]) {
    for (int i = 0; i < SIDE; ++i)
        for (int j = 0; j < SIDE; ++j) {
            const std::int64_t h = row + i, w = column + j;
            const bool inside = h >= 0 && h < H && w >= 0 && w < W;
            pixel[i][j] = inside ? image + (h * W + w) * C : outside;
        }
}

// Row I of B^T x B for one tile and some of its channels: body(c, n, its four values).
template <int I, class T, class Body>
inline void transform_pixels(const T *const (&pixel)[4][4], Range channels, Body body) {
    constexpr int FIRST = I == 0 ? 0 : I == 2 ? 2 : 1, SECOND = I == 2 ? 1 : I == 3 ? 3 : 2;
    for_vectors<T>(channels.begin, channels.end, [&](std::int64_t c, int n) {
        Vec<T> x[4];
        for (int j = 0; j < 4; ++j) {
            const Vec<T> a = load_n(pixel[FIRST][j] + c, n), b = load_n(pixel[SECOND][j] + c, n);
            x[j] = I == 1 ? a + b : a - b;
        }
        body(c, n, x[0] - x[2], x[1] + x[2], x[2] - x[1], x[1] - x[3]);
    });
}

// Row I of A dy A^T for one tile: body(panel, stride, its four values); the panels begin at `panels`.
template <int I, class T, class Body>
inline void transform_gradients(const T *const (&pixel)[2][2], std::int64_t O, std::int64_t rows, T *panels,
                                Body body) {
    Panels<T>::for_columns(O, rows, panels, [&](std::int64_t o, int n, T *panel, std::int64_t stride) {
        Vec<T> dy[2];
        for (int j = 0; j < 2; ++j) {
            const Vec<T> a = load_n(pixel[0][j] + o, n), b = load_n(pixel[1][j] + o, n);
            dy[j] = I == 0 ? a : I == 1 ? a + b : I == 2 ? a - b : -b;
        }
        body(panel, stride, dy[0], dy[0] + dy[1], dy[0] - dy[1], -dy[1]);
    });
}

// Calls body(index, n, p, q) for each tile of a group: its image and its first pixel of the outputs.
template <class T, class Body> inline void for_tiles(const Winograd<T> &g, Range group, Body body) {
    for (std::int64_t tile = group.begin; tile < group.end; ++tile) {
        const std::int64_t line = tile / g.tile_columns();
        body(tile - group.begin, line / g.tile_rows(), line % g.tile_rows() * 2, tile % g.tile_columns() * 2);
    }
}

// Row I of v = B^T x B for a group of tiles.  x (N, H, W, C) -> four planes v (tiles, C), of some channels
template <int I, class T>
inline void images_of_group(const Winograd<T> &g, const T *x, Range group, Range channels, const T *zeros,
                            T *v) {
    const std::int64_t plane = g.plane(g.C);
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *pixel[4][4];
        find_pixels<4>(x + n * g.H * g.W * g.C, g.H, g.W, g.C, p - g.top, q - g.left, zeros, pixel);
        T *const to = v + tile * g.C;
        const auto keep = [=](std::int64_t c, int k, Vec<T> v0, Vec<T> v1, Vec<T> v2, Vec<T> v3) {
            store_n(to + c, v0, k);
            store_n(to + plane + c, v1, k);
            store_n(to + 2 * plane + c, v2, k);
            store_n(to + 3 * plane + c, v3, k);
        };
        transform_pixels<I, T>(pixel, channels, keep);
    });
}

// Row I of A dy A^T for a group of tiles.  dy (N, P, Q, O) -> four planes of panels (tiles, O)
template <int I, class T>
inline void gradients_of_group(const Winograd<T> &g, const T *dy, Range group, const T *zeros, T *panels) {
    const std::int64_t plane = g.plane(g.O);
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *pixel[2][2];
        find_pixels<2>(dy + n * g.P * g.Q * g.O, g.P, g.Q, g.O, p, q, zeros, pixel);
        const auto keep = [=](T *panel, std::int64_t stride, Vec<T> v0, Vec<T> v1, Vec<T> v2, Vec<T> v3) {
            T *const to = panel + tile * stride;
            store(to, v0);
            store(to + plane, v1);
            store(to + 2 * plane, v2);
            store(to + 3 * plane, v3);
        };
        transform_gradients<I, T>(pixel, g.O, group.end - group.begin, panels, keep);
    });
}

// y = A^T m A + b for a group of tiles.  16 planes m (tiles, O) -> their pixels of y (N, P, Q, O)
// `after(pixels, count, width)` is called for each of them when it is there.
template <class T, class After>
inline void outputs_of_group(const Winograd<T> &g, const T *m, Range group, const T *b, T *outside, T *y,
                             After after) {
    const std::int64_t plane = g.plane(g.O);
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        T *pixel[2][2];
        find_pixels<2>(y + n * g.P * g.Q * g.O, g.P, g.Q, g.O, p, q, outside, pixel);
        for_vectors<T>(0, g.O, [&](std::int64_t o, int k) {
            Vec<T> left[4], right[4];
            for (int i = 0; i < 4; ++i) {
                const auto at = [&](int j) { return load_n(m + (4 * i + j) * plane + tile * g.O + o, k); };
                const Vec<T> second = at(1), third = at(2);
                left[i] = at(0) + second + third, right[i] = second - third - at(3);
            }
            const Vec<T> bias = b ? load_n(b + o, k) : Vec<T>{};
            store_n(pixel[0][0] + o, left[0] + left[1] + left[2] + bias, k);
            store_n(pixel[0][1] + o, right[0] + right[1] + right[2] + bias, k);
            store_n(pixel[1][0] + o, left[1] - left[2] - left[3] + bias, k);
            store_n(pixel[1][1] + o, right[1] - right[2] - right[3] + bias, k);
        });
        for (T *const of_tile : {pixel[0][0], pixel[0][1], pixel[1][0], pixel[1][1]})
            if (of_tile != outside) after(of_tile, 1, g.O);
    });
}

// C = A B, or with `adds` C += A B, by register tiles.  A (M, K), B (K, N) -> C (M, N)
template <class T>
inline void multiply_panels(std::int64_t M, std::int64_t N, std::int64_t K, Operand<T> a, const Panels<T> &b,
                            T *c, bool adds) {
    for (std::int64_t index = 0; index < ColumnBlock<T>::count(N); ++index) {
        const ColumnBlock<T> block(N, index);
        const Tiles rows(M, tile_rows(block.vectors));
        for (std::int64_t tile = 0; tile < rows.count; ++tile) {
            const std::int64_t row = rows.begin(tile);
            const StoreTile<T> place{c + row * N + block.begin, N, adds};
            tile_of_size<T>(int(rows.length(tile)), block.vectors, {a.data + row * a.row, a.row, a.step},
                            b[block], K, {nullptr, 0}, place);
        }
    }
}

// y = x * w + b.  x (N, H, W, C), transformed filters u, b (O,) or null -> y (N, P, Q, O); `memory` of
// forward_elements()
template <class T, class After>
void winograd_forward(const Winograd<T> &g, const T *x, T *u, const T *b, T *memory, int part, int parts,
                      T *y, After after) {
    const std::int64_t plane = g.plane(g.C);
    T *const v = memory, *const m = v + g.PLACES * plane;
    T *const zeros = m + g.PLACES * g.plane(g.O), *const outside = zeros + g.pixel();
    std::memset(zeros, 0, std::size_t(g.C) * sizeof(T));
    const Range mine = share(g.tiles(), part, parts), channels = {0, g.C};
    const Tiles groups(mine.end - mine.begin, g.GROUP);
    for (std::int64_t index = 0; index < groups.count; ++index) {
        const std::int64_t first = mine.begin + groups.begin(index), count = groups.length(index);
        const Range group = {first, first + count};
        images_of_group<0>(g, x, group, channels, zeros, v);
        images_of_group<1>(g, x, group, channels, zeros, v + 4 * plane);
        images_of_group<2>(g, x, group, channels, zeros, v + 8 * plane);
        images_of_group<3>(g, x, group, channels, zeros, v + 12 * plane);
        for (int place = 0; place < g.PLACES; ++place)
            multiply_panels<T>(count, g.O, g.C, {v + place * plane, g.C, 1},
                               {u + place * g.filter_plane(), g.C}, m + place * g.plane(g.O), false);
        outputs_of_group(g, m, group, b, outside, y, after);
    }
}

// Adds a group of tiles to row I of du = (B^T x B)^T (A dy A^T), for some channels of x; the first begins it.
template <int I, class T>
void add_group(const Winograd<T> &g, const T *x, const T *dy, Range group, Range channels, T *memory, T *du) {
    T *const v = memory, *const panels = v + 4 * g.plane(g.C), *const zeros = panels + 4 * g.plane(g.O);
    const std::int64_t count = group.end - group.begin;
    images_of_group<I>(g, x, group, channels, zeros, v);
    gradients_of_group<I>(g, dy, group, zeros, panels);
    for (int j = 0; j < 4; ++j)
        multiply_panels<T>(channels.end - channels.begin, g.O, count,
                           {v + j * g.plane(g.C) + channels.begin, 1, g.C},
                           {panels + j * g.plane(g.O), count},
                           du + (4 * I + j) * g.filter_plane() + channels.begin * g.O, group.begin > 0);
}

// The sums over all tiles of which transform_filters_back makes dw.  x (N, H, W, C), dy (N, P, Q, O) -> du
// Each part has a `memory` of dw_elements(), and owns rows of places, and of these vectors of channels.
template <class T>
void winograd_dw(const Winograd<T> &g, const T *x, const T *dy, T *memory, int part, int parts, T *du) {
    std::memset(memory + 4 * (g.plane(g.C) + g.plane(g.O)), 0, std::size_t(g.pixel()) * sizeof(T));
    const std::int64_t vectors = (g.C + LANES<T> - 1) / LANES<T>;
    const Range mine = share(4 * vectors, part, parts);
    const Tiles groups(g.tiles(), g.GROUP);
    for (std::int64_t index = 0; index < groups.count; ++index) {
        const Range group = {groups.begin(index), groups.begin(index + 1)};
        for (std::int64_t row = 0; row < 4; ++row) {
            const std::int64_t begin = (mine.begin - row * vectors) * LANES<T>;
            const std::int64_t end = (mine.end - row * vectors) * LANES<T>;
            const Range channels = {begin < 0 ? 0 : begin, end < g.C ? end : g.C};
            if (channels.begin >= channels.end) continue;
            switch (row) {
                case 0: add_group<0>(g, x, dy, group, channels, memory, du); break;
                case 1: add_group<1>(g, x, dy, group, channels, memory, du); break;
                case 2: add_group<2>(g, x, dy, group, channels, memory, du); break;
                case 3: add_group<3>(g, x, dy, group, channels, memory, du); break;
            }
        }
    }
}

}  // namespace fastnn
