// Convolution by 3 x 3 filters with fewer multiplications: 16 instead of 36 for each 2 x 2 output pixels, or
// 36 instead of 144 for each 4 x 4. These are Winograd's algorithms F(2 x 2, 3 x 3) and F(4 x 4, 3 x 3) as
// matrix products (Lavin & Gray 2016, arXiv:1509.09308).
//
//     y = A^T [(G w G^T) . (B^T x B)] A      with the matrices of minimal_filtering.hpp
//
// The sum over the channels turns each element of the elementwise product "." into a matrix product. Groups
// of tiles are transformed, multiplied and transformed back while they are in the L2 cache.
//
// The contributions of a pixel to outputs that do not read it cancel only if the pixel is finite: a nan or
// inf spreads over its tiles.
#pragma once

#include <algorithm>
#include <cstring>

#include "plan/call.hpp"
#include "families/minimal_filtering.hpp"
#include "gemm/pack.hpp"

namespace fastnn {

// A convolution of images (N, H, W, C) by 3 x 3 filters to outputs (N, P, Q, O), stride and dilation 1, whose
// first output sees the pixels from (-top, -left) on; in tiles of OUTPUTS x OUTPUTS outputs.
template <class T, int OUTPUTS> struct Winograd {
    std::int64_t N, H, W, C, P, Q, O, top, left;

    typedef MinimalFiltering<T, OUTPUTS> Transform;
    static constexpr int SIDE = OUTPUTS + 2, PLACES = SIDE * SIDE;
    // Tiles that are transformed together. A large group reads the filters (or the sums of their gradients)
    // less often. A small one stays in the cache.
    static constexpr std::int64_t DW_GROUP = 96;
    std::int64_t most_tiles() const { return stays_in_cache() ? 8 : 96; }
    // Whether a group of tiles, its pixels and the filters fit into an L2 cache together. If not, lines that
    // are fetched for the next group would push them out (14x14x512->512: 7 % slower).
    bool stays_in_cache() const { return C * O <= 128 * 128; }
    // Channels of which a part computes the gradients of the filters, or a multiple of them. Half a vector of
    // AVX-512: two threads share three pairs of rows of 16 channels evenly.
    static constexpr std::int64_t DW_CHANNELS = 8;
    // Lines between the planes of two places, so that they do not lie a multiple of 4 KiB apart.
    static constexpr std::int64_t GAP = 64 / sizeof(T);

    std::int64_t tile_rows() const { return (P + OUTPUTS - 1) / OUTPUTS; }
    std::int64_t tile_columns() const { return (Q + OUTPUTS - 1) / OUTPUTS; }
    std::int64_t tiles() const { return N * tile_rows() * tile_columns(); }

    static std::int64_t with_gap(std::int64_t elements) { return (elements + GAP - 1) / GAP * GAP + GAP; }
    // The most tiles of a group, of which at most `most` fit.
    std::int64_t group(std::int64_t most) const { return tiles() < most ? tiles() : most; }
    // What lies between two places of so many tiles.
    std::int64_t plane(std::int64_t most, std::int64_t columns) const {
        return with_gap(Panels<T>::elements(group(most), columns));
    }
    // What lies between the products of two tiles. The places of a tile follow each other: the transform of
    // the outputs reads all of them (14x14x32->64 on Zen 4: forward 5 %, dx 10 % faster than with planes; the
    // transform of the pixels, which writes them, gains nothing).
    std::int64_t products() const { return with_gap(PLACES * O); }
    std::int64_t filter_plane() const { return with_gap(Panels<T>::elements(C, O)); }
    std::int64_t filter_elements() const { return PLACES * filter_plane(); }
    // Elements of a dummy pixel (zeros to read, or a target for discarded writes), in whole cache lines.
    std::int64_t pixel() const { return ((C > O ? C : O) + GAP - 1) / GAP * GAP; }
    // Scratch elements that winograd_forward and winograd_dw need for a group of tiles.
    std::int64_t forward_elements() const {
        return PLACES * plane(most_tiles(), C) + group(most_tiles()) * products() + 2 * pixel();
    }
    std::int64_t dw_elements() const {
        return 2 * SIDE * (plane(DW_GROUP, C) + plane(DW_GROUP, O)) + pixel();
    }
};

// u = G w G^T for some channels.  w (3, 3, C, O) -> planes of panels (C, O)
template <class T, int OUTPUTS>
void transform_filters(const Winograd<T, OUTPUTS> &g, Range channels, const T *w, T *u) {
    typedef Winograd<T, OUTPUTS> W;
    const std::int64_t plane = g.filter_plane();
    for (std::int64_t c = channels.begin; c < channels.end; ++c)
        Panels<T>::for_columns(g.O, g.C, u, [&](std::int64_t o, int n, T *panel, std::int64_t stride) {
            Vec<T> half[W::SIDE][3];
            for (int s = 0; s < 3; ++s) {
                const auto weight = [&](int r)
                                        INLINED { return load_n(w + ((r * 3 + s) * g.C + c) * g.O + o, n); };
                for_constants<W::SIDE>(
                    [&](auto i) INLINED { half[i][s] = W::Transform::template filters<i>(weight); });
            }
            T *const to = panel + c * stride;
            for (int i = 0; i < W::SIDE; ++i)
                for_constants<W::SIDE>([&](auto j) INLINED {
                    store(to + (W::SIDE * i + j) * plane,
                          W::Transform::template filters<j>([&](int s) INLINED { return half[i][s]; }));
                });
        });
}

// dw = G^T du G.  Planes du (C, O) -> dw (3, 3, C, O)
template <class T, int OUTPUTS>
void transform_filters_back(const Winograd<T, OUTPUTS> &g, const T *du, T *dw) {
    typedef Winograd<T, OUTPUTS> W;
    const std::int64_t plane = g.C * g.O;
    for_vectors<T>(0, plane, [&](std::int64_t e, int n) {
        Vec<T> half[3][W::SIDE];
        for (int j = 0; j < W::SIDE; ++j) {
            const auto at = [&](int i)
                                INLINED { return load_n(du + (W::SIDE * i + j) * g.filter_plane() + e, n); };
            for_constants<3>([&](auto r)
                                 INLINED { half[r][j] = W::Transform::template filter_gradients<r>(at); });
        }
        for (int r = 0; r < 3; ++r)
            for_constants<3>([&](auto s) INLINED {
                const auto sum =
                    W::Transform::template filter_gradients<s>([&](int j) INLINED { return half[r][j]; });
                store_n(dw + (3 * r + s) * plane + e, W::Transform::SCALE * sum, n);
            });
    });
}

// The addresses of the SIDE x SIDE pixels of an image (H, W, C) that start at (row, column); `outside` for
// pixels that are not in the image.
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

// Calls body(index, n, p, q) for each tile of a group: its image and its first pixel of the outputs.
template <class T, int OUTPUTS, class Body>
inline void for_tiles(const Winograd<T, OUTPUTS> &g, Range group, Body body) {
    for (std::int64_t tile = group.begin; tile < group.end; ++tile) {
        const std::int64_t line = tile / g.tile_columns();
        body(tile - group.begin, line / g.tile_rows(), line % g.tile_rows() * OUTPUTS,
             tile % g.tile_columns() * OUTPUTS);
    }
}

// v = B^T x B for a group of tiles.  x (N, H, W, C) -> planes v (tiles, C)
template <class T, int OUTPUTS>
inline void images_of_group(const Winograd<T, OUTPUTS> &g, const T *x, Range group, const T *zeros, T *v) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int SIDE = W::SIDE;
    const std::int64_t plane = g.plane(g.most_tiles(), g.C);
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *pixel[SIDE][SIDE];
        find_pixels<SIDE>(x + n * g.H * g.W * g.C, g.H, g.W, g.C, p - g.top, q - g.left, zeros, pixel);
        for_vectors<T>(0, g.C, [&](std::int64_t c, int k) INLINED {
            Vec<T> half[SIDE][SIDE];
            for (int j = 0; j < SIDE; ++j) {
                const auto at = [&](int i) INLINED { return load_n(pixel[i][j] + c, k); };
                for_constants<SIDE>([&](auto i)
                                        INLINED { half[i][j] = W::Transform::template pixels<i>(at); });
            }
            T *const to = v + tile * g.C + c;
            for (int i = 0; i < SIDE; ++i)
                for_constants<SIDE>([&](auto j) INLINED {
                    const auto sum =
                        W::Transform::template pixels<j>([&](int l) INLINED { return half[i][l]; });
                    store_n(to + (SIDE * i + j) * plane, sum, k);
                });
        });
    });
}

