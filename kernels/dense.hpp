// Dense kernels: y = x w + b and its gradients. Sizes: batch, M, K, N; in a plan also the Activation that
// follows y = x w + b, or that dx goes back through.
#pragma once

#include "act.hpp"
#include "gemm.hpp"
#include "transpose.hpp"

namespace fastnn {

template <class T> Product<T> forward_product(const Call &call, const T *x, const T *w) {
    const std::int64_t M = call.size[1], K = call.size[2], N = call.size[3];
    return {M, N, K, {x, K, 1}, RightHand<T>::by_rows(w, N)};
}
template <class T> std::int64_t dense_forward_scratch(const Call &call) {
    return forward_product<T>(call, nullptr, nullptr).scratch_bytes();
}

// y = x w + b.  x (B, M, K), w (B, K, N), b (B, N) or null -> y (B, M, N)
template <class T> void dense_forward(const Call &call, int part, int parts) {
    const std::int64_t M = call.size[1], K = call.size[2], N = call.size[3];
    for (std::int64_t i = 0; i < call.size[0]; ++i) {
        const T *x = call.in<T>(0) + i * M * K, *w = call.in<T>(1) + i * K * N;
        const T *b = call.in<T>(2);
        T *y = call.out<T>(3) + i * M * N, *scratch = scratch_of<T>(call, part);
        const auto store = [=](std::int64_t row, std::int64_t column) {
            return StoreTile<T>{y + row * N + column, N};
        };
        const auto add_bias = [=](std::int64_t row, std::int64_t column) {
            return StoreTilePlusBias<T>{store(row, column), b + i * N + column};
        };
        const auto apply = [=, activation = int(call.size[4])](std::int64_t row, int rows,
                                                               const ColumnBlock<T> &block) {
            activate(activation, y + row * N + block.begin, N, rows, block.width);
        };
        const Product<T> product = forward_product(call, x, w);
        if (b)
            multiply(product, scratch, part, parts, store, add_bias, apply);
        else
            multiply(product, scratch, part, parts, store, store, apply);
    }
}

template <class T> Product<T> dw_product(const Call &call, const T *x, const T *dy) {
    const std::int64_t M = call.size[1], K = call.size[2], N = call.size[3];
    return {K, N, M, {x, 1, K}, RightHand<T>::by_rows(dy, N)};
}
template <class T> std::int64_t dense_dw_scratch(const Call &call) {
    return dw_product<T>(call, nullptr, nullptr).scratch_bytes();
}

// dw = x^T dy.  x (B, M, K), dy (B, M, N) -> dw (B, K, N)
template <class T> void dense_dw(const Call &call, int part, int parts) {
    const std::int64_t M = call.size[1], K = call.size[2], N = call.size[3];
    for (std::int64_t i = 0; i < call.size[0]; ++i) {
        const T *x = call.in<T>(0) + i * M * K, *dy = call.in<T>(1) + i * M * N;
        T *dw = call.out<T>(2) + i * K * N;
        const auto store = [=](std::int64_t row, std::int64_t column) {
            return StoreTile<T>{dw + row * N + column, N};
        };
        multiply(dw_product(call, x, dy), scratch_of<T>(call, part), part, parts, store, store);
    }
}

// Rows of dx^T before they are transposed: a multiple of all tile heights and lanes.
constexpr std::int64_t DX_ROWS = 48;

template <class T> std::int64_t dense_dx_scratch(const Call &call) {
    return (DX_ROWS + call.size[3]) * BLOCK_ROW_BYTES;
}

// dx = dy w^T, computed as dx^T = w dy^T: rows of w are broadcast, and only the two small matrices of the
// batch are transposed (transposing panels of w instead is half as fast at M = 32).
// dy (B, M, N), w (B, K, N), y of the activation (B, M, K) or null -> dx (B, M, K)
template <class T> void dense_dx(const Call &call, int part, int parts) {
    const std::int64_t M = call.size[1], K = call.size[2], N = call.size[3];
    T *const result = scratch_of<T>(call, part), *const packed = result + DX_ROWS * BLOCK<T>;
    for (std::int64_t i = 0; i < call.size[0]; ++i) {
        const T *dy = call.in<T>(0) + i * M * N, *w = call.in<T>(1) + i * K * N;
        T *dx = call.out<T>(2) + i * M * K;
        const std::int64_t groups = (K + DX_ROWS - 1) / DX_ROWS;
        const Range units = share(ColumnBlock<T>::count(M) * groups, part, parts);
        for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
            const ColumnBlock<T> batch(M, unit / groups);
            if (unit == units.begin || unit % groups == 0)
                transpose<T, true>(dy + batch.begin * N, N, batch.width, N, packed, BLOCK<T>);
            const std::int64_t k = unit % groups * DX_ROWS, rows = K - k < DX_ROWS ? K - k : DX_ROWS;
            const Tiles tiles(rows, tile_rows(batch.vectors));
            for (std::int64_t index = 0; index < tiles.count; ++index) {
                const std::int64_t row = tiles.begin(index);
                tile_of_size<T>(tiles.length(index), batch.vectors, {w + (k + row) * N, N, 1},
                                {packed, BLOCK<T>, batch.last, true}, N, {nullptr, 0},
                                StoreTile<T>{result + row * BLOCK<T>, BLOCK<T>});
            }
            const std::int64_t begin = batch.begin * K + k;
            transpose<T, false>(result, BLOCK<T>, rows, batch.width, dx + begin, K);
            deactivate(int(call.size[4]), call.in<T>(3) + i * M * K + begin, dx + begin, K, batch.width, rows);
        }
    }
}

// Calls body(column, sum, n) for each vector of the sum of dy (M, N) over its rows.
template <class T, class Body>
inline void sum_rows(const T *dy, std::int64_t M, std::int64_t N, int part, int parts, Body body) {
    const Range columns = share(N, part, parts, LANES<T>);
    for_vectors<T>(columns.begin, columns.end, [=](std::int64_t column, int n) {
        Vec<T> sum{};
        for (std::int64_t m = 0; m < M; ++m) sum += load_n(dy + m * N + column, n);
        body(column, sum, n);
    });
}

// db = sum of dy over its rows.  dy (B, M, N) -> db (B, N)
template <class T> void dense_db(const Call &call, int part, int parts) {
    const std::int64_t M = call.size[1], N = call.size[3];
    for (std::int64_t i = 0; i < call.size[0]; ++i) {
        T *db = call.out<T>(1) + i * N;
        sum_rows(call.in<T>(0) + i * M * N, M, N, part, parts,
                 [=](std::int64_t column, Vec<T> sum, int n) { store_n(db + column, sum, n); });
    }
}

}  // namespace fastnn
