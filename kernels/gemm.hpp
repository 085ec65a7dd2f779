// The matrix product C = A B, by register tiles (tile.hpp), with copies of A and B where they pay (pack.hpp).
#pragma once

#include "call.hpp"
#include "pack.hpp"

namespace fastnn {

// From so many row tiles on it pays to pack B, since the copy is read that often (dense_dw at 256x1024x1024,
// where rows of B are 4 KiB apart, on Zen 5: 166 -> 205 GFLOP/s); with 22 of them, 128x784x512 lost (225 -> 176).
constexpr std::int64_t TILES_TO_PACK = 40;

// With so many products per sum and so many blocks of columns besides, it pays to copy A too (on Zen 4, with
// the packing of B that fetches ahead: forward product of 512x2048x2048 60 -> 88 % of the peak, dense_dw
// 67 -> 88 %; dense_dw of 256x1024x1024, with 256 products per sum, lost 3 %).
constexpr std::int64_t DEPTH_TO_COPY = 300, BLOCKS_TO_COPY = 4;

// Rows of A that are copied at a time: with PACKED_ROWS columns 1.5 MiB.
constexpr std::int64_t COPIED_ROWS = 768;

// A matrix B whose block of columns i begins at data + i * block and whose rows are `row` apart: plain rows, or
// panels of BLOCK columns, one after the other. With `padded` all blocks can be loaded by whole vectors.
template <class T> struct RightHand {
    const T *data;
    std::int64_t row, block;
    bool padded;

    static RightHand by_rows(const T *data, std::int64_t N) { return {data, N, BLOCK<T>, false}; }
};

// C (M, N) = A (M, K) B (K, N), and how it is done.
template <class T> struct Product {
    std::int64_t M, N, K;
    Operand<T> a;
    RightHand<T> b;
    int height;  // of a tile; narrow outputs have tall tiles, but all blocks share their cut into rows
    Tiles rows;
    bool packs_all, packs_last, copies;
    bool parts_are_rows;  // else columns

    Product(std::int64_t M, std::int64_t N, std::int64_t K, Operand<T> a, RightHand<T> b)
        : M(M), N(N), K(K), a(a), b(b), height(tile_rows(ColumnBlock<T>(N, 0).vectors)), rows(M, height),
          packs_all(!b.padded && rows.count >= TILES_TO_PACK),
          packs_last(!b.padded && !MASKED_LOADS && N % LANES<T> != 0),
          copies(rows.count >= TILES_TO_PACK && K >= DEPTH_TO_COPY && blocks() >= BLOCKS_TO_COPY),
          parts_are_rows(rows.count >= TILES_TO_PACK) {}

    std::int64_t blocks() const { return ColumnBlock<T>::count(N); }
    bool packs(std::int64_t block) const { return packs_all || (packs_last && block == blocks() - 1); }
    // Sums over more than PACKED_ROWS products are cut into rounds, which begin with what C holds.
    Tiles rounds() const { return {K, packs_all || packs_last || copies ? PACKED_ROWS : K + 1}; }
    // Row tiles whose copies are made at a time.
    std::int64_t group() const { return copies ? COPIED_ROWS / height : rows.count; }
    std::int64_t packed_elements() const {
        return packs_all || packs_last ? (K < PACKED_ROWS ? K : PACKED_ROWS) * BLOCK<T> : 0;
    }
    // Scratch memory that each part of `multiply` needs.
    std::int64_t scratch_bytes() const {
        const std::int64_t tiles = rows.count < group() ? rows.count : group();
        const std::int64_t depth = K < PACKED_ROWS ? K : PACKED_ROWS;
        const std::int64_t copied = copies ? CopiedTiles<T>::elements(tiles, height, depth) : 0;
        return (packed_elements() + copied) * std::int64_t(sizeof(T));
    }
};

// Part `part` of `parts` of the product of the row tiles [begin, begin + count) over the K range of a round.
template <class T, class Store, class Finish, class After>
inline void multiply_round(const Product<T> &p, std::int64_t begin, std::int64_t count, std::int64_t k,
                           std::int64_t depth, T *scratch, int part, int parts, Store store, Finish finish,
                           After after) {
    const Range units = share(p.blocks() * count, part, parts);
    if (units.begin >= units.end) return;
    const auto in_place = [&](std::int64_t tile) {
        return Operand<T>{p.a.data + p.rows.begin(begin + tile) * p.a.row + k * p.a.step, p.a.row, p.a.step};
    };
    const CopiedTiles<T> copied{scratch + p.packed_elements(), depth, p.height, p.a.step == 1};
    if (p.copies) {
        const bool one_block = units.begin / count == (units.end - 1) / count;
        const std::int64_t first = one_block ? units.begin % count : 0;
        const std::int64_t stop = one_block ? (units.end - 1) % count + 1 : count;
        for (std::int64_t tile = first; tile < stop; ++tile)
            copied.fill(tile, p.rows.length(begin + tile), in_place(tile));
    }
    for (std::int64_t unit = units.begin; unit < units.end;) {
        const std::int64_t index = unit / count, first = unit % count, left = units.end - unit;
        const std::int64_t stop = count < first + left ? count : first + left;
        unit += stop - first;
        const ColumnBlock<T> block(p.N, index);
        Rows<T> b{p.b.data + index * p.b.block + k * p.b.row, p.b.row, block.last, p.b.padded};
        if (p.packs(index)) b = pack(b, block, depth, scratch);
        for (std::int64_t tile = first; tile < stop; ++tile) {
            const std::int64_t row = p.rows.begin(begin + tile);
            const int rows = p.rows.length(begin + tile);
            const Operand<T> a = p.copies ? copied[tile] : in_place(tile);
            const StoreTile<T> place = store(row, block.begin);
            const Partial<T> partial{k ? place.c : nullptr, place.row};
            if (k + depth < p.K) {
                tile_of_size<T>(rows, block.vectors, a, b, depth, partial, place);
            } else {
                tile_of_size<T>(rows, block.vectors, a, b, depth, partial, finish(row, block.begin));
                after(row, rows, block);
            }
        }
    }
}

// Part `part` of `parts` of a product: `finish(row, column)` gives the epilogue of the tile that begins there,
// `store(row, column)` one that only stores the sums in C. `after(row, rows, block)` is called when a tile is
// finished, and may go over it again while it is in the first-level cache.
//
// The parts of a tall C are rows, since columns that are no whole cache lines would be written by two threads
// in every row (dense_dw of 32x784x128 on two threads: 102 -> 131 GFLOP/s); else they are columns, so that
// each thread reads a part of B alone. A weight that is read here as B and updated there as C must have the same
// parts in both, or it moves from core to core in every step (update of 784x128: 67 -> 38 us).
template <class T, class Store, class Finish, class After>
inline void multiply(const Product<T> &p, T *scratch, int part, int parts, Store store, Finish finish,
                     After after) {
    const Range tiles = p.parts_are_rows ? share(p.rows.count, part, parts) : Range{0, p.rows.count};
    const int column_part = p.parts_are_rows ? 0 : part, column_parts = p.parts_are_rows ? 1 : parts;
    const Tiles rounds = p.rounds();
    for (std::int64_t begin = tiles.begin; begin < tiles.end; begin += p.group()) {
        const std::int64_t left = tiles.end - begin, count = left < p.group() ? left : p.group();
        for (std::int64_t round = 0; round < rounds.count; ++round)
            multiply_round(p, begin, count, rounds.begin(round), rounds.length(round), scratch, column_part,
                           column_parts, store, finish, after);
    }
}

template <class T, class Store, class Finish>
inline void multiply(const Product<T> &p, T *scratch, int part, int parts, Store store, Finish finish) {
    multiply(p, scratch, part, parts, store, finish, [](std::int64_t, int, const ColumnBlock<T> &) {});
}

}  // namespace fastnn
