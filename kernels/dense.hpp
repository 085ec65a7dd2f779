// Dense kernels: y = x w + b and its gradients. Sizes: batch, M, K, N.
#pragma once

#include "gemm.hpp"

namespace fastnn {

// y = x w + b.  x (B, M, K), w (B, K, N), b (B, N) or null -> y (B, M, N)
template <class T> void dense_forward(const Call &call, int part, int parts) {
    const auto [batch, M, K, N, unused0, unused1] = call.size;
    gemm<T>(batch, [&, M = M, K = K, N = N](std::int64_t i) {
        const T *bias = call.in<T>(2);
        return Product<T>{M, N, K, {call.in<T>(0) + i * M * K, K, 1}, {call.in<T>(1) + i * K * N, N, 1},
                          bias ? bias + i * N : nullptr, call.out<T>(3) + i * M * N};
    }, call, part, parts);
}

// dx = dy w^T.  dy (B, M, N), w (B, K, N) -> dx (B, M, K)
template <class T> void dense_dx(const Call &call, int part, int parts) {
    const auto [batch, M, K, N, unused0, unused1] = call.size;
    gemm<T>(batch, [&, M = M, K = K, N = N](std::int64_t i) {
        return Product<T>{M, K, N, {call.in<T>(0) + i * M * N, N, 1}, {call.in<T>(1) + i * K * N, 1, N},
                          nullptr, call.out<T>(2) + i * M * K};
    }, call, part, parts);
}

// dw = x^T dy.  x (B, M, K), dy (B, M, N) -> dw (B, K, N)
template <class T> void dense_dw(const Call &call, int part, int parts) {
    const auto [batch, M, K, N, unused0, unused1] = call.size;
    gemm<T>(batch, [&, M = M, K = K, N = N](std::int64_t i) {
        return Product<T>{K, N, M, {call.in<T>(0) + i * M * K, 1, K}, {call.in<T>(1) + i * M * N, N, 1},
                          nullptr, call.out<T>(2) + i * K * N};
    }, call, part, parts);
}

// db = sum of dy over its rows.  dy (B, M, N) -> db (B, N)
template <class T> void dense_db(const Call &call, int part, int parts) {
    const auto [batch, M, K, N, unused0, unused1] = call.size;
    for (std::int64_t i = 0; i < batch; ++i) {
        const T *dy = call.in<T>(0) + i * M * N;
        T *db = call.out<T>(1) + i * N;
        const Range columns = share(N, part, parts, LANES<T>);
        for (std::int64_t n = columns.begin; n < columns.end; n += LANES<T>) {
            const int width = int(columns.end - n < LANES<T> ? columns.end - n : LANES<T>);
            Vec<T> sum{};
            for (std::int64_t m = 0; m < M; ++m)
                sum += width == LANES<T> ? load(dy + m * N + n) : load_first(dy + m * N + n, width);
            store_first(db + n, sum, width);
        }
    }
}

}  // namespace fastnn