// Rows I and K of v = B^T x B for a group of tiles.  x (N, H, W, C) -> 2 * SIDE planes v (tiles, C), of some
// channels
template <int I, int K, class T, int OUTPUTS>
inline void image_rows_of_group(const Winograd<T, OUTPUTS> &g, const T *x, Range group, Range channels,
                                const T *zeros, T *v) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int SIDE = W::SIDE;
    const std::int64_t plane = g.plane(W::DW_GROUP, g.C);
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *pixel[SIDE][SIDE];
        find_pixels<SIDE>(x + n * g.H * g.W * g.C, g.H, g.W, g.C, p - g.top, q - g.left, zeros, pixel);
        for_vectors<T>(channels.begin, channels.end, [&](std::int64_t c, int k) INLINED {
            Vec<T> row[2][SIDE];
            for (int j = 0; j < SIDE; ++j) {
                const auto at = [&](int i) INLINED { return load_n(pixel[i][j] + c, k); };
                row[0][j] = W::Transform::template pixels<I>(at);
                row[1][j] = W::Transform::template pixels<K>(at);
            }
            T *const to = v + tile * g.C + c;
            for (int i = 0; i < 2; ++i)
                for_constants<SIDE>([&](auto j) INLINED {
                    const auto sum =
                        W::Transform::template pixels<j>([&](int l) INLINED { return row[i][l]; });
                    store_n(to + (SIDE * i + j) * plane, sum, k);
                });
        });
    });
}

