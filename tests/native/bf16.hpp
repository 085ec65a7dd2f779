// Tests the dense kernels in bf16 on integers up to 100, which bf16 holds, so that they must agree with plain
// loops. Builds without AVX512_BF16 have no such kernels.
#pragma once

#include "fused.hpp"
#include "products.hpp"

namespace {

#if defined(__AVX512BF16__)

void check_bf16(int64_t M, int64_t K, int64_t N) {
    const auto x = whole<float>(M * K), w = whole<float>(K * N), b = whole<float>(N),
               dy = whole<float>(M * N);
    const auto x_at = [&](int64_t m, int64_t k) { return x[std::size_t(m * K + k)]; };
    const auto w_at = [&](int64_t k, int64_t n) { return w[std::size_t(k * N + n)]; };
    const auto dy_at = [&](int64_t m, int64_t n) { return dy[std::size_t(m * N + n)]; };
    const auto y = product<float>(M, N, K, x_at, w_at);
    const auto dx = product<float>(M, K, N, dy_at, [&](int64_t n, int64_t k) { return w_at(k, n); });
    const auto dw = product<float>(K, N, M, [&](int64_t k, int64_t m) { return x_at(m, k); }, dy_at);
    std::vector<float> y_plus_b;
    for (std::size_t i = 0; i < y.size(); ++i) y_plus_b.push_back(y[i] + b[i % std::size_t(N)]);
    const std::vector<int64_t> sizes{1, M, K, N};
    check(make<float>("dense_forward_bf16", DENSE_FORWARD_BF16, sizes, {input(x), input(w), {}, output(y)}));
    check(make<float>("dense_forward_bf16 with bias", DENSE_FORWARD_BF16, sizes,
                      {input(x), input(w), input(b), output(y_plus_b)}));
    check(make<float>("dense_dx_bf16", DENSE_DX_BF16, sizes, {input(dy), input(w), output(dx)}));
    check(make<float>("dense_dw_bf16", DENSE_DW_BF16, sizes, {input(x), input(dy), output(dw)}));

    check_fused_activations<float>(M, K, N, DENSE_FORWARD_BF16, DENSE_DX_BF16);
    const Update<float> updates[] = {
        {SGD, DENSE_DW_SGD_BF16, {}, {0.1, 0, 0.01, 0}, 1, true},
        {SGD, DENSE_DW_SGD_BF16, {}, {0.1, 0.9, 0.01, 1}, 1, false},
        {ADAM, DENSE_DW_ADAM_BF16, {}, {0.01, 0.9, 0.999, 1e-8, 0.01, 0.1, 0.001, 0}, 2, false}};
    for (const Update<float> &update : updates)
        update.check_twin("update by dw in bf16", update.with_dw, sizes, input(x), input(dy), bytes_of(dw),
                          K * N);
}

void check_bf16() {
    // Every combination of the sizes 0, 1, just below a vector of pairs, and a block with a tail.
    const int64_t edges[] = {0, 1, 2 * LANES<float> - 1, BLOCK<float> + 1};
    for (const int64_t M : edges)
        for (const int64_t K : edges)
            for (const int64_t N : edges) check_bf16(M, K, N);
    // Every register tile of y, dx and dw, whole and with a tail.
    for (int64_t rows = 1; rows <= tile_rows(1) + 1; ++rows)
        for (int64_t vectors = 1; vectors <= TILE_COLUMNS; ++vectors)
            for (const int64_t missing : {0, 1}) {
                const int64_t columns = vectors * LANES<float> - missing;
                check_bf16(rows, 3, columns);
                check_bf16(columns, rows, 3);
                check_bf16(3, rows, columns);
            }
    // Every length of a tail, and of pairs; several groups of rows and blocks.
    for (int64_t size = 1; size <= 2 * LANES<float> + 1; ++size) check_bf16(2, size, size + 1);
    check_bf16(2 * DX_ROWS + 1, 2 * BLOCK<float> + 3, BLOCK<float> + 5);
}

#else

void check_bf16() {}

#endif

}  // namespace
