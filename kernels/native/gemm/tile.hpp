// The register tile of the matrix product C = A B, in which the dense kernels spend most of their time.
//
// Each element of a tile has one accumulator, which adds its K products in ascending order. The bits of a
// result therefore depend only on K, the type and the instruction set: not on M, not on the tiling, and not
// on the number of threads.
//
// The caller's epilogue decides what happens to a finished tile (add a bias, store it, store it transposed).
// It is called as epilogue(i, j, value, n) for vector j of row i of the tile, of which the first n elements
// are valid, and as epilogue.prefetch<ROWS, COLUMNS>() before the first product.
#pragma once

#include <cstdint>

#include "simd/simd.hpp"

namespace fastnn {

// Columns (in vectors) and rows of a tile: the accumulators leave just enough registers for a row of B and a
// broadcast element of A (32 vector registers with AVX-512, otherwise 16).
#if defined(__AVX512F__)
constexpr int TILE_COLUMNS = 4;
constexpr int tile_rows(int columns) { return columns >= 4 ? 6 : columns == 3 ? 8 : 12; }
#else
constexpr int TILE_COLUMNS = 2;
constexpr int tile_rows(int columns) { return columns >= 2 ? 6 : 12; }
#endif

constexpr int VECTORS_PER_LINE = VECTOR_BYTES < 64 ? 64 / VECTOR_BYTES : 1;  // of a cache

// Columns of a block of C, and the bytes of one row of it.
template <class T> constexpr std::int64_t BLOCK = TILE_COLUMNS * LANES<T>;
constexpr std::int64_t BLOCK_ROW_BYTES = TILE_COLUMNS * VECTOR_BYTES;

// Element (m, k) of A is data[m * row + k * step]: rows of A have step 1, rows of its transpose have row 1.
template <class T> struct Operand {
    const T *data;
    std::int64_t row, step;
};

// Rows of B: whole vectors, except that only `last` elements of the last vector are valid. With `padded`
// there is memory after the row, so the last vector can be loaded whole.
template <class T> struct Rows {
    const T *data;
    std::int64_t row;
    int last;
    bool padded;
    std::int64_t ahead = 0;  // so many elements further on it is fetched meanwhile
};

// The terms of a sum: `outer` times `inner` runs of `length` terms each. Each run of A starts `inner_step` or
// `outer_step` elements after the start of the previous one; B continues row by row. A plain product has one
// run; a convolution has one run for each row of its filters.
struct Runs {
    std::int64_t length, inner = 1, inner_step = 0, outer = 1, outer_step = 0;

    Runs(std::int64_t length) : length(length) {}  // NOLINT: a length is a run
    Runs(std::int64_t length, std::int64_t inner, std::int64_t inner_step, std::int64_t outer,
         std::int64_t outer_step)
        : length(length), inner(inner), inner_step(inner_step), outer(outer), outer_step(outer_step) {}
};

// The sums over an earlier range of K, from which a tile continues; `data` is null for the first range.
template <class T> struct Partial {
    const T *data;
    std::int64_t row;
};

template <class T, int ROWS, int COLUMNS, bool WHOLE, class Epilogue>
inline void tile(Operand<T> a, Rows<T> b, Runs runs, Partial<T> partial, Epilogue epilogue) {
    Vec<T> sum[ROWS][COLUMNS] = {};
    if (partial.data) {
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j)
                sum[i][j] = load_n(partial.data + i * partial.row + j * LANES<T>,
                                   j < COLUMNS - 1 ? LANES<T> : b.last);
        }
    }
    epilogue.template prefetch<ROWS, COLUMNS>();
    const T *b_row = b.data, *a_outer = a.data;
    for (std::int64_t outer = 0; outer < runs.outer; ++outer, a_outer += runs.outer_step) {
        const T *a_inner = a_outer;
        for (std::int64_t inner = 0; inner < runs.inner; ++inner, a_inner += runs.inner_step) {
            const T *a_column = a_inner;
#pragma GCC unroll 2
            for (std::int64_t k = 0; k < runs.length; ++k, b_row += b.row, a_column += a.step) {
                Vec<T> row[COLUMNS];
#pragma GCC unroll 4
                for (int j = 0; j < COLUMNS - 1; ++j) row[j] = load(b_row + j * LANES<T>);
                const T *end = b_row + (COLUMNS - 1) * LANES<T>;
                row[COLUMNS - 1] = WHOLE ? load(end) : load_first(end, b.last);
#pragma GCC unroll 4
                for (int j = 0; j < COLUMNS; j += VECTORS_PER_LINE)
                    __builtin_prefetch(b_row + b.ahead + j * LANES<T>);
#pragma GCC unroll 16
                for (int i = 0; i < ROWS; ++i) {
                    const Vec<T> element = broadcast(a_column[i * a.row]);
#pragma GCC unroll 4
                    for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(element, row[j], sum[i][j]);
                }
            }
        }
    }
    // Load the epilogue's values only now. If they occupied registers during the product, an accumulator
    // would be spilled where there are 16 registers (SGD update of 784x300 for x86-64-v3: 41 -> 70 % of the
    // peak).
    const Epilogue *kept = &epilogue;
    asm volatile("" : "+r"(kept) : : "memory");
    const Epilogue finish = *kept;
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) finish(i, j, sum[i][j], j < COLUMNS - 1 ? LANES<T> : b.last);
    }
}