// Rows I and K of A dy A^T for a group of tiles.  dy (N, P, Q, O) -> 2 * SIDE planes of panels (tiles, O)
template <int I, int K, class T, int OUTPUTS>
inline void gradient_rows_of_group(const Winograd<T, OUTPUTS> &g, const T *dy, Range group, const T *zeros,
                                   T *panels) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int SIDE = W::SIDE;
    const std::int64_t plane = g.plane(W::DW_GROUP, g.O), rows = group.end - group.begin;
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *pixel[OUTPUTS][OUTPUTS];
        find_pixels<OUTPUTS>(dy + n * g.P * g.Q * g.O, g.P, g.Q, g.O, p, q, zeros, pixel);
        Panels<T>::for_columns(
            g.O, rows, panels, [&](std::int64_t o, int k, T *panel, std::int64_t stride) INLINED {
                Vec<T> row[2][OUTPUTS];
                for (int j = 0; j < OUTPUTS; ++j) {
                    const auto at = [&](int i) INLINED { return load_n(pixel[i][j] + o, k); };
                    row[0][j] = W::Transform::template gradients<I>(at);
                    row[1][j] = W::Transform::template gradients<K>(at);
                }
                T *const to = panel + tile * stride;
                for (int i = 0; i < 2; ++i)
                    for_constants<SIDE>([&](auto j) INLINED {
                        store(to + (SIDE * i + j) * plane,
                              W::Transform::template gradients<j>([&](int l) INLINED { return row[i][l]; }));
                    });
            });
    });
}

// y = A^T m A + b for a group of tiles.  m (tiles, PLACES, O) -> their pixels of y (N, P, Q, O)
// `after(pixels, count, width)` is called for the pixels when they are complete.
template <class T, int OUTPUTS, class After>
inline void outputs_of_group(const Winograd<T, OUTPUTS> &g, const T *m, Range group, const T *b, T *outside,
                             T *y, After after) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int SIDE = W::SIDE;
    for_tiles(g, group, [&](std::int64_t tile, std::int64_t n, std::int64_t p, std::int64_t q) {
        const T *const products = m + tile * g.products();
        T *pixel[OUTPUTS][OUTPUTS];
        find_pixels<OUTPUTS>(y + n * g.P * g.Q * g.O, g.P, g.Q, g.O, p, q, outside, pixel);
        for_vectors<T>(0, g.O, [&](std::int64_t o, int k) INLINED {
            Vec<T> half[OUTPUTS][SIDE];
            for (int j = 0; j < SIDE; ++j) {
                const auto at = [&](int i) INLINED { return load_n(products + (SIDE * i + j) * g.O + o, k); };
                for_constants<OUTPUTS>([&](auto i)
                                           INLINED { half[i][j] = W::Transform::template outputs<i>(at); });
            }
            const Vec<T> bias = b ? load_n(b + o, k) : Vec<T>{};
            for (int i = 0; i < OUTPUTS; ++i)
                for_constants<OUTPUTS>([&](auto j) INLINED {
                    const auto sum =
                        W::Transform::template outputs<j>([&](int l) INLINED { return half[i][l]; });
                    store_n(pixel[i][j] + o, W::Transform::SCALE * sum + bias, k);
                });
        });
        for (const auto &row : pixel)
            for (T *const of_tile : row)
                if (of_tile != outside) after(of_tile, 1, g.O);
    });
}

