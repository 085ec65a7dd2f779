// Computes matrix products of bf16 numbers, with sums in float, by vdpbf16ps.
//
// Each lane of 32 bits holds a pair: two neighbouring terms of a sum, rounded to bf16. The instruction
// multiplies the pairs of two vectors and adds both products to a float. A product of pairs therefore has the
// form of a product of floats with half as many terms. Pairs are stored as floats, which are moved and
// transposed, but never computed with.
//
// vcvtne2ps2bf16 rounds to nearest even, and takes subnormal numbers for 0. vdpbf16ps adds one product after
// the other, rounds each sum to nearest even, and flushes subnormal sums to 0 (Intel, Architecture
// Instruction Set Extensions Programming Reference, 319433-034). Neither depends on MXCSR. Both do 32
// multiply-adds where an FMA of the same width does 16.
#pragma once

#include "gemm/pack.hpp"
#include "gemm/transpose.hpp"
#include "plan/call.hpp"

namespace fastnn {

constexpr int PAIRED = 2 * LANES<float>;  // the numbers that a vector of pairs holds

// The values of a, then those of b, rounded to bf16.
INLINED inline Vec<float> rounded(Vec<float> a, Vec<float> b) {
    return (Vec<float>)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
}

// sum + both products of each lane.
INLINED inline Vec<float> add_products(Vec<float> sum, Vec<float> a, Vec<float> b) {
    return (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

// One pair in all lanes. (`broadcast` subtracts 0, which changes the bits of a signalling nan: as a float, a
// pair with an infinity can be one.)
INLINED inline Vec<float> broadcast_pair(const float *pair) {
    std::int32_t bits;
    std::memcpy(&bits, pair, sizeof bits);
    return (Vec<float>)_mm512_set1_epi32(bits);
}

// The pairs (values[0], values[1]), (values[2], values[3]), ... of n values, followed by zeros.
INLINED inline Vec<float> pairs_along(const float *values, std::int64_t n) {
    if (n >= PAIRED) return rounded(load(values), load(values + LANES<float>));
    if (n <= LANES<float>) return rounded(load_first(values, int(n)), Vec<float>{});
    return rounded(load(values), load_first(values + LANES<float>, int(n) - LANES<float>));
}

// The pairs (a_i, b_i).
template <int... I>
INLINED inline Vec<float> pairs_across(Vec<float> a, Vec<float> b, std::integer_sequence<int, I...>) {
    typedef std::int16_t Halves __attribute__((vector_size(VECTOR_BYTES)));
    const Halves both = (Halves)rounded(a, b);
    return (Vec<float>)lanes<(I / 2 + I % 2 * LANES<float>)...>(both, both);
}
INLINED inline Vec<float> pairs_across(Vec<float> a, Vec<float> b) {
    return pairs_across(a, b, std::make_integer_sequence<int, PAIRED>());
}

inline std::int64_t pairs_of(std::int64_t terms) { return (terms + 1) / 2; }

// Sums run along the rows of a matrix: its rows as pairs. (Rows that are 4 KiB apart would evict each other
// from the L1 cache, hence the gap.)
struct PairedRows {
    float *data;
    std::int64_t row;  // the distance of rows

    static std::int64_t distance(std::int64_t terms) {
        return (pairs_of(terms) + LANES<float> - 1) / LANES<float> * LANES<float> + LANES<float>;
    }

    // Fills `rows` from a matrix with `terms` columns.
    void fill(const float *from, std::int64_t terms, Range rows) const {
        for (std::int64_t r = rows.begin; r < rows.end; ++r)
            for (std::int64_t k = 0; k < terms; k += PAIRED)
                store(data + r * row + k / 2, pairs_along(from + r * terms + k, terms - k));
    }
};

// Sums run along the columns of a matrix (terms, columns): pairs of rows, in panels.
struct PairedPanels {
    float *data;
    std::int64_t terms, columns;

    std::int64_t pairs() const { return pairs_of(terms); }
    std::int64_t elements() const { return Panels<float>::elements(pairs(), columns); }
    Rows<float> operator[](const ColumnBlock<float> &block) const {
        return Panels<float>{data, pairs()}[block];
    }

    // Fills the pairs `mine` from a matrix (terms, columns).
    void fill(const float *from, Range mine) const {
        for (std::int64_t p = mine.begin; p < mine.end; ++p) {
            const float *const first = from + 2 * p * columns;
            const bool has_second = 2 * p + 1 < terms;
            Panels<float>::for_columns(
                columns, pairs(), data, [=](std::int64_t column, int n, float *panel, std::int64_t stride) {
                    const Vec<float> second = has_second ? load_n(first + columns + column, n) : Vec<float>{};
                    store(panel + p * stride, pairs_across(load_n(first + column, n), second));
                });
        }
    }

    // The squares of LANES pairs and LANES columns in which `fill_transposed` works.
    std::int64_t squares() const { return squares_of(columns) * squares_of(pairs()); }

    // Fills the squares `mine` from a matrix (columns, terms).
    void fill_transposed(const float *from, Range mine) const {
        const std::int64_t across = squares_of(pairs());
        for (std::int64_t square = mine.begin; square < mine.end; ++square) {
            const std::int64_t column = square / across * LANES<float>, p = square % across * LANES<float>;
            Vec<float> block[LANES<float>];
#pragma GCC unroll 16
            for (int i = 0; i < LANES<float>; ++i)
                block[i] = column + i < columns
                               ? pairs_along(from + (column + i) * terms + 2 * p, terms - 2 * p)
                               : Vec<float>{};
            transpose_block<float>(block);
            const ColumnBlock<float> of(columns, column / BLOCK<float>);
            const std::int64_t width = Panels<float>::width(of);
            float *const to = data + of.begin * pairs() + column - of.begin;
#pragma GCC unroll 16
            for (int i = 0; i < LANES<float>; ++i)
                if (p + i < pairs()) store(to + (p + i) * width, block[i]);
        }
    }

private:
    static std::int64_t squares_of(std::int64_t size) { return (size + LANES<float> - 1) / LANES<float>; }
};

// A register tile (tile.hpp) of `pairs` pairs per sum. The rows of B are whole vectors, one after the other.
template <int ROWS, int COLUMNS, class Epilogue>
[[gnu::noinline]] void pair_tile(const Operand<float> &a, const Rows<float> &b, std::int64_t pairs,
                                 const Epilogue &epilogue) {
    Vec<float> sum[ROWS][COLUMNS] = {};
    epilogue.template prefetch<ROWS, COLUMNS>();
    const float *column = a.data, *row_of_b = b.data;
#pragma GCC unroll 2
    for (std::int64_t p = 0; p < pairs; ++p, column += a.step, row_of_b += COLUMNS * LANES<float>) {
        Vec<float> row[COLUMNS];
#pragma GCC unroll 4
        for (int j = 0; j < COLUMNS; ++j) row[j] = load(row_of_b + j * LANES<float>);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS; ++i) {
            const Vec<float> pair = broadcast_pair(column + i * a.row);
#pragma GCC unroll 4
            for (int j = 0; j < COLUMNS; ++j) sum[i][j] = add_products(sum[i][j], pair, row[j]);
        }
    }
    epilogue.finish(sum, b.last);
}

// Selects the tile, as in tile.hpp.
template <int COLUMNS, int ROWS, class Epilogue>
inline void pair_tile_of_rows(int rows, const Operand<float> &a, const Rows<float> &b, std::int64_t pairs,
                              const Epilogue &epilogue) {
    if (rows == ROWS)
        pair_tile<ROWS, COLUMNS>(a, b, pairs, epilogue);
    else if constexpr (ROWS > 1)
        pair_tile_of_rows<COLUMNS, ROWS - 1>(rows, a, b, pairs, epilogue);
}

template <int COLUMNS = TILE_COLUMNS, class Epilogue>
inline void pair_tile_of_size(int rows, int columns, const Operand<float> &a, const Rows<float> &b,
                              std::int64_t pairs, const Epilogue &epilogue) {
    if (columns == COLUMNS)
        pair_tile_of_rows<COLUMNS, tile_rows(COLUMNS)>(rows, a, b, pairs, epilogue);
    else if constexpr (COLUMNS > 1)
        pair_tile_of_size<COLUMNS - 1>(rows, columns, a, b, pairs, epilogue);
}

}  // namespace fastnn
