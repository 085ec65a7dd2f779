// Embedding: the rows of a matrix that indices name, and the gradient of the matrix.
//
// The indices are whole numbers stored as floats, because they reach the layer in a mini-batch, which holds
// floats. float has all whole numbers up to 2^24.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// y_m = w[x_m]; nan for an index out of range.
// x (M,), w (rows, D) -> y (M, D)
template <class T> void embedding_forward(const Call &call, int part, int parts) {
    using op = operands::EMBEDDING_FORWARD;
    const EmbeddingSizes size = call.sizes<EmbeddingSizes>();
    const Range mine = share(size.M, part, parts);
    for (std::int64_t m = mine.begin; m < mine.end; ++m) {
        const std::int64_t row = index_at(call.in<T>(op::x), m, size.rows);
        T *const y = call.out<T>(op::y) + m * size.D;
        if (row < 0)
            std::fill_n(y, size.D, std::numeric_limits<T>::quiet_NaN());
        else
            std::memcpy(y, call.in<T>(op::w) + row * size.D, std::size_t(size.D) * sizeof(T));
    }
}

// dw[v] = sum of dy_m over all m with x_m = v, in ascending order; 0 for the row `padding`. An index out of
// range adds nothing. The parts divide the columns, so that each sum has one order.
// x (M,), dy (M, D) -> dw (rows, D)
template <class T> void embedding_dw(const Call &call, int part, int parts) {
    using op = operands::EMBEDDING_DW;
    const EmbeddingSizes size = call.sizes<EmbeddingSizes>();
    const T *const dy = call.in<T>(op::dy);
    T *const dw = call.out<T>(op::dw);
    const Range columns = share(size.D, part, parts, LANES<T>);
    if (columns.begin >= columns.end) return;
    for (std::int64_t row = 0; row < size.rows; ++row)
        std::fill(dw + row * size.D + columns.begin, dw + row * size.D + columns.end, T(0));
    for (std::int64_t m = 0; m < size.M; ++m) {
        const std::int64_t row = index_at(call.in<T>(op::x), m, size.rows);
        if (row < 0 || row == size.padding) continue;
        T *const sum = dw + row * size.D;
        for_vectors<T>(columns.begin, columns.end, [=, from = dy + m * size.D](std::int64_t d, int n) {
            store_n(sum + d, load_n(sum + d, n) + load_n(from + d, n), n);
        });
    }
}

}  // namespace fastnn
