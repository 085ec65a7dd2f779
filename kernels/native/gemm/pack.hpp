// Copies operands of a matrix product where reading them in place would be slow.
#pragma once

#include "gemm/tile.hpp"

namespace fastnn {

// Rows of a packed block of B. Wide blocks (AVX-512) take 128 KiB, an eighth to a half of an L2 cache;
// smaller blocks that fit into L1 were slower on Zen 5. Narrow blocks take 16 KiB, half of an L1 cache.
constexpr std::int64_t PACKED_ROWS = BLOCK_ROW_BYTES >= 256 ? 512 : 256;

// Prefetch distance, in rows, when a block of B is read for the first time (to pack it or in a tile). Each
// row is in a page of its own, and the hardware does not prefetch across pages. On Zen 4, forward products:
// 256x1024x1024, packed, 76 -> 88 % of the peak (8 and 24 rows are as good); 30x784x900 with weights larger
// than L2 45 -> 85 %, 50x784x300 55 -> 88 %.
constexpr std::int64_t ROWS_AHEAD = 16;

// Blocks of B that are packed together, so that 256 bytes of a row are read at a time. Packing narrow blocks
// one by one would visit four times as many pages (forward product of 256x1024x1024 for x86-64-v3: 97 -> 101
// GFLOP/s).
constexpr int PACKED_BLOCKS = BLOCK_ROW_BYTES < 256 ? int(256 / BLOCK_ROW_BYTES) : 1;

// Blocks of B, copied so that their rows are contiguous and can be loaded by whole vectors.
template <class T> struct PackedBlocks {
    T *data;
    std::int64_t depth;

    static std::int64_t elements(std::int64_t depth) { return PACKED_BLOCKS * depth * BLOCK<T>; }

    Rows<T> operator[](const ColumnBlock<T> &block) const {
        return {data + block.index % PACKED_BLOCKS * depth * BLOCK<T>, BLOCK<T>, block.last, true};
    }

    // Packs the group of blocks that starts at block `first`, up to block `last`. The rows of B start at `b`
    // and are `row` elements apart.
    void fill(const T *b, std::int64_t row, const ColumnBlock<T> &first, const ColumnBlock<T> &last) const {
        const std::int64_t together = (first.index / PACKED_BLOCKS + 1) * PACKED_BLOCKS * BLOCK<T>;
        const std::int64_t end = last.begin + last.width < together ? last.begin + last.width : together;
        for (std::int64_t k = 0; k < depth; ++k) {
            const T *const from = b + k * row + first.begin;
            T *const to = data + (first.index % PACKED_BLOCKS * depth + k) * BLOCK<T>;
            for (std::int64_t e = 0; e < end - first.begin; e += VECTORS_PER_LINE * LANES<T>)
                __builtin_prefetch(from + ROWS_AHEAD * row + e);
            if (end - first.begin == PACKED_BLOCKS * BLOCK<T>)
                for_constants<PACKED_BLOCKS * TILE_COLUMNS>([&](auto j) INLINED {
                    constexpr int block = j / TILE_COLUMNS, vector = j % TILE_COLUMNS;
                    store(to + block * depth * BLOCK<T> + vector * LANES<T>, load(from + j * LANES<T>));
                });
            else
                for_vectors<T>(0, end - first.begin, [=](std::int64_t e, int n) {
                    store(to + e / BLOCK<T> * depth * BLOCK<T> + e % BLOCK<T>, load_n(from + e, n));
                });
        }
    }
};

// An operand B in panel form: `rows` rows, cut into blocks of columns that are stored one after the other.
template <class T> struct Panels {
    const T *data;
    std::int64_t rows;

    static std::int64_t elements(std::int64_t rows, std::int64_t columns) {
        return rows * ((columns + LANES<T> - 1) / LANES<T> * LANES<T>);
    }
    static std::int64_t width(const ColumnBlock<T> &block) { return block.vectors * LANES<T>; }
    Rows<T> operator[](const ColumnBlock<T> &block) const {
        return {data + block.begin * rows, width(block), block.last, true};
    }
    // Calls body(column, panel, stride) for each vector of columns: its first row is at `panel`.
    template <class Body>
    static void for_columns(std::int64_t columns, std::int64_t rows, T *data, Body body) {
        for (std::int64_t index = 0; index < ColumnBlock<T>::count(columns); ++index) {
            const ColumnBlock<T> block(columns, index);
            T *const panel = data + block.begin * rows;
            const std::int64_t stride = width(block);
            for_vectors<T>(0, block.width,
                           [=](std::int64_t e, int n) { body(block.begin + e, n, panel + e, stride); });
        }
    }
};

// Tiles of A, copied one after the other: by rows, or by columns if A is a transpose. In place, the rows may
// be a multiple of 4 KiB apart and evict each other from the L1 cache.
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
    // Copies `count` tiles of A, starting with tile `index` of `rows`, to the positions starting at `place`.
    void fill(std::int64_t place, std::int64_t index, std::int64_t count, const Tiles &rows,
              Operand<T> a) const {
        if (by_rows) return fill_rows(place, index, count, rows, a);
        for (std::int64_t tile = 0; tile < count; tile += TOGETHER)
            fill_columns(place + tile, index + tile, count - tile < TOGETHER ? count - tile : TOGETHER, rows,
                         a);
    }

private:
    // Tiles that are copied together if A is a transpose. One tile uses only a few bytes of each cache line,
    // and where columns are a multiple of 4 KiB apart the line would be evicted before the next tile.
    static constexpr std::int64_t TOGETHER = 32;
    static constexpr std::int64_t COLUMNS_AHEAD = 4;  // that are fetched meanwhile

    void fill_rows(std::int64_t place, std::int64_t index, std::int64_t count, const Tiles &rows,
                   Operand<T> a) const {
        for (std::int64_t tile = 0; tile < count; ++tile) {
            const std::int64_t begin = rows.begin(index + tile), length = rows.length(index + tile);
            T *const to = data + elements(place + tile, height, depth);
            for (std::int64_t row = 0; row < length; ++row)
                copy(to + row * (depth + GAP), a.data + (begin + row) * a.row, depth);
        }
    }

    void fill_columns(std::int64_t place, std::int64_t index, std::int64_t count, const Tiles &rows,
                      Operand<T> a) const {
        std::int64_t begin[TOGETHER + 1];
        for (std::int64_t tile = 0; tile <= count; ++tile) begin[tile] = rows.begin(index + tile);
        for (std::int64_t column = 0; column < depth; ++column)
            for (std::int64_t tile = 0; tile < count; ++tile) {
                const T *const from = a.data + column * a.step + begin[tile];
                __builtin_prefetch(from + COLUMNS_AHEAD * a.step);
                copy(data + elements(place + tile, height, depth) + column * height, from,
                     begin[tile + 1] - begin[tile]);
            }
    }

    // Stores whole vectors: elements after the last one are overwritten later or belong to the gap.
    static void copy(T *to, const T *from, std::int64_t count) {
        for_vectors<T>(0, count, [=](std::int64_t e, int n) { store(to + e, load_n(from + e, n)); });
    }
};

}  // namespace fastnn
