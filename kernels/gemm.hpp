// The matrix product behind all dense kernels: C = A B, one register tile at a time.
//
// Each output element has one accumulator, which takes its K products in ascending order. The bits of a
// result therefore depend on K, the type and the instruction set alone: not on M, on the tiling, or on
// the number of threads.
#pragma once

#include <cstdint>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

// The register tile: ROWS x COLUMNS accumulators, COLUMNS counted in vectors, leaving room for one row of
// B and one broadcast element of A (32 vector registers with AVX-512, 16 below).
#if defined(__AVX512F__)
constexpr int TILE_ROWS = 6, TILE_COLUMNS = 4;
#else
constexpr int TILE_ROWS = 6, TILE_COLUMNS = 2;
#endif

// Element (m, k) of A is data[m * row + k * step]: rows of A have step 1, rows of its transpose have row 1.
template <class T> struct Operand {
    const T *data;
    std::int64_t row, step;
};

// c (ROWS x COLUMNS vectors) = a b + bias for K products; `last` is how many elements of the last vector
// exist in c and bias. All loads of b are whole vectors.
template <class T, int ROWS, int COLUMNS>
inline void tile(Operand<T> a, const T *b, std::int64_t b_row, std::int64_t K, const T *bias, T *c,
                 std::int64_t c_row, int last) {
    Vec<T> sum[ROWS][COLUMNS] = {};
    for (std::int64_t k = 0; k < K; ++k) {
        Vec<T> row[COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) row[j] = load(b + k * b_row + j * LANES<T>);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const Vec<T> element = broadcast(a.data[i * a.row + k * a.step]);
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(element, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) {
        const int n = j == COLUMNS - 1 ? last : LANES<T>;
        const Vec<T> add = bias ? load_first(bias + j * LANES<T>, n) : Vec<T>{};
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const Vec<T> value = bias ? sum[i][j] + add : sum[i][j];
            if (n == LANES<T>)
                store(c + i * c_row + j * LANES<T>, value);
            else
                store_first(c + i * c_row + j * LANES<T>, value, n);
        }
    }
}

// `tile` for a number of rows that is known only now; tile sizes must be compile-time constants, or the
// accumulators live on the stack (35 instead of 197 GFLOP/s).
template <class T, int COLUMNS, int ROWS = TILE_ROWS>
inline void tile_of_rows(int rows, Operand<T> a, const T *b, std::int64_t b_row, std::int64_t K, const T *bias,
                         T *c, std::int64_t c_row, int last) {
    if (rows == ROWS)
        tile<T, ROWS, COLUMNS>(a, b, b_row, K, bias, c, c_row, last);
    else if constexpr (ROWS > 1)
        tile_of_rows<T, COLUMNS, ROWS - 1>(rows, a, b, b_row, K, bias, c, c_row, last);
}

template <class T, int COLUMNS = TILE_COLUMNS>
inline void tile_of_size(int rows, int columns, Operand<T> a, const T *b, std::int64_t b_row, std::int64_t K,
                         const T *bias, T *c, std::int64_t c_row, int last) {
    if (columns == COLUMNS)
        tile_of_rows<T, COLUMNS>(rows, a, b, b_row, K, bias, c, c_row, last);
    else if constexpr (COLUMNS > 1)
        tile_of_size<T, COLUMNS - 1>(rows, columns, a, b, b_row, K, bias, c, c_row, last);
}

// One product of a batch: C (M, N) = A (M, K) B (K, N) + bias (N,) or null.
template <class T> struct Product {
    std::int64_t M, N, K;
    Operand<T> a, b;  // element (k, n) of B is b.data[k * b.row + n * b.step]
    const T *bias;
    T *c;
};

template <class T> constexpr std::int64_t BLOCK = TILE_COLUMNS * LANES<T>;  // columns of a block of C

// `gemm` needs K rows of this size as scratch: one block of B.
constexpr std::int64_t BLOCK_ROW_BYTES = TILE_COLUMNS * VECTOR_BYTES;

// A block of B as rows of whole vectors, padded by zeros, where its own rows cannot be loaded as such:
// because B is given transposed, or because the last vector would reach behind the row.
template <class T>
inline void pack(Operand<T> b, std::int64_t K, std::int64_t column, std::int64_t width, std::int64_t padded,
                 T *packed) {
    for (std::int64_t k = 0; k < K; ++k) {
        const T *source = b.data + k * b.row + column * b.step;
        T *row = packed + k * padded;
        for (std::int64_t j = 0; j < width; ++j) row[j] = source[j * b.step];
        for (std::int64_t j = width; j < padded; ++j) row[j] = 0;
    }
}

// Part `part` of `batch` products; product(i) describes the i-th. The unit of sharing is a register tile.
template <class T, class ProductOf>
inline void gemm(std::int64_t batch, ProductOf product, const Call &call, int part, int parts) {
    if (batch == 0) return;
    const Product<T> shape = product(0);
    if (shape.M == 0 || shape.N == 0) return;
    const std::int64_t row_tiles = (shape.M + TILE_ROWS - 1) / TILE_ROWS;
    const std::int64_t blocks = (shape.N + BLOCK<T> - 1) / BLOCK<T>;
    T *packed = reinterpret_cast<T *>(call.scratch + part * call.scratch_bytes);

    const Range units = share(batch * blocks * row_tiles, part, parts);
    std::int64_t unit = units.begin;
    while (unit < units.end) {
        // One block of columns of one product, and as many of its row tiles as this part owns.
        const Product<T> p = product(unit / (blocks * row_tiles));
        const std::int64_t column = unit / row_tiles % blocks * BLOCK<T>;
        const std::int64_t width = p.N - column < BLOCK<T> ? p.N - column : BLOCK<T>;
        const int columns = int((width + LANES<T> - 1) / LANES<T>);
        const std::int64_t padded = columns * LANES<T>;
        const T *b = p.b.data + column * p.b.step;
        std::int64_t b_row = p.b.row;
        if (p.b.step != 1 || width != padded) {
            pack(p.b, p.K, column, width, padded, packed);
            b = packed;
            b_row = padded;
        }
        std::int64_t tile_index = unit % row_tiles;
        const std::int64_t stop = tile_index + (units.end - unit);
        for (; tile_index < row_tiles && tile_index < stop; ++tile_index, ++unit) {
            // M is split evenly: 50 rows are nine tiles of 5 or 6, not eight of 6 and one of 2.
            const std::int64_t row = p.M * tile_index / row_tiles, next = p.M * (tile_index + 1) / row_tiles;
            tile_of_size<T>(int(next - row), columns, {p.a.data + row * p.a.row, p.a.row, p.a.step}, b, b_row,
                            p.K, p.bias ? p.bias + column : nullptr, p.c + row * p.N + column, p.N,
                            int(width - (columns - 1) * LANES<T>));
        }
    }
}

}  // namespace fastnn
