// Dense kernels for batches of a few rows, as in training sample by sample.
//
// These products move all weights for a few multiplications each: a register tile would hold little, and its
// call takes as long as its products. Here the rows of the batch stay in registers while the weights pass by.
// Sums have the order of those of a tile, so the bits are the same.
// On one thread of a Zen 4, instead of tiles: dw with SGD of 1x784x128 13.2 -> 5.0 us, dx of 1x128x64
// 2.6 -> 0.9; forward pass of 1x784x128 4.8 -> 3.6 us, at the speed of L2 (for x86-64-v3 7.2 -> 3.6), of
// 4x784x128 7.1 -> 7.0 us (8.2 -> 7.6).
#pragma once

#include <algorithm>
#include <cstring>

#include "gemm/row_lanes.hpp"
#include "gemm/tile.hpp"
#include "plan/call.hpp"

namespace fastnn {

// The most rows of these batches.
constexpr int FEW_ROWS = 4;
inline bool has_few_rows(std::int64_t M) { return 1 <= M && M <= FEW_ROWS; }

// Vectors of outputs of so many rows that registers hold. Long pieces of the rows of w let the hardware fetch
// the next ones.
constexpr int few_rows_vectors(int rows) {
    if (rows == 1) return 8;
    return MANY_REGISTERS ? rows == 2 ? 8 : 4 : rows <= 3 ? 4 : 2;
}

// The bytes of weights from which rows are fetched ahead, and how many rows ahead. Fewer are often in L2, or
// in L3, from where the hardware alone fetches them a fifth faster (1x784x128: 4.1 instead of 5.2 us).
constexpr std::int64_t BYTES_TO_FETCH = 1 << 20, FEW_ROWS_AHEAD = 4;

// Some columns of y = x w + b: VECTORS vectors from column `first` on, the last of them with `last` lanes.
// The sums over the first `half` features and those over the others are added, unless there are no others.
template <class T, int M, int VECTORS, bool WHOLE>
[[gnu::noinline]] void few_rows_outputs(std::int64_t K, std::int64_t N, std::int64_t half, std::int64_t first,
                                        int last, const T *x, const T *w, const T *b, T *y) {
    const auto width = [=](int j) INLINED { return WHOLE || j < VECTORS - 1 ? LANES<T> : last; };
    const bool fetches = K * N * std::int64_t(sizeof(T)) > BYTES_TO_FETCH;
    Vec<T> sum[M][VECTORS] = {};
    const auto add_terms = [&](Range features, auto fetch) INLINED {
        const T *row = w + features.begin * N + first;
        for (std::int64_t k = features.begin; k < features.end; ++k, row += N) {
            Vec<T> element[M];
#pragma GCC unroll 4
            for (int m = 0; m < M; ++m) element[m] = broadcast(x[m * K + k]);
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) {
                const Vec<T> weights = load_n(row + j * LANES<T>, width(j));
                if (fetch && j % VECTORS_PER_LINE == 0)
                    __builtin_prefetch(row + FEW_ROWS_AHEAD * N + j * LANES<T>);
#pragma GCC unroll 4
                for (int m = 0; m < M; ++m) sum[m][j] = fma(element[m], weights, sum[m][j]);
            }
        }
    };
    const auto add = [&](Range features) INLINED {
        fetches ? add_terms(features, std::true_type()) : add_terms(features, std::false_type());
    };
    add({0, half});
    if (half < K) {
        Vec<T> of_half[M][VECTORS];
        std::memcpy(of_half, sum, sizeof sum);
        std::memset(sum, 0, sizeof sum);
        add({half, K});
        for (int m = 0; m < M; ++m)
            for (int j = 0; j < VECTORS; ++j) sum[m][j] = of_half[m][j] + sum[m][j];
    }
    for (int m = 0; m < M; ++m)
        for (int j = 0; j < VECTORS; ++j) {
            const std::int64_t n = first + j * LANES<T>;
            store_n(y + m * N + n, b ? sum[m][j] + load_n(b + n, width(j)) : sum[m][j], width(j));
        }
}

