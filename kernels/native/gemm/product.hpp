// Plans a matrix product C = A B: its division into parts, tiles, halves and rounds, and its scratch memory.
#pragma once

#include "plan/call.hpp"
#include "gemm/pack.hpp"

namespace fastnn {

// The number of row tiles from which packing B pays: each tile reads the copy once. Wide blocks: dense_dw at
// 256x1024x1024, where rows of B are 4 KiB apart, on Zen 5: 166 -> 205 GFLOP/s; with 22 tiles, 128x784x512
// became slower (225 -> 176). Narrow blocks, whose rows are one cache line: 128x784x512 60 -> 72 % of the
// peak of x86-64-v3.
constexpr std::int64_t TILES_TO_PACK = BLOCK_ROW_BYTES >= 256 ? 40 : 8;

// Rows that are a multiple of ALIASED bytes apart share two of the 64 sets of an L1 cache, or one, and more
// than ALIASED_ROWS of them push each other out.
constexpr std::int64_t ALIASED = 2048, ALIASED_ROWS = 16;
template <class T> bool is_aliased(std::int64_t rows, std::int64_t row) {
    return rows > ALIASED_ROWS && row * std::int64_t(sizeof(T)) % ALIASED == 0;
}

// The number of row tiles from which packing pays if rows of B are aliased (forward products in float32 for
// x86-64-v3, of the peak: 32x512x512 66 -> 73 %, 32x1024x1024 50 -> 71 %; 32x256x256, with rows 1 KiB apart,
// would fall from 78 to 71 %).
constexpr std::int64_t ALIASED_TILES_TO_PACK = BLOCK_ROW_BYTES >= 256 ? TILES_TO_PACK : 4;

// The number of row tiles from which each part owns rows of C.
constexpr std::int64_t TALL = 40;

// The number of terms per sum and of blocks of columns from which copying A pays too (on Zen 4, with prefetch
// while packing B: forward product of 512x2048x2048 60 -> 88 % of the peak, dense_dw 67 -> 88 %; dense_dw of
// 256x1024x1024, with 256 terms per sum, lost 3 %).
constexpr std::int64_t DEPTH_TO_COPY = BLOCK_ROW_BYTES >= 256 ? 300 : 100, BLOCKS_TO_COPY = 4;

// Whether it pays with fewer terms if A is a transpose whose columns are aliased (dense_dw for x86-64-v3, in
// % of the peak: 32x1024x1024 68 -> 80, 64x1024x1024 71 -> 86). Wide blocks gain nothing.
constexpr bool COPIES_ALIASED = BLOCK_ROW_BYTES < 256;

// Rows of C that are computed at a time if they need scratch memory: a copy of this many rows of A with
// PACKED_ROWS columns takes 1.5 MiB.
constexpr std::int64_t GROUP_ROWS = 768;

// What the parts divide: the rows of C; or its columns, first those of the first halves of the sums, then
// those of the second halves.
enum class PartsAre { ROWS, COLUMNS };

// The product C (M, N) = A (M, K) B (K, N) and its division. The rows of B are contiguous.
template <class T> struct Product {
    std::int64_t M, N, K;
    Operand<T> a;
    const T *b;
    Tiles halves;  // of the sums: one or two
    int height;    // of a tile; narrow outputs have tall tiles, but all blocks share their cut into rows
    Tiles rows;
    PartsAre parts;
    bool packs_all, packs_last, copies;

    Product(std::int64_t M, std::int64_t N, std::int64_t K, Operand<T> a, const T *b, bool halved,
            bool parts_are_rows)
        : M(M), N(N), K(K), a(a), b(b), halves(K, halved ? (K + 1) / 2 : K),
          height(tile_rows(ColumnBlock<T>(N, 0).vectors)), rows(M, height),
          parts(parts_are_rows || rows.count >= TALL ? PartsAre::ROWS : PartsAre::COLUMNS),
          packs_all(rows.count >= (is_aliased<T>(K, N) ? ALIASED_TILES_TO_PACK : TILES_TO_PACK)),
          packs_last(!MASKED_LOADS && N % LANES<T> != 0),
          copies(parts == PartsAre::ROWS && rows.count >= TALL && blocks() >= BLOCKS_TO_COPY &&
                 (K >= DEPTH_TO_COPY || (COPIES_ALIASED && a.row == 1 && is_aliased<T>(K, a.step)))) {}

    bool is_halved() const { return halves.count > 1; }
    std::int64_t blocks() const { return ColumnBlock<T>::count(N); }
    bool packs(std::int64_t block) const { return packs_all || (packs_last && block == blocks() - 1); }
    // If A or B is copied, long sums are computed in rounds of PACKED_ROWS terms; each round after the first
    // continues from the partial sums in C.
    Tiles rounds(std::int64_t half) const {
        const std::int64_t depth = halves.length(half);
        return {depth, packs_all || packs_last || copies ? PACKED_ROWS : depth + 1};
    }

    // Scratch memory for the sums of the second halves until they are added: each part has its own for a
    // group of its rows, or all parts share one.
    bool halves_are_shared() const { return is_halved() && parts == PartsAre::COLUMNS; }
    bool halves_are_own() const { return is_halved() && parts == PartsAre::ROWS; }
    // Row tiles that are computed at a time.
    std::int64_t group() const { return copies || halves_are_own() ? GROUP_ROWS / height : rows.count; }
    std::int64_t group_rows() const { return group() < rows.count ? group() * height : M; }

    std::int64_t packed_elements() const {
        return packs_all || packs_last ? PackedBlocks<T>::elements(round_depth()) : 0;
    }
    std::int64_t copied_elements() const {
        const std::int64_t tiles = rows.count < group() ? rows.count : group();
        return copies ? CopiedTiles<T>::elements(tiles, height, round_depth()) : 0;
    }
    std::int64_t halves_elements() const { return is_halved() ? blocks() * group_rows() * BLOCK<T> : 0; }

    ScratchNeeds scratch() const {
        const std::int64_t own = packed_elements() + copied_elements() + halves_are_own() * halves_elements();
        if (!halves_are_shared()) return {0, 0, own * std::int64_t(sizeof(T))};
        const std::int64_t counters = whole_lines(blocks() * std::int64_t(sizeof(int)));
        const std::int64_t shared = counters + halves_elements() * std::int64_t(sizeof(T));
        return {counters, shared, own * std::int64_t(sizeof(T))};
    }

private:
    // The largest number of terms in a round.
    std::int64_t round_depth() const {
        const std::int64_t depth = (K + halves.count - 1) / halves.count;
        return depth < PACKED_ROWS ? depth : PACKED_ROWS;
    }
};

}  // namespace fastnn
