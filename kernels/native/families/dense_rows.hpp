// Products of many rows by a small matrix: y = x w and dx = dy w^T of a large batch in a small layer.
//
// The small matrix is copied once, into panels of whole vectors that stay in the caches, and one function
// multiplies a whole group of rows: called tile by tile, a product of few terms spends most of its time on
// the calls (10000x4x32 on Zen 4: 54 -> 30 us). The activation follows while the group is in the L1 cache.
// (To apply it in registers was no faster: 10000x4x32 with tanh 119 us, 10000x32x16 135; from the cache 116
// and 136.)
//
// Where a row of the result does not even fill half a vector, lanes are rows of the batch instead of columns:
// squares of the batch are transposed in registers (4096x64x1: 82 -> 24 us).
//
// Each element is one sum in ascending order, as in tile.hpp, so that the bits do not depend on the path.
#pragma once

#include "gemm/pack.hpp"
#include "gemm/row_lanes.hpp"
#include "plan/call.hpp"

namespace fastnn {

// The number of rows from which these kernels take over: below, threads divide columns rather than rows.
// (Step of 30-64-64-1 on one thread with 96 and 128 rows: 4 % less time than by register tiles.)
constexpr std::int64_t MANY_ROWS = 96;
constexpr std::int64_t ROWS_TOGETHER = 48;  // of a group: a multiple of all tile heights and lanes
// The shares of the threads are multiples of so many rows: a cache line at least, and not a whole group, so
// that 128 rows are divided evenly.
constexpr std::int64_t ROWS_OF_SHARE = 16;

// A group of rows times one panel: c = a panel + bias. Rows of `a` are contiguous.
template <class T> struct Strip {
    const T *a;
    std::int64_t depth, rows;
    const T *panel, *bias;  // bias may be null
    T *c;
    std::int64_t row;  // the distance of rows of c
    int last;          // elements of the last vector of a row

    // x + -0 is x for every x.
    Vec<T> bias_vector(int j, int n) const {
        return bias ? load_n(bias + j * LANES<T>, n) : broadcast(-T(0));
    }
};

// Tiles of ROWS rows, then smaller ones.
template <class T, int ROWS, int COLUMNS>
[[gnu::noinline]] void multiply_strip(const Strip<T> &strip, std::int64_t first) {
    const T *const a = strip.a, *const panel = strip.panel;
    T *const c = strip.c;
    const std::int64_t depth = strip.depth, rows = strip.rows, row = strip.row;
    const int last = strip.last;
    for (; first + ROWS <= rows; first += ROWS) {
        Vec<T> sum[ROWS][COLUMNS] = {};
        const T *column = a + first * depth, *b = panel;
        for (std::int64_t k = 0; k < depth; ++k, ++column, b += COLUMNS * LANES<T>) {
            Vec<T> row_of_b[COLUMNS];
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j) row_of_b[j] = load(b + j * LANES<T>);
#pragma GCC unroll 16
            for (int i = 0; i < ROWS; ++i) {
                const Vec<T> element = broadcast(column[i * depth]);
#pragma GCC unroll 4
                for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(element, row_of_b[j], sum[i][j]);
            }
        }
        const auto finish = [&](int n) INLINED {
            Vec<T> offset[COLUMNS];
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j)
                offset[j] = strip.bias_vector(j, j < COLUMNS - 1 ? LANES<T> : n);
            for_tile<T>(sum, n, [&](int i, int j, Vec<T> value, int width) {
                store_n(c + (first + i) * row + j * LANES<T>, value + offset[j], width);
            });
        };
        last == LANES<T> ? finish(LANES<T>) : finish(last);
    }
    if constexpr (ROWS > 1)
        if (first < rows) multiply_strip<T, ROWS / 2, COLUMNS>(strip, first);
}

// Elements 2 i and 2 i + 1 of the result are elements i of a and b, for the lower (FROM = 0) or the upper
// half of a and b.
template <class T, int FROM, int... I>
INLINED inline Vec<T> interleave(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    return lanes<(FROM + I / 2 + I % 2 * LANES<T>)...>(a, b);
}

// The most outputs whose lanes are rows.
template <class T> constexpr std::int64_t THIN = LANES<T> / 2;

