// Products of rows by a matrix with few columns, whose vectors run along the rows.
#pragma once

#include "gemm/transpose.hpp"

namespace fastnn {

// Adds the first `width` terms of LANES rows of `a` times w, in ascending order: lane i of sum[n] is the sum
// of row i and column n. The rows are `row` elements apart, the terms of w `w_row` and its columns `w_column`;
// rows from `height` on are absent. The square of `a` is transposed in registers.
template <class T, int N, int SUMS>
INLINED inline void add_row_lanes(const T *a, std::int64_t row, int height, int width, const T *w,
                                  std::int64_t w_row, std::int64_t w_column, Vec<T> (&sum)[SUMS]) {
    static_assert(N <= SUMS);
    Vec<T> square[LANES<T>];
#pragma GCC unroll 16
    for (int i = 0; i < LANES<T>; ++i)
        square[i] = i < height ? load_n(a + i * row, width) : Vec<T>{};
    transpose_block<T>(square);
#pragma GCC unroll 16
    for (int k = 0; k < LANES<T>; ++k)
        if (k < width) {
#pragma GCC unroll 16
            for (int n = 0; n < N; ++n)
                sum[n] = fma(square[k], broadcast(w[k * w_row + n * w_column]), sum[n]);
        }
}

}  // namespace fastnn