// C = A B, or with `adds` C += A B, by register tiles.  A (M, K), B (K, N) -> C (M, N), rows `c_row` apart
template <class T>
inline void multiply_panels(std::int64_t M, std::int64_t N, std::int64_t K, Operand<T> a, const Panels<T> &b,
                            T *c, std::int64_t c_row, bool adds) {
    for (std::int64_t index = 0; index < ColumnBlock<T>::count(N); ++index) {
        const ColumnBlock<T> block(N, index);
        const Tiles rows(M, tile_rows(block.vectors));
        const Rows<T> rows_of_b = b[block];
        Operand<T> rows_of_a = a;
        StoreTile<T> place{nullptr, c_row, nullptr, adds};
        const Partial<T> none{};
        for (std::int64_t tile = 0; tile < rows.count; ++tile) {
            const std::int64_t row = rows.begin(tile);
            rows_of_a.data = a.data + row * a.row;
            place.c = c + row * c_row + block.begin;
            tile_of_size<T>(int(rows.length(tile)), block.vectors, rows_of_a, rows_of_b, K, none, place);
        }
    }
}

// An array of images that the tiles read or write in order. `fetch` brings its next lines into L2 between
// the products, which need little memory. Otherwise the transforms would wait for each line: the hardware
// fetches ahead only within the few pixels of a row of a tile (14x14x64->64, 128 images on Zen 4: a vector of
// a tile took 350 cycles of the time-stamp counter instead of 150).
template <class T> struct Stream {
    const T *array;
    std::int64_t elements, image, tiles_of_image, margin;

    // Each image has `rows` rows of `row` elements. A tile touches `touched` of them.
    template <int OUTPUTS>
    Stream(const Winograd<T, OUTPUTS> &g, const T *array, std::int64_t rows, std::int64_t row,
           std::int64_t touched)
        : array(array), elements(g.N * rows * row), image(rows * row),
          tiles_of_image(std::max<std::int64_t>(1, g.tile_rows() * g.tile_columns())),
          margin((touched + g.tile_rows() * OUTPUTS - g.P) * row) {}

    // The share of the tiles before this one, in elements. What they touch ends at most `margin` later.
    std::int64_t share_before(std::int64_t tile) const {
        return tile / tiles_of_image * image + tile % tiles_of_image * image / tiles_of_image;
    }

    // Fetches one of some equal pieces of what these tiles are the first to touch, and nothing from `end` on.
    INLINED void fetch(Range tiles, std::int64_t end, int piece, int pieces) const {
        constexpr std::int64_t LINE = CACHE_LINE / sizeof(T);
        const std::int64_t first = std::min(share_before(tiles.begin) + margin, end);
        const std::int64_t last = std::min(share_before(tiles.end) + margin, end);
        const Range mine = share(last - first, piece, pieces, LINE);
        fetch_ahead(array + first + mine.begin, mine.end - mine.begin);
    }
};

// y = x * w + b.  x (N, H, W, C), transformed filters u, b (O,) or null -> y (N, P, Q, O); `memory` of
// forward_elements()
template <class T, int OUTPUTS, class After>
void winograd_forward(const Winograd<T, OUTPUTS> &g, const T *x, T *u, const T *b, T *memory, int part,
                      int parts, T *y, After after) {
    typedef Winograd<T, OUTPUTS> W;
    const std::int64_t plane = g.plane(g.most_tiles(), g.C);
    T *const v = memory, *const m = v + W::PLACES * plane;
    T *const zeros = m + g.group(g.most_tiles()) * g.products(), *const outside = zeros + g.pixel();
    std::memset(zeros, 0, std::size_t(g.C) * sizeof(T));
    const Range mine = share(g.tiles(), part, parts);
    const Tiles groups(mine.end - mine.begin, g.most_tiles());
    const Stream<T> pixels(g, x, g.H, g.W * g.C, W::SIDE), outputs(g, y, g.P, g.Q * g.O, OUTPUTS);
    const std::int64_t last_output = outputs.share_before(mine.end);
    for (std::int64_t index = 0; index < groups.count; ++index) {
        const std::int64_t first = mine.begin + groups.begin(index), count = groups.length(index);
        const Range group = {first, first + count};
        const bool is_last = index + 1 == groups.count;
        const Range next = {group.end, is_last ? group.end : mine.begin + groups.begin(index + 2)};
        images_of_group(g, x, group, zeros, v);
        for (int place = 0; place < W::PLACES; ++place) {
            if (g.stays_in_cache()) {
                pixels.fetch(next, pixels.elements, place, W::PLACES);
                outputs.fetch(group, last_output, place, W::PLACES);
            }
            multiply_panels<T>(count, g.O, g.C, {v + place * plane, g.C, 1},
                               {u + place * g.filter_plane(), g.C}, m + place * g.O, g.products(), false);
        }
        outputs_of_group(g, m, group, b, outside, y, after);
    }
}

