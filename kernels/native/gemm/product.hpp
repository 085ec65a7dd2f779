// How a matrix product C = A B is cut into parts, tiles, halves and rounds, and what memory that takes.
#pragma once

#include "plan/call.hpp"
#include "gemm/pack.hpp"

namespace fastnn {

// From so many row tiles on it pays to pack B, since the copy is read that often. Wide blocks: dense_dw at
// 256x1024x1024, where rows of B are 4 KiB apart, on Zen 5: 166 -> 205 GFLOP/s; with 22 tiles, 128x784x512
// lost (225 -> 176). Narrow ones, of which a row is one cache line: 128x784x512 60 -> 72 % of the peak of
// x86-64-v3.
constexpr std::int64_t TILES_TO_PACK = BLOCK_ROW_BYTES >= 256 ? 40 : 8;

// With so many row tiles each part works on rows of its own.
constexpr std::int64_t TALL = 40;

// With so many products per sum and so many blocks of columns besides, it pays to copy A too (on Zen 4, with
// the packing of B that fetches ahead: forward product of 512x2048x2048 60 -> 88 % of the peak, dense_dw
// 67 -> 88 %; dense_dw of 256x1024x1024, with 256 products per sum, lost 3 %).
constexpr std::int64_t DEPTH_TO_COPY = BLOCK_ROW_BYTES >= 256 ? 300 : 100, BLOCKS_TO_COPY = 4;

// Rows of C that are worked on at a time where memory is needed for them: a copy of so many rows of A with
// PACKED_ROWS columns takes 1.5 MiB.
constexpr std::int64_t GROUP_ROWS = 768;

// What is cut into parts: the rows of C, or its columns, those of the second halves of the sums behind those
// of the first ones.
enum class PartsAre { ROWS, COLUMNS };

// C (M, N) = A (M, K) B (K, N), and how it is done. The rows of B are contiguous.
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
          packs_all(rows.count >= TILES_TO_PACK), packs_last(!MASKED_LOADS && N % LANES<T> != 0),
          copies(parts == PartsAre::ROWS && rows.count >= TALL && K >= DEPTH_TO_COPY &&
                 blocks() >= BLOCKS_TO_COPY) {}

    bool is_halved() const { return halves.count > 1; }
    std::int64_t blocks() const { return ColumnBlock<T>::count(N); }
    bool packs(std::int64_t block) const { return packs_all || (packs_last && block == blocks() - 1); }
    // Long sums are made in rounds of PACKED_ROWS products where something is copied; a round begins with
    // what C holds.
    Tiles rounds(std::int64_t half) const {
        const std::int64_t depth = halves.length(half);
        return {depth, packs_all || packs_last || copies ? PACKED_ROWS : depth + 1};
    }

    // The sums of the second halves, until the first ones are there: each part has its own for a group of its
    // rows, or all parts share one.
    bool halves_are_shared() const { return is_halved() && parts == PartsAre::COLUMNS; }
    bool halves_are_own() const { return is_halved() && parts == PartsAre::ROWS; }
    // Row tiles that are worked on at a time.
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
    // Most products of a round.
    std::int64_t round_depth() const {
        const std::int64_t depth = (K + halves.count - 1) / halves.count;
        return depth < PACKED_ROWS ? depth : PACKED_ROWS;
    }
};

}  // namespace fastnn
