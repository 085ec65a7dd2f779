// Dense kernels for layers with few outputs, such as classes, where rows of w do not fill whole vectors.
//
// Such a product moves much memory for little arithmetic, and its rows (40 bytes for ten classes) start
// anywhere in a cache line. Therefore weights are updated and transposed many rows at a time, through a
// buffer: a masked load after a masked store to the same line waits for the store (one step of 1x7744x10 took
// 79 us, and takes 12 with the buffer).
#pragma once

#include "families/act.hpp"
#include "gemm/tile.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The largest number of outputs of these kernels: at most two vectors, which are one block of columns.
constexpr std::int64_t NARROW_OUTPUTS = 16;
constexpr int NARROW_VECTORS = 2;
static_assert(NARROW_VECTORS <= TILE_COLUMNS);

template <class T> constexpr bool is_narrow(std::int64_t outputs) {
    return outputs <= NARROW_OUTPUTS && outputs <= NARROW_VECTORS * LANES<T>;
}

// Rows of y, or of w, that are processed at a time.
constexpr std::int64_t NARROW_ROWS = 48;

// A single output, as of a regression or a yes/no decision, would fill one lane of each vector: with enough
// features, vectors run along these instead.
template <class T> constexpr bool is_single(std::int64_t features, std::int64_t outputs) {
    return outputs == 1 && features >= LANES<T>;
}

// y = x w + b for ROWS samples and a single output. Chains of sums take vectors of features in turn.
template <class T, int ROWS>
void single_output(std::int64_t K, const T *x, const T *w, const T *b, T *y) {
    constexpr int CHAINS = 4;
    Vec<T> sum[ROWS][CHAINS] = {};
    const auto add = [&](int chain, std::int64_t k, int n) INLINED {
        const Vec<T> weights = load_n(w + k, n);
#pragma GCC unroll 2
        for (int i = 0; i < ROWS; ++i)
            sum[i][chain] = fma(load_n(x + i * K + k, n), weights, sum[i][chain]);
    };
    std::int64_t k = 0;
    for (; k + CHAINS * LANES<T> <= K; k += CHAINS * LANES<T>)
#pragma GCC unroll 4
        for (int chain = 0; chain < CHAINS; ++chain) add(chain, k + chain * LANES<T>, LANES<T>);
#pragma GCC unroll 4
    for (int chain = 0; chain < CHAINS; ++chain, k += LANES<T>)
        if (k < K) add(chain, k, int(K - k < LANES<T> ? K - k : LANES<T>));
    for (int i = 0; i < ROWS; ++i)
        y[i] = sum_lanes<T>((sum[i][0] + sum[i][1]) + (sum[i][2] + sum[i][3])) + (b ? *b : T(0));
}

template <class T>
void single_outputs(Range rows, std::int64_t K, const T *x, const T *w, const T *b, int activation, T *y) {
    std::int64_t row = rows.begin;
    for (; row + 2 <= rows.end; row += 2) single_output<T, 2>(K, x + row * K, w, b, y + row);
    if (row < rows.end) single_output<T, 1>(K, x + row * K, w, b, y + row);
    activate(activation, y + rows.begin, rows.end - rows.begin, 1, rows.end - rows.begin);
}

// If the matrix of the batch is larger than the weights, the parts divide its rows, so that a thread finds
// the results of its images in its cache from layer to layer. Otherwise the parts divide the weights.
inline bool parts_are_samples(std::int64_t M, std::int64_t N) { return M > N; }

// Bytes of the transposed block of narrow_dx.
template <class T> constexpr std::int64_t narrow_dx_bytes(std::int64_t N) { return N * BLOCK_ROW_BYTES; }

// dx = dy w^T, for one block of rows of w at a time, which is transposed into `panel`.
// dy (M, N), w (K, N), y of the activation (M, K) or null -> dx (M, K)
template <class T>
void narrow_dx(std::int64_t M, std::int64_t K, std::int64_t N, const T *dy, const T *w, const T *y,
               int activation, int part, int parts, T *panel, T *dx) {
    const Range all = {0, ColumnBlock<T>::count(K)};
    const bool of_batch = parts_are_samples(M, N);
    const Range blocks = of_batch ? all : share(all.end, part, parts);
    const Range samples = of_batch ? share(M, part, parts) : Range{0, M};
    if (samples.begin >= samples.end) return;
    for (std::int64_t index = blocks.begin; index < blocks.end; ++index) {
        const ColumnBlock<T> block(K, index);
        transpose<T, true>(w + block.begin * N, N, block.width, N, panel, BLOCK<T>);
        const Tiles tiles(samples.end - samples.begin, tile_rows(block.vectors));
        for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
            const std::int64_t row = samples.begin + tiles.begin(tile), at = row * K + block.begin;
            const int rows = int(tiles.length(tile));
            tile_of_size<T>(rows, block.vectors, {dy + row * N, N, 1}, {panel, BLOCK<T>, block.last, true}, N,
                            {nullptr, 0}, StoreTile<T>{dx + at, K});
            if (activation) deactivate(activation, y + at, dx + at, K, rows, block.width);
        }
    }
}

}  // namespace fastnn
