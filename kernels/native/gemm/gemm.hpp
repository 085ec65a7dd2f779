// Computes the matrix product C = A B by register tiles (tile.hpp).
//
// A thread should work on the same weights in every step; otherwise their cache lines move from core to core.
// Therefore a weight matrix is always split by its rows: in the update (rows of C), in the gradient of the
// input (dense_dx), and in the forward product, where it is B, by splitting each sum into two halves. With a
// split by columns, both cores write into every row and prefetch each other's lines: the update of 784x128
// was no faster on two threads than on one (62 us; with the halves 36). The thread that finishes the last
// half of a block of columns adds the two halves, so no thread waits (the "fixup" of Stream-K: Osama et al.
// 2023, arXiv:2301.03598).
#pragma once

#include <algorithm>

#include "gemm/product.hpp"

namespace fastnn {

// `store(row, column)` returns the epilogue that stores partial sums of the tile at (row, column) in C,
// `finish(row, column)` the epilogue for its completed sums. `after(row, rows, block)` is called when a tile
// is finished, and may process it again while it is in the L1 cache.
template <class T, class Store, class Finish, class After> class Multiplication {
public:
    Multiplication(const Product<T> &product, const Call &call, Store store, Finish finish, After after)
        : p(product), call(call), store(store), finish(finish), after(after) {}

    // Computes part `part` of `parts` of the product.
    void run(int part, int parts) {
        own = scratch_of<T>(call, part);
        if (p.parts == PartsAre::COLUMNS) {
            work_on_units({0, p.rows.count}, share(p.halves.count * p.blocks() * p.rows.count, part, parts));
            return;
        }
        const Range mine = share(p.rows.count, part, parts);
        for (std::int64_t begin = mine.begin; begin < mine.end; begin += p.group()) {
            const std::int64_t left = mine.end - begin, count = left < p.group() ? left : p.group();
            work_on_units({begin, begin + count}, {0, p.halves.count * p.blocks() * count});
        }
    }

private:
    const Product<T> &p;
    const Call &call;
    const Store store;
    const Finish finish;
    const After after;
    T *own = nullptr;  // scratch memory of this part: packed B, second halves, copied A

    // Computes the units `units` of the row tiles `tiles`. A unit is one tile in one block of columns and one
    // half of the sums.
    void work_on_units(Range tiles, Range units) {
        const std::int64_t size = p.blocks() * (tiles.end - tiles.begin);
        for (std::int64_t half = 0; half < p.halves.count; ++half) {
            const Range mine = {
                units.begin<half * size ? 0 : units.begin - half * size, units.end>(half + 1) * size
                    ? size
                    : units.end - half * size};
            if (mine.begin >= mine.end) continue;
            const Tiles rounds = p.rounds(half);
            for (std::int64_t round = 0; round < rounds.count; ++round)
                work_on_round(tiles, mine, half, rounds.begin(round), rounds.length(round));
        }
    }

    // Computes units of one half, over its terms k ... k + depth - 1.
    void work_on_round(Range tiles, Range units, std::int64_t half, std::int64_t k, std::int64_t depth) {
        const std::int64_t count = tiles.end - tiles.begin, first_k = p.halves.begin(half) + k;
        const T *const b = p.b + first_k * p.N;
        const CopiedTiles<T> copied = copy(tiles, units, first_k, depth);
        const PackedBlocks<T> packed{own, depth};
        const std::int64_t last_block = (units.end - 1) / count;
        for (std::int64_t unit = units.begin; unit < units.end;) {
            const ColumnBlock<T> block(p.N, unit / count);
            const bool not_yet = unit == units.begin || block.index % PACKED_BLOCKS == 0 || !p.packs_all;
            if (p.packs(block.index) && not_yet) packed.fill(b, p.N, block, ColumnBlock<T>(p.N, last_block));
            const std::int64_t first = unit % count, left = units.end - unit;
            const Range mine = {first, left < count - first ? first + left : count};
            const std::int64_t blocks = first == 0 ? blocks_together(block.index, left / count, depth) : 1;
            unit += blocks * (mine.end - mine.begin);
            for (std::int64_t tile = mine.begin; tile < mine.end; ++tile) {
                const Operand<T> a = p.copies ? copied[tile] : in_place(tiles.begin + tile, first_k);
                for (std::int64_t index = block.index; index < block.index + blocks; ++index) {
                    const ColumnBlock<T> columns(p.N, index);
                    // The first tile fetches the block; the others find it in the cache.
                    const std::int64_t ahead = tile == mine.begin ? ROWS_AHEAD * p.N : 0;
                    const Rows<T> rows_of_b =
                        p.packs(index) ? packed[columns]
                                       : Rows<T>{b + columns.begin, p.N, columns.last, false, ahead};
                    work_on_tile(tiles, tiles.begin + tile, columns, a, rows_of_b, half, k, depth);
                }
            }
            const bool ends = k + depth == p.halves.length(half);
            for (std::int64_t index = block.index; index < block.index + blocks; ++index)
                if (ends && p.is_halved() && completes(index, mine.end - mine.begin, 2 * count, half))
                    add_halves(tiles, ColumnBlock<T>(p.N, index));
        }
    }

    // The number of blocks by which each row tile is multiplied in turn, of `left` whole ones from block
    // `index` on: those that are packed together, as far as they stay in the L1 cache. The rows of C are then
    // written by longer pieces, each of them in a page of its own (step of 784-900-400-10 with 30 rows for
    // x86-64-v3 on two threads: 955 -> 845 us).
    std::int64_t blocks_together(std::int64_t index, std::int64_t left, std::int64_t depth) const {
        const std::int64_t packed = PACKED_BLOCKS - index % PACKED_BLOCKS;
        const std::int64_t fitting = PACKED_ROWS / std::max<std::int64_t>(1, depth);
        return p.packs_all ? std::max<std::int64_t>(1, std::min({left, packed, fitting})) : 1;
    }

    // Computes one tile.
    void work_on_tile(Range tiles, std::int64_t tile, const ColumnBlock<T> &block, Operand<T> a, Rows<T> b,
                      std::int64_t half, std::int64_t k, std::int64_t depth) {
        const std::int64_t row = p.rows.begin(tile);
        const int rows = int(p.rows.length(tile));
        const StoreTile<T> place = half ? second_half(tiles, row, block) : store(row, block.begin);
        const Partial<T> partial{k ? place.c : nullptr, place.row};
        if (p.is_halved() || k + depth < p.K) {
            tile_of_size<T>(rows, block.vectors, a, b, depth, partial, place);
        } else {
            tile_of_size<T>(rows, block.vectors, a, b, depth, partial, finish(row, block.begin));
            after(row, rows, block);
        }
    }

    Operand<T> in_place(std::int64_t tile, std::int64_t k) const {
        return {p.a.data + p.rows.begin(tile) * p.a.row + k * p.a.step, p.a.row, p.a.step};
    }

    // Copies the row tiles of A that these units need, if A is to be copied.
    CopiedTiles<T> copy(Range tiles, Range units, std::int64_t k, std::int64_t depth) const {
        T *const memory = own + p.packed_elements() + p.halves_are_own() * p.halves_elements();
        const CopiedTiles<T> copied{memory, depth, p.height, p.a.step == 1};
        if (!p.copies) return copied;
        const std::int64_t count = tiles.end - tiles.begin;
        const bool one_block = units.begin / count == (units.end - 1) / count;
        const std::int64_t first = one_block ? units.begin % count : 0;
        const std::int64_t stop = one_block ? (units.end - 1) % count + 1 : count;
        const Operand<T> of_all = {p.a.data + k * p.a.step, p.a.row, p.a.step};
        copied.fill(first, tiles.begin + first, stop - first, p.rows, of_all);
        return copied;
    }

    // The address where a tile of the second half is stored, one block of columns after the other.
    StoreTile<T> second_half(Range tiles, std::int64_t row, const ColumnBlock<T> &block) const {
        T *const base = p.halves_are_shared() ? reinterpret_cast<T *>(call.scratch + p.scratch().zeroed)
                                              : own + p.packed_elements();
        const std::int64_t in_group = row - p.rows.begin(tiles.begin);
        return {base + block.begin * p.group_rows() + in_group * BLOCK<T>, BLOCK<T>};
    }

    // Returns whether these `tiles` complete both halves of a block of columns.
    bool completes(std::int64_t block, std::int64_t tiles, std::int64_t all, std::int64_t half) const {
        if (!p.halves_are_shared()) return half > 0;
        int *const counter = reinterpret_cast<int *>(call.scratch) + block;
        return __atomic_add_fetch(counter, int(tiles), __ATOMIC_ACQ_REL) == all;
    }

    void add_halves(Range tiles, const ColumnBlock<T> &block) const {
        for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
            const std::int64_t row = p.rows.begin(tile);
            const int rows = int(p.rows.length(tile));
            const StoreTile<T> first = store(row, block.begin), second = second_half(tiles, row, block);
            const auto epilogue = finish(row, block.begin);
            for (int i = 0; i < rows; ++i)
                for (int j = 0; j < block.vectors; ++j) {
                    const std::int64_t e = j * LANES<T>;
                    const int n = j < block.vectors - 1 ? LANES<T> : block.last;
                    const Vec<T> begun = load_n(first.c + i * first.row + e, n);
                    const Vec<T> sum = begun + load(second.c + i * second.row + e);
                    epilogue(i, j, sum, n);
                }
            after(row, rows, block);
        }
    }
};

// Computes part `part` of `parts` of a product, with the scratch memory of the call.
template <class T, class Store, class Finish, class After>
inline void multiply(const Product<T> &product, const Call &call, int part, int parts, Store store,
                     Finish finish, After after) {
    Multiplication<T, Store, Finish, After>(product, call, store, finish, after).run(part, parts);
}

template <class T, class Store, class Finish>
inline void multiply(const Product<T> &product, const Call &call, int part, int parts, Store store,
                     Finish finish) {
    multiply(product, call, part, parts, store, finish, [](std::int64_t, int, const ColumnBlock<T> &) {});
}

}  // namespace fastnn