// Dispatches run-time numbers of rows and columns to a tile of compile-time size. With a run-time size the
// accumulators would live on the stack (35 instead of 197 GFLOP/s).
template <class T, int COLUMNS, int ROWS, class Epilogue>
inline void tile_of_rows(int rows, Operand<T> a, Rows<T> b, Runs runs, Partial<T> partial,
                         Epilogue epilogue) {
    if (rows != ROWS) {
        if constexpr (ROWS > 1) tile_of_rows<T, COLUMNS, ROWS - 1>(rows, a, b, runs, partial, epilogue);
    } else if (b.padded || b.last == LANES<T>) {
        tile<T, ROWS, COLUMNS, true>(a, b, runs, partial, epilogue);
    } else {
        tile<T, ROWS, COLUMNS, false>(a, b, runs, partial, epilogue);
    }
}

template <class T, int COLUMNS = TILE_COLUMNS, class Epilogue>
inline void tile_of_size(int rows, int columns, Operand<T> a, Rows<T> b, Runs runs, Partial<T> partial,
                         Epilogue epilogue) {
    if (columns == COLUMNS)
        tile_of_rows<T, COLUMNS, tile_rows(COLUMNS)>(rows, a, b, runs, partial, epilogue);
    else if constexpr (COLUMNS > 1)
        tile_of_size<T, COLUMNS - 1>(rows, columns, a, b, runs, partial, epilogue);
}

// The division of one dimension into tiles, as even as possible: for 50 rows, nine tiles of 5 or 6 are better
// than eight of 6 and one of 2.
struct Tiles {
    std::int64_t size, count;

    // At least one tile, even if it is empty.
    Tiles(std::int64_t size, std::int64_t most) : size(size), count(size ? (size + most - 1) / most : 1) {}
    std::int64_t begin(std::int64_t index) const { return size * index / count; }
    std::int64_t length(std::int64_t index) const { return begin(index + 1) - begin(index); }
};

// The columns [begin, begin + width) of a matrix with N columns, as vectors.
template <class T> struct ColumnBlock {
    std::int64_t index, begin, width;
    int vectors, last;

    ColumnBlock(std::int64_t N, std::int64_t index)
        : index(index), begin(index * BLOCK<T>), width(N - begin < BLOCK<T> ? N - begin : BLOCK<T>),
          vectors(int((width + LANES<T> - 1) / LANES<T>)), last(int(width - (vectors - 1) * LANES<T>)) {}
    static std::int64_t count(std::int64_t N) { return (N + BLOCK<T> - 1) / BLOCK<T>; }
};

// Stores a tile in a matrix, or adds it to the matrix: adding short sums loses fewer digits than continuing
// one long sum from a Partial.
template <class T> struct StoreTile {
    T *c;
    std::int64_t row;
    bool adds = false;

    // Prefetches the lines of C: otherwise the stores to a large C wait for their cache lines (dense_dw of
    // 512x2048x2048 on Zen 4: 51 -> 67 % of the peak).
    template <int ROWS, int COLUMNS> [[gnu::always_inline]] void prefetch() const {
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; j += VECTORS_PER_LINE)
                __builtin_prefetch(c + i * row + j * LANES<T>, 1);
        }
    }

    [[gnu::always_inline]] void operator()(int i, int j, Vec<T> value, int n) const {
        T *const place = c + i * row + j * LANES<T>;
        store_n(place, adds ? load_n(place, n) + value : value, n);
    }
};

// Adds a bias to each row of a tile and stores it.
template <class T> struct StoreTilePlusBias : StoreTile<T> {
    const T *bias;

    [[gnu::always_inline]] void operator()(int i, int j, Vec<T> value, int n) const {
        StoreTile<T>::operator()(i, j, value + load_n(bias + j * LANES<T>, n), n);
    }
};

}  // namespace fastnn
