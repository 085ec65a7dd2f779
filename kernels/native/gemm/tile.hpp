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

#include "simd/fetch.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// Columns (in vectors) and rows of a tile: the accumulators leave just enough registers for a row of B and a
// broadcast element of A.
constexpr int TILE_COLUMNS = MANY_REGISTERS ? 4 : 2;
constexpr int tile_rows(int columns) {
    if (!MANY_REGISTERS) return columns >= 2 ? 6 : 12;
    return columns >= 4 ? 6 : columns == 3 ? 8 : 12;
}

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
    std::int64_t ahead = 0;  // the prefetch distance, in elements
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

// `Products` is Runs or, for one run, its length. Not inlined, because inlined tiles make GCC take three
// times as long to compile.
template <class T, int ROWS, int COLUMNS, bool WHOLE, class Products, class Epilogue>
[[gnu::noinline]] void tile(const Operand<T> &a, const Rows<T> &b, const Products &products,
                            const Partial<T> &partial, const Epilogue &epilogue) {
    const Runs runs = products;
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
                    fetch_ahead(b_row + b.ahead + j * LANES<T>);
#pragma GCC unroll 16
                for (int i = 0; i < ROWS; ++i) {
                    const Vec<T> element = broadcast(a_column[i * a.row]);
#pragma GCC unroll 4
                    for (int j = 0; j < COLUMNS; ++j) sum[i][j] = fma(element, row[j], sum[i][j]);
                }
            }
        }
    }
    // Read the epilogue from memory only now: its members, kept in registers throughout, would spill an
    // accumulator where there are 16 vector registers (the SGD update of 784x300 for x86-64-v3: 41 -> 70 % of
    // the peak).
    const Epilogue *finish = &epilogue;
    asm volatile("" : "+r"(finish) : : "memory");
    finish->finish(sum, b.last);
}

// Selects the tile for row and column counts that are known only at run time. A tile's size must be a
// compile-time constant, or its accumulators live on the stack (35 instead of 197 GFLOP/s).
template <class T, int COLUMNS, int ROWS, class Products, class Epilogue>
inline void tile_of_rows(int rows, const Operand<T> &a, const Rows<T> &b, const Products &products,
                         const Partial<T> &partial, const Epilogue &epilogue) {
    if (rows != ROWS) {
        if constexpr (ROWS > 1) tile_of_rows<T, COLUMNS, ROWS - 1>(rows, a, b, products, partial, epilogue);
    } else if (b.padded || b.last == LANES<T>) {
        tile<T, ROWS, COLUMNS, true>(a, b, products, partial, epilogue);
    } else {
        tile<T, ROWS, COLUMNS, false>(a, b, products, partial, epilogue);
    }
}

template <class T, int COLUMNS, class Products, class Epilogue>
inline void tile_of_columns(int rows, int columns, const Operand<T> &a, const Rows<T> &b,
                            const Products &products, const Partial<T> &partial, const Epilogue &epilogue) {
    if (columns == COLUMNS)
        tile_of_rows<T, COLUMNS, tile_rows(COLUMNS)>(rows, a, b, products, partial, epilogue);
    else if constexpr (COLUMNS > 1)
        tile_of_columns<T, COLUMNS - 1>(rows, columns, a, b, products, partial, epilogue);
}

template <class T, class Products, class Epilogue>
void tile_of_size(int rows, int columns, const Operand<T> &a, const Rows<T> &b, const Products &products,
                  const Partial<T> &partial, const Epilogue &epilogue) {
    tile_of_columns<T, TILE_COLUMNS>(rows, columns, a, b, products, partial, epilogue);
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

// Calls store(i, j, value, n) for each vector of a tile, whose last column has `last` lanes.
template <class T, int ROWS, int COLUMNS, class Store>
[[gnu::always_inline]] inline void for_tile(const Vec<T> (&sum)[ROWS][COLUMNS], int last, Store store) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) store(i, j, sum[i][j], j < COLUMNS - 1 ? LANES<T> : last);
    }
}