// Adds a group of tiles to rows I and K of du = (B^T x B)^T (A dy A^T), for some channels of x; the first
// group overwrites du. `fetch(piece)` is called before each of the 2 * SIDE products.
template <int I, int K, class T, int OUTPUTS, class Fetch>
void add_group(const Winograd<T, OUTPUTS> &g, const T *x, const T *dy, Range group, Range channels, T *memory,
               T *du, Fetch fetch) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int PLANES = 2 * W::SIDE;
    const std::int64_t plane = g.plane(W::DW_GROUP, g.C), of_outputs = g.plane(W::DW_GROUP, g.O);
    T *const v = memory, *const panels = v + PLANES * plane, *const zeros = panels + PLANES * of_outputs;
    const std::int64_t count = group.end - group.begin;
    image_rows_of_group<I, K>(g, x, group, channels, zeros, v);
    gradient_rows_of_group<I, K>(g, dy, group, zeros, panels);
    for (int j = 0; j < PLANES; ++j) {
        fetch(j);
        const int place = (j < W::SIDE ? I : K) * W::SIDE + j % W::SIDE;
        multiply_panels<T>(channels.end - channels.begin, g.O, count,
                           {v + j * plane + channels.begin, 1, g.C}, {panels + j * of_outputs, count},
                           du + place * g.filter_plane() + channels.begin * g.O, g.O, group.begin > 0);
    }
}

// The sums over all tiles of which transform_filters_back makes dw.  x (N, H, W, C), dy (N, P, Q, O) -> du
// Each part has a `memory` of dw_elements(), and owns pairs of rows of places, and of these some channels.
// Rows 1 and 2 have sums in common, and so have 3 and 4 (minimal_filtering.hpp). Row 0 and the last row,
// which have none, are the first pair.
template <class T, int OUTPUTS>
void winograd_dw(const Winograd<T, OUTPUTS> &g, const T *x, const T *dy, T *memory, int part, int parts,
                 T *du) {
    typedef Winograd<T, OUTPUTS> W;
    constexpr int PAIRS = W::SIDE / 2, PLANES = 2 * W::SIDE;
    std::memset(memory + g.dw_elements() - g.pixel(), 0, std::size_t(g.pixel()) * sizeof(T));
    const std::int64_t units = (g.C + W::DW_CHANNELS - 1) / W::DW_CHANNELS;  // of a pair
    const Range mine = share(PAIRS * units, part, parts);
    const int first_pair = int(mine.begin / units);
    const int pairs = int((mine.end + units - 1) / units) - first_pair;
    const Tiles groups(g.tiles(), W::DW_GROUP);
    const Stream<T> pixels(g, x, g.H, g.W * g.C, W::SIDE), gradients(g, dy, g.P, g.Q * g.O, OUTPUTS);
    for (std::int64_t index = 0; index < groups.count; ++index) {
        const Range group = {groups.begin(index), groups.begin(index + 1)};
        const bool is_last = index + 1 == groups.count;
        const Range next = {group.end, is_last ? group.end : groups.begin(index + 2)};
        for_constants<PAIRS>([&](auto pair) {
            const std::int64_t begin = (mine.begin - pair * units) * W::DW_CHANNELS;
            const std::int64_t end = (mine.end - pair * units) * W::DW_CHANNELS;
            const Range channels = {begin < 0 ? 0 : begin, end < g.C ? end : g.C};
            if (channels.begin >= channels.end) return;
            constexpr int I = pair ? 2 * pair - 1 : 0, K = pair ? 2 * pair : W::SIDE - 1;
            add_group<I, K>(g, x, dy, group, channels, memory, du, [&](int plane) INLINED {
                if (!g.stays_in_cache()) return;
                const int piece = (pair - first_pair) * PLANES + plane;
                pixels.fetch(next, pixels.elements, piece, pairs * PLANES);
                gradients.fetch(next, gradients.elements, piece, pairs * PLANES);
            });
        });
    }
}

}  // namespace fastnn
