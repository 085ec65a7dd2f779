// The matrix product behind all dense kernels: one register tile at a time, C = A B.
//
// Each output element has one accumulator, which takes its K products in ascending order. The bits of a
// result therefore depend on K, the type and the instruction set alone: not on M, not on the tiling, and
// not on the number of threads.
//
// What is done with a finished tile (add a bias, store it, store it transposed) is the caller's: an
// epilogue, called as epilogue(i, j, value, n) for the vector j of row i of the tile, whose first n
// elements exist.
#pragma once

#include <cstdint>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

// Columns of a tile, in vectors, and its rows: as many accumulators as leave registers for a row of B and a
// broadcast element of A (32 vector registers with AVX-512, 16 below).
#if defined(__AVX512F__)
constexpr int TILE_COLUMNS = 4;
constexpr int tile_rows(int columns) { return columns >= 4 ? 6 : columns == 3 ? 8 : 12; }
#else
constexpr int TILE_COLUMNS = 2;
constexpr int tile_rows(int columns) { return columns >= 2 ? 6 : 12; }
#endif

// Columns of a block of C, and the bytes of one row of it.
template <class T> constexpr std::int64_t BLOCK = TILE_COLUMNS * LANES<T>;
constexpr std::int64_t BLOCK_ROW_BYTES = TILE_COLUMNS * VECTOR_BYTES;

// Element (m, k) of A is data[m * row + k * step]: rows of A have step 1, rows of its transpose have row 1.
template <class T> struct Operand {
    const T *data;
    std::int64_t row, step;
};

// Rows of B: whole vectors but for the last one, of which only `last` elements count. With `padded` there
// is memory behind them, so that it can be loaded whole.
template <class T> struct Rows {
    const T *data;
    std::int64_t row;
    int last;
    bool padded;
};

// The sums over an earlier part of K, from which a tile goes on; `data` is null at the beginning.
template <class T> struct Partial {
    const T *data;
    std::int64_t row;
};

template <class T, int ROWS, int COLUMNS, bool WHOLE, class Epilogue>
inline void tile(Operand<T> a, Rows<T> b, std::int64_t K, Partial<T> partial, Epilogue epilogue) {
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
    const T *b_row = b.data, *a_column = a.data;
    for (std::int64_t k = 0; k < K; ++k, b_row += b.row, a_column += a.step) {
        Vec<T> row[COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS - 1; ++j) row[j] = load(b_row + j * LANES<T>);
        const T *end = b_row + (COLUMNS - 1) * LANES<T>;
        row[COLUMNS - 1] = WHOLE ? load(end) : load_first(end, b.last);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const Vec<T> element = broadcast(a_column[i * a.row]);
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(element, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) epilogue(i, j, sum[i][j], j < COLUMNS - 1 ? LANES<T> : b.last);
    }
}

// The same for numbers of rows and columns that are known only now. A tile's size must be a compile-time
// constant, or its accumulators live on the stack (35 instead of 197 GFLOP/s).
template <class T, int COLUMNS, int ROWS, class Epilogue>
inline void tile_of_rows(int rows, Operand<T> a, Rows<T> b, std::int64_t K, Partial<T> partial,
                         Epilogue epilogue) {
    if (rows != ROWS) {
        if constexpr (ROWS > 1) tile_of_rows<T, COLUMNS, ROWS - 1>(rows, a, b, K, partial, epilogue);
    } else if (b.padded || b.last == LANES<T>) {
        tile<T, ROWS, COLUMNS, true>(a, b, K, partial, epilogue);
    } else {
        tile<T, ROWS, COLUMNS, false>(a, b, K, partial, epilogue);
    }
}

template <class T, int COLUMNS = TILE_COLUMNS, class Epilogue>
inline void tile_of_size(int rows, int columns, Operand<T> a, Rows<T> b, std::int64_t K, Partial<T> partial,
                         Epilogue epilogue) {
    if (columns == COLUMNS)
        tile_of_rows<T, COLUMNS, tile_rows(COLUMNS)>(rows, a, b, K, partial, epilogue);
    else if constexpr (COLUMNS > 1)
        tile_of_size<T, COLUMNS - 1>(rows, columns, a, b, K, partial, epilogue);
}

// How one dimension is cut into tiles: as evenly as possible, since 50 rows are better nine tiles of 5 or 6
// than eight of 6 and one of 2.
struct Tiles {
    std::int64_t size, count;