// Fetches the rows of a tile that will be written: without it the stores of a large C wait for their cache
// lines (dense_dw of 512x2048x2048 on Zen 4: 51 -> 67 % of the peak).
template <class T, int ROWS, int COLUMNS>
[[gnu::always_inline]] inline void fetch_rows(T *c, std::int64_t row) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; j += VECTORS_PER_LINE) __builtin_prefetch(c + i * row + j * LANES<T>, 1);
    }
}

// Addresses of the tile in arrays that are updated once the tile is complete; null for none.
template <class T> struct Fetched {
    T *array[3];
    std::int64_t row;
};

// Stores a tile into a matrix. Optionally adds a bias to each row first, or adds the tile to the matrix:
// adding short sums loses fewer digits than one long sum continued through a Partial.
template <class T> struct StoreTile {
    T *c;
    std::int64_t row;
    const T *bias = nullptr;
    bool adds = false;
    // Store whole vectors, including elements after the end of a row: rows must come in ascending order, and
    // there must be memory for one more vector after the last row.
    bool whole = false;
    const Fetched<T> *fetched = nullptr;  // in place of C

    template <int ROWS, int COLUMNS> [[gnu::always_inline]] void prefetch() const {
        if (!fetched) return fetch_rows<T, ROWS, COLUMNS>(c, row);
        for (T *const array : fetched->array)
            if (array) fetch_rows<T, ROWS, COLUMNS>(array, fetched->row);
    }

    template <int ROWS, int COLUMNS>
    [[gnu::always_inline]] void finish(const Vec<T> (&sum)[ROWS][COLUMNS], int last) const {
        if (last == LANES<T> || (whole && !bias))
            finish_rows(sum, LANES<T>);
        else
            finish_rows(sum, last);
    }

    // One vector.
    [[gnu::always_inline]] void operator()(int i, int j, Vec<T> value, int n) const {
        T *const place = c + i * row + j * LANES<T>;
        if (bias) value = value + load_n(bias + j * LANES<T>, n);
        store_n(place, adds ? load_n(place, n) + value : value, n);
    }

private:
    // Copies the members first: a store through a vector may alias them, so the compiler would load them
    // again after each one (a convolution of 3 x 3 x 1 to 32 channels for x86-64-v3: 1.2 times as fast).
    template <int ROWS, int COLUMNS>
    [[gnu::always_inline]] void finish_rows(const Vec<T> (&sum)[ROWS][COLUMNS], int last) const {
        const auto place = [c = c, row = row](int i, int j) { return c + i * row + j * LANES<T>; };
        if (bias) {
            Vec<T> offset[COLUMNS];
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j)
                offset[j] = load_n(bias + j * LANES<T>, j < COLUMNS - 1 ? LANES<T> : last);
            for_tile<T>(sum, last, [&](int i, int j, Vec<T> value, int n) {
                store_n(place(i, j), value + offset[j], n);
            });
        } else if (adds) {
            for_tile<T>(sum, last, [=](int i, int j, Vec<T> value, int n) {
                store_n(place(i, j), load_n(place(i, j), n) + value, n);
            });
        } else {
            for_tile<T>(sum, last,
                        [=](int i, int j, Vec<T> value, int n) { store_n(place(i, j), value, n); });
        }
    }
};

// Compiled once for all families (isa/tiles.cpp, and for convolutions isa/patch_tiles.cpp).
extern template void tile_of_size(int, int, const Operand<float> &, const Rows<float> &, const std::int64_t &,
                                  const Partial<float> &, const StoreTile<float> &);
extern template void tile_of_size(int, int, const Operand<double> &, const Rows<double> &,
                                  const std::int64_t &, const Partial<double> &, const StoreTile<double> &);
extern template void tile_of_size(int, int, const Operand<float> &, const Rows<float> &, const Runs &,
                                  const Partial<float> &, const StoreTile<float> &);
extern template void tile_of_size(int, int, const Operand<double> &, const Rows<double> &, const Runs &,
                                  const Partial<double> &, const StoreTile<double> &);

}  // namespace fastnn
