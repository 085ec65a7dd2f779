// Copies of operands of a matrix product, where reading them in place would be slow.
#pragma once

#include "tile.hpp"

namespace fastnn {

// Rows of a packed block of B: 128 KiB, an eighth to a half of a second-level cache. On Zen 5 smaller blocks,
// for the first level, were slower.
constexpr std::int64_t PACKED_ROWS = 131072 / BLOCK_ROW_BYTES < 512 ? 131072 / BLOCK_ROW_BYTES : 512;

// Rows ahead that are fetched while a block of B is packed: they lie in pages of their own, where hardware
// does not fetch ahead (forward product of 256x1024x1024 on Zen 4: 76 -> 88 % of the peak; 8 and 24 do as well).
constexpr std::int64_t PACK_AHEAD = 16;

// Rows of B, copied to where they lie side by side and can be loaded by whole vectors.
template <class T>
inline Rows<T> pack(Rows<T> b, const ColumnBlock<T> &block, std::int64_t depth, T *scratch) {
    for (std::int64_t k = 0; k < depth; ++k) {
        const T *from = b.data + k * b.row;
#pragma GCC unroll 4
        for (int j = 0; j < TILE_COLUMNS; ++j) __builtin_prefetch(from + PACK_AHEAD * b.row + j * LANES<T>);
        for_vectors<T>(0, block.width, [=](std::int64_t e, int n) {
            store(scratch + k * BLOCK<T> + e, load_n(from + e, n));
        });
    }
    return {scratch, BLOCK<T>, block.last, true};
}

// Tiles of A, copied one after the other: by rows, or, if A is a transpose, by columns. In place its rows
// may lie a multiple of 4 KiB apart, where they evict each other from the first-level cache.
template <class T> struct CopiedTiles {
    T *data;
    std::int64_t depth;
    int height;    // of a whole tile
    bool by_rows;  // rows of A are contiguous, else its columns

    static constexpr std::int64_t GAP = 64 / sizeof(T);  // so that the copies do not lie 4 KiB apart, either

    static std::int64_t elements(std::int64_t tiles, int height, std::int64_t depth) {
        return tiles * height * (depth + GAP);
    }
    Operand<T> operator[](std::int64_t tile) const {
        T *const first = data + elements(tile, height, depth);
        return by_rows ? Operand<T>{first, depth + GAP, 1} : Operand<T>{first, 1, height};
    }
    void fill(std::int64_t tile, int rows, Operand<T> a) const {
        T *const to = data + elements(tile, height, depth);
        const std::int64_t lines = by_rows ? rows : depth, length = by_rows ? depth : rows;
        const std::int64_t from_line = by_rows ? a.row : a.step, to_line = by_rows ? depth + GAP : height;
        for (std::int64_t line = 0; line < lines; ++line)
            for_vectors<T>(0, length, [=](std::int64_t e, int n) {
                store_n(to + line * to_line + e, load_n(a.data + line * from_line + e, n), n);
            });
    }
};

}  // namespace fastnn
