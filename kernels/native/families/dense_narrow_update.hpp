// The update of the weights of layers with few outputs, computed with the gradient of some rows at a time.
//
// Where the batch is small, the gradient of LANES rows of w, one after the other, is computed as N full
// vectors: element e is x_k dy_n with k = e / N and n = e % N. Lanes of x are repeated by a shuffle, and dy
// by copies made in advance. A tile would fill N lanes of its vectors, and with a batch of one row its call
// takes longer than its products.
#pragma once

#include <algorithm>
#include <numeric>

#include "families/dense_narrow.hpp"

namespace fastnn {

// The most outputs whose gradients stay in registers.
template <class T>
constexpr int MOST_IN_RUN =
    std::min({int(NARROW_OUTPUTS), NARROW_VECTORS * LANES<T>, MANY_REGISTERS ? 16 : 12});

// The most bytes of copies of dy: half of an L1 cache.
constexpr std::int64_t MOST_COPIES = 16384;

// The features from which the copies pay (with 32 rows and 16x4 weights they take longer than all tiles).
constexpr std::int64_t FEATURES_TO_COPY = 512;

// Computes the gradient x^T dy of LANES rows of w at a time.  x (M, K), dy (M, N)
template <class T> class RunGradient {
public:
    static bool suits(std::int64_t M, std::int64_t K, std::int64_t N) {
        return K >= FEATURES_TO_COPY && 2 <= N && N <= MOST_IN_RUN<T> &&
               M * copies_row(N) * std::int64_t(sizeof(T)) <= MOST_COPIES;
    }
    // Bytes of `copies`: the last row of dy is stored by whole vectors.
    static std::int64_t bytes(std::int64_t M, std::int64_t K, std::int64_t N) {
        return suits(M, K, N) ? (M * copies_row(N) + NARROW_VECTORS * LANES<T>)*std::int64_t(sizeof(T)) : 0;
    }

    RunGradient(std::int64_t M, std::int64_t K, std::int64_t N, const T *x, const T *dy, T *copies)
        : M(M), K(K), N(N), x(x), copies(copies) {
        for (std::int64_t m = 0; m < M; ++m)
            for (std::int64_t e = 0; e < copies_row(N); e += N)
                for_vectors<T>(0, N, [=](std::int64_t n, int width) {
                    store(copies + m * copies_row(N) + e + n, load_n(dy + m * N + n, width));
                });
    }

    // The gradient of the rows k ... k + count - 1, padded to a multiple of LANES rows.
    void run(std::int64_t k, std::int64_t count, T *gradient) const {
        for (std::int64_t row = 0; row < count; row += LANES<T>)
            run_rows(k + row, gradient + row * N);
    }

private:
    const std::int64_t M, K, N;
    const T *const x, *const copies;

    // Elements until both a row of dy and a vector begin again.
    static std::int64_t copies_row(std::int64_t N) { return std::lcm(N, std::int64_t(LANES<T>)); }

    template <int OUTPUTS = MOST_IN_RUN<T>> void run_rows(std::int64_t k, T *gradient) const {
        if constexpr (OUTPUTS > 2) {
            if (N != OUTPUTS) return run_rows<OUTPUTS - 1>(k, gradient);
        }
        constexpr int PERIOD = OUTPUTS / std::gcd(OUTPUTS, LANES<T>);
        const int width = K - k < LANES<T> ? int(K - k) : LANES<T>;
        Vec<T> sum[OUTPUTS] = {};
        for (std::int64_t m = 0; m < M; ++m) {
            const Vec<T> features = load_n(x + m * K + k, width);
            const T *const factors = copies + m * PERIOD * LANES<T>;
            for_constants<OUTPUTS>([&](auto j) INLINED {
                sum[j] = fma(repeat<OUTPUTS, j>(features, std::make_integer_sequence<int, LANES<T>>()),
                             load(factors + j % PERIOD * LANES<T>), sum[j]);
            });
        }
        for_constants<OUTPUTS>([&](auto j) INLINED { store(gradient + j * LANES<T>, sum[j]); });
    }

    // Vector J of the features of the rows, each repeated for OUTPUTS outputs.
    template <int OUTPUTS, int J, int... I>
    INLINED static Vec<T> repeat(Vec<T> features, std::integer_sequence<int, I...>) {
        return lanes<((J * LANES<T> + I) / OUTPUTS)...>(features, features);
    }
};

// The bytes of the gradient of some rows, which run_rows and tiles store by whole vectors.
template <class T> constexpr std::int64_t narrow_gradient_bytes(std::int64_t N) {
    return whole_lines((NARROW_ROWS * N + LANES<T>)*std::int64_t(sizeof(T)));
}
template <class T> std::int64_t narrow_update_bytes(std::int64_t M, std::int64_t K, std::int64_t N) {
    return narrow_gradient_bytes<T>(N) + RunGradient<T>::bytes(M, K, N);
}

// The gradient of `count` rows of w, of which x points to the features of the first, by tiles.
template <class T>
void narrow_gradient(std::int64_t M, std::int64_t K, std::int64_t N, const T *x, const T *dy,
                     std::int64_t count, T *gradient) {
    if (N == 1) {
        for (std::int64_t index = 0; index < ColumnBlock<T>::count(count); ++index) {
            const ColumnBlock<T> features(count, index);
            tile_of_size<T>(1, features.vectors, {dy, 1, 1}, {x + features.begin, K, features.last, false}, M,
                            {nullptr, 0},
                            StoreTile<T>{gradient + features.begin, count, nullptr, false, true});
        }
        return;
    }
    const ColumnBlock<T> columns(N, 0);
    const Tiles tiles(count, tile_rows(columns.vectors));
    for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
        const std::int64_t row = tiles.begin(tile);
        tile_of_size<T>(int(tiles.length(tile)), columns.vectors, {x + row, 1, K},
                        {dy, N, columns.last, false}, M, {nullptr, 0},
                        StoreTile<T>{gradient + row * N, N, nullptr, false, true});
    }
}

// Updates w with dw = x^T dy, in one pass over all elements of some rows.  x (M, K), dy (M, N) -> w (K, N);
// `scratch` of narrow_update_bytes
template <class T, class Update>
void narrow_update(std::int64_t M, std::int64_t K, std::int64_t N, const T *x, const T *dy,
                   const Update &update, int part, int parts, T *scratch) {
    const Range mine = share(K, part, parts, LANES<T>);
    T *const gradient = scratch;
    T *const copies = scratch + narrow_gradient_bytes<T>(N) / std::int64_t(sizeof(T));
    const bool in_runs = RunGradient<T>::suits(M, K, N);
    const RunGradient<T> run(in_runs ? M : 0, K, N, x, dy, copies);
    for (std::int64_t k = mine.begin; k < mine.end; k += NARROW_ROWS) {
        const std::int64_t count = k + NARROW_ROWS < mine.end ? NARROW_ROWS : mine.end - k;
        if (in_runs)
            run.run(k, count, gradient);
        else
            narrow_gradient(M, K, N, x + k, dy, count, gradient);
        for_vectors<T>(0, count * N,
                       [=](std::int64_t e, int n) { update(k * N + e, load_n(gradient + e, n), n); });
    }
}

}  // namespace fastnn
