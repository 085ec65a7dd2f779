// Dense kernels for batches of a few rows, as in training sample by sample.
//
// These products move all weights for a few multiplications each: a register tile would hold little, and its
// call takes as long as its products. Here the rows of the batch stay in registers while the weights pass by.
// Sums have the order of those of a tile, so the bits are the same.
// A step of 784-128-64-32-10 on one thread of a Zen 4: 26.4 -> 13.7 us for a batch of one row, 33.8 -> 21.2
// for four.
#pragma once

#include "gemm/row_lanes.hpp"
#include "gemm/tile.hpp"
#include "plan/call.hpp"

namespace fastnn {

// The most rows of these batches.
constexpr int FEW_ROWS = 4;
inline bool has_few_rows(std::int64_t M) { return 1 <= M && M <= FEW_ROWS; }

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
        for (int j = 0; j < VECTORS; ++j)
            factor[m][j] = load_n(dy + m * N + first + j * LANES<T>, width(j));
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