    // At least one, even if it is empty.
    Tiles(std::int64_t size, std::int64_t most) : size(size), count(size ? (size + most - 1) / most : 1) {}
    std::int64_t begin(std::int64_t index) const { return size * index / count; }
    int length(std::int64_t index) const { return int(begin(index + 1) - begin(index)); }
};

// The columns [begin, begin + width) of a matrix with N columns, as vectors.
template <class T> struct ColumnBlock {
    std::int64_t begin, width;
    int vectors, last;

    ColumnBlock(std::int64_t N, std::int64_t index)
        : begin(index * BLOCK<T>), width(N - begin < BLOCK<T> ? N - begin : BLOCK<T>),
          vectors(int((width + LANES<T> - 1) / LANES<T>)), last(int(width - (vectors - 1) * LANES<T>)) {}
    static std::int64_t count(std::int64_t N) { return (N + BLOCK<T> - 1) / BLOCK<T>; }
};

// Rows of a packed block: 128 KiB, an eighth to a half of a second-level cache, at most MOST_PACKED_ROWS. On
// Zen 5 smaller blocks, for the first level, were slower: rows of A that are 4 KiB apart displace them.
constexpr std::int64_t PACKED_ROWS =
    131072 / BLOCK_ROW_BYTES < MOST_PACKED_ROWS ? 131072 / BLOCK_ROW_BYTES : MOST_PACKED_ROWS;

// From so many row tiles on it pays to pack B, since the copy is read that often (dense_dw at 256x1024x1024,
// where rows of B are 4 KiB apart: 166 -> 205 GFLOP/s); with 22 of them, 128x784x512 lost (225 -> 176).
constexpr std::int64_t TILES_TO_PACK = 40;

// Rows of B, copied to where they lie side by side and can be loaded by whole vectors.
template <class T>
inline Rows<T> pack(const T *b, std::int64_t row, const ColumnBlock<T> &block, std::int64_t K, T *scratch) {
    for (std::int64_t k = 0; k < K; ++k)
        for_vectors<T>(0, block.width, [=](std::int64_t e, int n) {
            store(scratch + k * BLOCK<T> + e, load_n(b + k * row + e, n));
        });
    return {scratch, BLOCK<T>, block.last, true};
}

// C (M, N) = A (M, K) B (K, N), with B and C by rows: part `part` of `parts`. `finish(row, column)` gives the
// epilogue of the tile that begins there, `store(row, column)` one that only stores the sums in C.
// `scratch` has room for PACKED_ROWS rows of a block.
template <class T, class Store, class Finish>
inline void multiply(std::int64_t M, std::int64_t N, std::int64_t K, Operand<T> a, const T *b, T *c, T *scratch,
                     int part, int parts, Store store, Finish finish) {
    // Narrow outputs have tall tiles, but all blocks of one product share their cut into rows.
    const Tiles rows(M, tile_rows(ColumnBlock<T>(N, 0).vectors));
    const Range units = share(ColumnBlock<T>::count(N) * rows.count, part, parts);
    for (std::int64_t unit = units.begin; unit < units.end;) {
        const ColumnBlock<T> block(N, unit / rows.count);
        const std::int64_t first = unit % rows.count;
        const std::int64_t left = units.end - unit, stop = rows.count < first + left ? rows.count : first + left;
        unit += stop - first;

        const bool packed = stop - first >= TILES_TO_PACK || (!MASKED_LOADS && block.last != LANES<T>);
        const Tiles depths(K, packed && K > 0 ? PACKED_ROWS : K + 1);
        for (std::int64_t round = 0; round < depths.count; ++round) {
            const std::int64_t k = depths.begin(round), depth = depths.length(round);
            Rows<T> b_rows{b + k * N + block.begin, N, block.last, false};
            if (packed) b_rows = pack(b_rows.data, N, block, depth, scratch);
            for (std::int64_t index = first; index < stop; ++index) {
                const std::int64_t row = rows.begin(index);
                const int height = rows.length(index);
                const Operand<T> a_rows{a.data + row * a.row + k * a.step, a.row, a.step};
                const Partial<T> partial{k ? c + row * N + block.begin : nullptr, N};
                if (round < depths.count - 1)
                    tile_of_size<T>(height, block.vectors, a_rows, b_rows, depth, partial, store(row, block.begin));
                else
                    tile_of_size<T>(height, block.vectors, a_rows, b_rows, depth, partial, finish(row, block.begin));
            }
        }
    }
}

}  // namespace fastnn