// Lanes are rows; N <= THIN columns.
template <class T, int N> [[gnu::noinline]] void multiply_thin(const Strip<T> &strip) {
    constexpr auto all = std::make_integer_sequence<int, LANES<T>>();
    constexpr int SPAN = N > 4 ? 8 : N > 2 ? 4 : N;  // columns with padding: a power of two
    const T *const a = strip.a, *const panel = strip.panel, *const bias = strip.bias;
    T *const c = strip.c;
    const std::int64_t depth = strip.depth, rows = strip.rows;
    for (std::int64_t first = 0; first < rows; first += LANES<T>) {
        const int height = int(rows - first < LANES<T> ? rows - first : LANES<T>);
        Vec<T> sum[SPAN] = {};
        const auto add = [&](std::int64_t k, int width) INLINED {
            add_row_lanes<T, N>(a + first * depth + k, depth, height, width, panel + k * LANES<T>, LANES<T>,
                                1, sum);
        };
        std::int64_t k = 0;
        for (; k + LANES<T> <= depth; k += LANES<T>) add(k, LANES<T>);
        if (k < depth) add(k, int(depth - k));
        if (bias) {
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) sum[n] += broadcast(bias[n]);
        }
#pragma GCC unroll 4
        for (int width = 1; width < SPAN; width *= 2) {
            Vec<T> next[SPAN];
#pragma GCC unroll 4
            for (int n = 0; n < SPAN / 2; ++n) {
                next[2 * n] = interleave<T, 0>(sum[n], sum[n + SPAN / 2], all);
                next[2 * n + 1] = interleave<T, LANES<T> / 2>(sum[n], sum[n + SPAN / 2], all);
            }
#pragma GCC unroll 8
            for (int n = 0; n < SPAN; ++n) sum[n] = next[n];
        }
        if (SPAN == N && height == LANES<T>) {
#pragma GCC unroll 8
            for (int n = 0; n < N; ++n) store(c + first * N + n * LANES<T>, sum[n]);
        } else {
            T padded[(SPAN + 1) * LANES<T>];
#pragma GCC unroll 8
            for (int n = 0; n < SPAN; ++n) store(padded + n * LANES<T>, sum[n]);
            for (int i = 0; i < height; ++i)
                for (int n = 0; n < N; ++n) c[(first + i) * N + n] = padded[i * SPAN + n];
        }
    }
}

template <class T, int N = int(THIN<T>)> void multiply_thin(const Strip<T> &strip, std::int64_t columns) {
    if (columns == N) return multiply_thin<T, N>(strip);
    if constexpr (N > 1) multiply_thin<T, N - 1>(strip, columns);
}

template <class T, int COLUMNS = TILE_COLUMNS> void multiply_strip(const Strip<T> &strip, int columns) {
    if (columns == COLUMNS) return multiply_strip<T, tile_rows(COLUMNS), COLUMNS>(strip, 0);
    if constexpr (COLUMNS > 1) multiply_strip<T, COLUMNS - 1>(strip, columns);
}

// The product of a (rows, depth) and a small matrix (depth, columns).
template <class T> class ManyRows {
public:
    ManyRows(std::int64_t depth, std::int64_t columns, T *panels)
        : depth_(depth), columns_(columns), panels_{panels, depth}, memory_(panels) {}

    static bool suit(std::int64_t rows, std::int64_t depth, std::int64_t columns) {
        return rows >= MANY_ROWS && is_small_matrix(depth, columns);
    }
    static ScratchNeeds scratch(std::int64_t depth, std::int64_t columns) {
        return {0, 0, Panels<T>::elements(depth, columns) * std::int64_t(sizeof(T))};
    }

    // The small matrix is w (depth, columns), or the transpose of w (columns, depth).
    void pack(const T *w) {
        for (std::int64_t k = 0; k < depth_; ++k)
            Panels<T>::for_columns(columns_, depth_, memory_,
                                   [=](std::int64_t column, int n, T *panel, std::int64_t stride) {
                                       store(panel + k * stride, load_n(w + k * columns_ + column, n));
                                   });
    }
    void pack_transpose(const T *w) {
        for (std::int64_t index = 0; index < ColumnBlock<T>::count(columns_); ++index) {
            const ColumnBlock<T> block(columns_, index);
            transpose<T, true>(w + block.begin * depth_, depth_, block.width, depth_,
                               memory_ + block.begin * depth_, Panels<T>::width(block));
        }
    }

    // c = a w + bias for rows of the batch; after(begin, count) follows each group of rows.
    template <class After> void run(Range rows, const T *a, const T *bias, T *c, After after) const {
        for (std::int64_t row = rows.begin; row < rows.end; row += ROWS_TOGETHER) {
            const std::int64_t left = rows.end - row, count = left < ROWS_TOGETHER ? left : ROWS_TOGETHER;
            for (std::int64_t index = 0; index < ColumnBlock<T>::count(columns_); ++index) {
                const ColumnBlock<T> block(columns_, index);
                const Rows<T> panel = panels_[block];
                const Strip<T> strip{a + row * depth_,
                                     depth_,
                                     count,
                                     panel.data,
                                     bias ? bias + block.begin : nullptr,
                                     c + row * columns_ + block.begin,
                                     columns_,
                                     block.last};
                if (columns_ <= THIN<T> && 2 * depth_ >= LANES<T>)
                    multiply_thin<T>(strip, columns_);
                else
                    multiply_strip<T>(strip, block.vectors);
            }
            after(row, count);
        }
    }

private:
    const std::int64_t depth_, columns_;
    const Panels<T> panels_;
    T *const memory_;
};

}  // namespace fastnn
