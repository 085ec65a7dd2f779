// The weight gradient dw = x^T dy of a large batch in a small layer.
//
// The sums over the batch run in rounds of rows that stay in the caches while all tiles read them
// (10000x32x16 for x86-64-v3: 127 -> 95 us). Where dw has fewer columns than a vector has lanes, its
// transpose dy^T x is computed instead, if that fills more lanes (10000x16x4 with AVX-512: 44 -> 12 us). Each
// sum is the sum of sums over chunks of the batch (weight_chunks), so that threads can divide the batch as
// they do in the other passes: each finds its rows of x and dy in its own cache.
#pragma once

#include "families/dense_rows.hpp"

namespace fastnn {

template <class T> class ManyRowsGradient {
public:
    ManyRowsGradient(const DenseSizes &size, const T *x, const T *dy, char *scratch)
        : ManyRowsGradient(size, x, dy, scratch, fills_more_lanes(size)) {}

    static bool suits(const DenseSizes &size) {
        return size.batch == 1 && ManyRows<T>::suit(size.M, size.K, size.N);
    }
    std::int64_t tiles_bytes() const {  // the memory of for_sums_of_tiles
        return (chunks_.count * tile_elements() + LANES<T>)*std::int64_t(sizeof(T));
    }
    ScratchNeeds scratch_needs() const {
        const std::int64_t elements = (chunks_.count - 1) * chunk_stride() + chunk_elements() + LANES<T>;
        return {0, elements * std::int64_t(sizeof(T)), 0};
    }

    // The parts divide the row tiles of all chunks.
    void run(int part, int parts) const {
        const Range units = share(chunks_.count * tiles_.count, part, parts);
        for (std::int64_t unit = units.begin; unit < units.end;) {
            const std::int64_t chunk = unit / tiles_.count, first = unit % tiles_.count;
            const std::int64_t left = first + units.end - unit;
            const Range mine = {first, left < tiles_.count ? left : tiles_.count};
            sum_chunk(chunk, mine);
            unit += mine.end - mine.begin;
        }
    }

    // Calls body(element, sum, n) for the vectors of this part's share of dw or its transpose. The chunks are
    // added in order.
    template <class Body> void for_sums(int part, int parts, Body body) const {
        for_vectors_of_rows(
            share(rows_, part, parts), sums_, row_, columns_,
            [=](std::int64_t e, const T *first, int n) { body(e, sum_of_chunks(first, chunk_stride()), n); });
    }

    // The same for a single part, without run(): tile by tile, in the L1 cache.
    template <class Body> void for_sums_of_tiles(T *memory, Body body) const {
        const std::int64_t size = tile_elements(), row = columns_ < LANES<T> ? columns_ : BLOCK<T>;
        for (std::int64_t column = 0; column < columns_; column += block_ * LANES<T>)
            for (std::int64_t tile = 0; tile < tiles_.count; ++tile) {
                for (std::int64_t chunk = 0; chunk < chunks_.count; ++chunk) {
                    const Range safe = safe_rows(chunk), rest = {safe.end, chunks_.begin(chunk + 1)};
                    const bool has_safe = safe.begin < safe.end;
                    T *const to = memory + chunk * size;
                    if (has_safe) sum_tile(tile, column, safe, true, 0, false, to, row);
                    if (rest.begin < rest.end) sum_tile(tile, column, rest, false, 0, has_safe, to, row);
                }
                const std::int64_t place = tiles_.begin(tile) * columns_ + column;
                for_vectors_of_rows({0, tiles_.length(tile)}, memory, row, width(column),
                                    [=](std::int64_t e, const T *first, int n) {
                                        body(place + e, sum_of_chunks(first, size), n);
                                    });
            }
    }

    // Adds the chunks in order and stores dw.
    void finish(T *dw) const {
        if (!transposed_)
            return for_sums(0, 1, [=](std::int64_t e, Vec<T> sum, int n) { store_n(dw + e, sum, n); });
        for (std::int64_t chunk = 1; chunk < chunks_.count; ++chunk)
            for_vectors<T>(0, chunk_elements(), [=, more = sums(chunk)](std::int64_t e, int) {
                store(sums_ + e, load(sums_ + e) + load(more + e));
            });
        transpose<T, false>(sums_, row_, rows_, columns_, dw, rows_);
    }

private:
    // Rows of x and dy of a round: what stays in a cache, within these bounds, or the chunk if there are no
    // other tiles to read them again. Narrow vectors profit from L1;
    // wide ones find their operands in L2 as fast, and lose 8 % in rounds as short (4096x64x64 on Zen 4).
    static constexpr std::int64_t ROUND_BYTES = BLOCK_ROW_BYTES >= 256 ? 196608 : 49152;
    static constexpr std::int64_t LEAST_ROUND = 64, MOST_ROUND = 512;

    const std::int64_t M_;
    const bool transposed_;
    const std::int64_t rows_, columns_;  // of dw or its transpose
    const T *const a_, *const b_;        // (M, rows) and (M, columns)
    const std::int64_t row_;             // of sums: columns, padded to whole vectors if they fill one
    const int block_;                    // vectors of a block of columns
    const Tiles tiles_, chunks_;
    T *const sums_;  // of each chunk: (rows, row_)

    ManyRowsGradient(const DenseSizes &size, const T *x, const T *dy, char *scratch, bool transposed)
        : M_(size.M), transposed_(transposed), rows_(transposed ? size.N : size.K),
          columns_(transposed ? size.K : size.N), a_(transposed ? dy : x), b_(transposed ? x : dy),
          row_(columns_ < LANES<T> ? columns_ : padded(columns_)),
          block_(block_vectors(rows_, vectors(columns_))), tiles_(rows_, tile_rows(block_)),
          chunks_(M_, rows_of_chunk(size)), sums_(reinterpret_cast<T *>(scratch)) {}

    static std::int64_t vectors(std::int64_t columns) { return (columns + LANES<T> - 1) / LANES<T>; }
    static std::int64_t padded(std::int64_t columns) { return vectors(columns) * LANES<T>; }

    // The most vectors of a block for which one tile holds all rows, so that each block is read once: with
    // ten rows and AVX-512, two instead of four (48000x784x10: 9.8 -> 7.5 ms). With a block of one vector,
    // each element of the other matrix would be loaded for a single product.
    static int block_vectors(std::int64_t rows, std::int64_t vectors) {
        const int most = int(std::min<std::int64_t>(vectors, TILE_COLUMNS));
        for (int block = most; block > 1; --block)
            if (rows <= tile_rows(block)) return block;
        return most;
    }

    // Whether the transpose needs at most 4/5 of the multiply-adds. An update takes dw as it is; a column is
    // its own transpose.
    static bool fills_more_lanes(const DenseSizes &size) {
        if (updates_by_chunks(size) && size.N > 1) return false;
        return 5 * size.N * vectors(size.K) <= 4 * size.K * vectors(size.N);
    }

    std::int64_t tile_elements() const { return tile_rows(block_) * BLOCK<T>; }
    std::int64_t chunk_elements() const { return rows_ * row_; }
    // The sums of a chunk are at the same place for nearly all layers, so that no thread writes where another
    // one has written before; and those of different chunks not in the same set of a cache.
    std::int64_t chunk_stride() const {
        return std::max(chunk_elements(), SMALL_MATRIX) + 2 * CACHE_LINE / std::int64_t(sizeof(T));
    }
    T *sums(std::int64_t chunk) const { return sums_ + chunk * chunk_stride(); }

    // The sum of all chunks at one place; each has its sums `apart` elements after those of the one before.
    Vec<T> sum_of_chunks(const T *first, std::int64_t apart) const {
        Vec<T> sum = load(first);
        for (std::int64_t chunk = 1; chunk < chunks_.count; ++chunk) sum += load(first + chunk * apart);
        return sum;
    }

    // Calls body(element of the matrix, place in `sums`, n) for the vectors of some rows of `width` columns.
    // If all rows follow each other, vectors go on over their ends.
    template <class Body>
    void for_vectors_of_rows(Range rows, const T *sums, std::int64_t row, std::int64_t width,
                             Body body) const {
        if (row == columns_ && width == columns_)
            return for_vectors<T>(rows.begin * row, rows.end * row,
                                  [=](std::int64_t e, int n) { body(e, sums + e, n); });
        for (std::int64_t i = rows.begin; i < rows.end; ++i)
            for_vectors<T>(0, width,
                           [=](std::int64_t e, int n) { body(i * columns_ + e, sums + i * row + e, n); });
    }

    // Whether rows are read in so many pieces that the processor does not foresee the next one.
    bool is_wide() const { return columns_ > 2 * block_ * LANES<T>; }

    std::int64_t round() const {
        if (tiles_.count == 1 && !is_wide()) return M_;
        const std::int64_t fitting = ROUND_BYTES / (std::int64_t(sizeof(T)) * (rows_ + columns_));
        return fitting < LEAST_ROUND ? LEAST_ROUND : fitting > MOST_ROUND ? MOST_ROUND : fitting;
    }

    // The rows of a chunk that have rows behind them: a vector at the end of a row reads into the next row.
    Range safe_rows(std::int64_t chunk) const {
        const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
        const std::int64_t beyond = padded(columns_) - columns_, ending = (beyond + columns_ - 1) / columns_;
        return {begin, M_ - ending < end ? std::max(M_ - ending, begin) : end};
    }

    void sum_chunk(std::int64_t chunk, Range tiles) const {
        const Range safe = safe_rows(chunk);
        const std::int64_t end = chunks_.begin(chunk + 1);
        for (std::int64_t m = safe.begin; m < safe.end; m += round())
            sum_round(chunk, tiles, {m, std::min(m + round(), safe.end)}, true);
        if (safe.end < end) sum_round(chunk, tiles, {safe.end, end}, false);
    }

    // Adds the products of some rows of the batch.
    void sum_round(std::int64_t chunk, Range tiles, Range batch, bool padded) const {
        const std::int64_t depth = batch.end - batch.begin;
        // The first tile fetches the rows of the next round (48000x784x10: 26 -> 7.5 ms).
        const bool fetches = is_wide() && batch.end + depth <= M_;
        for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
            const std::int64_t ahead = fetches && tile == tiles.begin ? depth * columns_ : 0;
            for (std::int64_t column = 0; column < columns_; column += block_ * LANES<T>)
                sum_tile(tile, column, batch, padded, ahead, batch.begin != chunks_.begin(chunk),
                         sums(chunk) + tiles_.begin(tile) * row_ + column, row_);
        }
    }

    // The elements of a block of columns that begins at `column`.
    std::int64_t width(std::int64_t column) const {
        return std::min<std::int64_t>(columns_ - column, block_ * LANES<T>);
    }

    // The sums of a tile over some rows of the batch; if it `continues`, added to what is there.
    void sum_tile(std::int64_t tile, std::int64_t column, Range batch, bool padded, std::int64_t ahead,
                  bool continues, T *to, std::int64_t stride) const {
        const int block = int(vectors(width(column)));
        const int last = int(width(column) - (block - 1) * LANES<T>);
        tile_of_size<T>(
            int(tiles_.length(tile)), block, {a_ + batch.begin * rows_ + tiles_.begin(tile), 1, rows_},
            {b_ + batch.begin * columns_ + column, columns_, last, padded, ahead}, batch.end - batch.begin,
            {continues ? to : nullptr, stride}, StoreTile<T>{to, stride, nullptr, false, stride >= LANES<T>});
    }
};

}  // namespace fastnn