// y = x w + b.  x (M, K), w (K, N), b (N,) or null -> y (M, N), with M <= FEW_ROWS
template <class T>
void few_rows_forward(std::int64_t M, std::int64_t K, std::int64_t N, std::int64_t half, const T *x,
                      const T *w, const T *b, T *y) {
    const std::int64_t whole = N / LANES<T>;
    with_constant<FEW_ROWS>(M, [=](auto few) {
        constexpr int MOST = few_rows_vectors(few);
        for (std::int64_t vector = 0; vector < whole; vector += MOST)
            with_constant<MOST>(std::min<std::int64_t>(whole - vector, MOST), [=](auto vectors) {
                few_rows_outputs<T, few, vectors, true>(K, N, half, vector * LANES<T>, LANES<T>, x, w, b, y);
            });
        if (const std::int64_t n = whole * LANES<T>; n < N)
            few_rows_outputs<T, few, 1, false>(K, N, half, n, int(N - n), x, w, b, y);
    });
}

// dx = dy w^T for some rows of w, which are the lanes: squares of w are transposed in registers.
// dy (M, N), w (K, N) -> dx (M, K)
template <class T>
void few_rows_dx(Range rows, std::int64_t M, std::int64_t K, std::int64_t N, const T *dy, const T *w, T *dx) {
    with_constant<FEW_ROWS>(M, [=](auto few) {
        for_vectors<T>(rows.begin, rows.end, [=](std::int64_t k, int height) {
            Vec<T> sum[few] = {};
            for_vectors<T>(0, N, [&](std::int64_t n, int width) {
                add_row_lanes<T, few>(w + k * N + n, N, height, width, dy + n, 1, N, sum);
            });
            for (int m = 0; m < few; ++m) store_n(dx + m * K + k, sum[m], height);
        });
    });
}

// Calls update(element, sum, n) for the vectors of some rows of dw = x^T dy: n sums, from this element of dw
// on. It has VECTORS vectors of columns from column `first` on, the last of them with `last` lanes.
// x (M, K), dy (M, N)
template <class T, int M, int VECTORS, class Update>
void few_rows_columns(Range rows, std::int64_t K, std::int64_t N, std::int64_t first, int last, const T *x,
                      const T *dy, const Update &update) {
    const Update own = update;  // a copy for registers: stores through vectors may alias what is in memory
    const auto width = [=](int j) { return j < VECTORS - 1 ? LANES<T> : last; };
    Vec<T> factor[M][VECTORS];
    for (int m = 0; m < M; ++m)
        for (int j = 0; j < VECTORS; ++j) factor[m][j] = load_n(dy + m * N + first + j * LANES<T>, width(j));
    for (std::int64_t k = rows.begin; k < rows.end; ++k) {
        Vec<T> element[M];
        for (int m = 0; m < M; ++m) element[m] = broadcast(x[m * K + k]);
        for_constants<VECTORS>([&](auto j) INLINED {
            Vec<T> sum{};
            for (int m = 0; m < M; ++m) sum = fma(element[m], factor[m][j], sum);
            own(k * N + first + j * LANES<T>, sum, width(j));
        });
    }
}

// The same for all columns.
template <class T, class Update>
void few_rows_dw(Range rows, std::int64_t M, std::int64_t K, std::int64_t N, const T *x, const T *dy,
                 const Update &update) {
    for (std::int64_t index = 0; index < ColumnBlock<T>::count(N); ++index) {
        const ColumnBlock<T> block(N, index);
        with_constant<FEW_ROWS>(M, [&](auto few) {
            with_constant<TILE_COLUMNS>(block.vectors, [&](auto vectors) {
                few_rows_columns<T, few, vectors>(rows, K, N, block.begin, block.last, x, dy, update);
            });
        });
    }
}

}  // namespace fastnn
