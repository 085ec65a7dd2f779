// The weight gradient dw = x^T dy of a large batch in a small layer.
//
// The sums over the batch run in rounds of rows that stay in the caches while all tiles read them
// (10000x32x16 for x86-64-v3: 127 -> 95 us). Where dw has fewer columns than a vector has lanes, its transpose
// dy^T x is computed instead, if that fills more lanes (10000x16x4 with AVX-512: 44 -> 12 us). From 2048 rows on,
// each sum is the sum of sums over about 1024 rows, or over a sixteenth of the batch, so that threads can
// divide the batch: a small matrix has too few tiles for them.
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
    ScratchNeeds scratch_needs() const {
        return {0, chunks_.count * chunk_elements() * std::int64_t(sizeof(T)), 0};
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

    // Adds the chunks in order and stores dw.
    void finish(T *dw) const {
        for (std::int64_t chunk = 1; chunk < chunks_.count; ++chunk)
            for_vectors<T>(0, chunk_elements(), [=, more = sums(chunk)](std::int64_t e, int) {
                store(sums_ + e, load(sums_ + e) + load(more + e));
            });
        if (transposed_) return transpose<T, false>(sums_, row_, rows_, columns_, dw, rows_);
        for (std::int64_t k = 0; k < rows_; ++k)
            for_vectors<T>(0, columns_, [=](std::int64_t e, int n) {
                store_n(dw + k * columns_ + e, load(sums_ + k * row_ + e), n);
            });
    }

private:
    static constexpr std::int64_t LEAST_CHUNK = 1024, MOST_CHUNKS = 16;
    // Rows of x and dy of a round: what stays in a cache, within these bounds, or the chunk if there are no
    // other tiles to read them again. Narrow vectors profit from L1;
    // wide ones find their operands in L2 as fast, and lose 8 % in rounds as short (4096x64x64 on Zen 4).
    static constexpr std::int64_t ROUND_BYTES = BLOCK_ROW_BYTES >= 256 ? 196608 : 49152;
    static constexpr std::int64_t LEAST_ROUND = 64, MOST_ROUND = 512;

    const std::int64_t M_;
    const bool transposed_;
    const std::int64_t rows_, columns_;  // of dw or its transpose
    const T *const a_, *const b_;        // (M, rows) and (M, columns)
    const std::int64_t row_;             // columns, padded to whole vectors
    const int block_;                    // vectors of a block of columns
    const Tiles tiles_, chunks_;
    T *const sums_;  // of each chunk: (rows, row_)

    ManyRowsGradient(const DenseSizes &size, const T *x, const T *dy, char *scratch, bool transposed)
        : M_(size.M), transposed_(transposed), rows_(transposed ? size.N : size.K),
          columns_(transposed ? size.K : size.N), a_(transposed ? dy : x), b_(transposed ? x : dy),
          row_(vectors(columns_) * LANES<T>), block_(block_vectors(rows_, vectors(columns_))),
          tiles_(rows_, tile_rows(block_)),
          chunks_(M_, M_ / LEAST_CHUNK < 2             ? M_
                      : M_ / LEAST_CHUNK < MOST_CHUNKS ? LEAST_CHUNK
                                                       : (M_ + MOST_CHUNKS - 1) / MOST_CHUNKS),
          sums_(reinterpret_cast<T *>(scratch)) {}

    static std::int64_t vectors(std::int64_t columns) { return (columns + LANES<T> - 1) / LANES<T>; }

    // The most vectors of a block for which one tile holds all rows, so that each block is read once: with
    // ten rows and AVX-512, two instead of four (48000x784x10: 9.8 -> 7.5 ms). With a block of one vector,
    // each element of the other matrix would be loaded for a single product.
    static int block_vectors(std::int64_t rows, std::int64_t vectors) {
        const int most = int(std::min<std::int64_t>(vectors, TILE_COLUMNS));
        for (int block = most; block > 1; --block)
            if (rows <= tile_rows(block)) return block;
        return most;
    }

    // Whether the transpose needs at most 4/5 of the multiply-adds.
    static bool fills_more_lanes(const DenseSizes &size) {
        return 5 * size.N * vectors(size.K) <= 4 * size.K * vectors(size.N);
    }

    std::int64_t chunk_elements() const { return rows_ * row_; }
    T *sums(std::int64_t chunk) const { return sums_ + chunk * chunk_elements(); }

    // Whether rows are read in so many pieces that the processor does not foresee the next one.
    bool is_wide() const { return row_ > 2 * block_ * LANES<T>; }

    std::int64_t round() const {
        if (tiles_.count == 1 && !is_wide()) return M_;
        const std::int64_t fitting = ROUND_BYTES / (std::int64_t(sizeof(T)) * (rows_ + columns_));
        return fitting < LEAST_ROUND ? LEAST_ROUND : fitting > MOST_ROUND ? MOST_ROUND : fitting;
    }

    void sum_chunk(std::int64_t chunk, Range tiles) const {
        const std::int64_t begin = chunks_.begin(chunk), end = chunks_.begin(chunk + 1);
        // A vector at the end of a row reads into the next row. The last rows have none behind them.
        const std::int64_t beyond = row_ - columns_, ending = (beyond + columns_ - 1) / columns_;
        const std::int64_t safe = M_ - ending < end ? std::max(M_ - ending, begin) : end;
        for (std::int64_t m = begin; m < safe; m += round())
            sum_round(chunk, tiles, m, std::min(round(), safe - m), true);
        if (safe < end) sum_round(chunk, tiles, safe, end - safe, false);
    }

    // Adds the products of `depth` rows from m on.
    void sum_round(std::int64_t chunk, Range tiles, std::int64_t m, std::int64_t depth, bool padded) const {
        const bool continues = m != chunks_.begin(chunk);
        // The first tile fetches the rows of the next round (48000x784x10: 26 -> 7.5 ms).
        const bool fetches = is_wide() && m + 2 * depth <= M_;
        for (std::int64_t tile = tiles.begin; tile < tiles.end; ++tile) {
            const std::int64_t row = tiles_.begin(tile);
            const std::int64_t ahead = fetches && tile == tiles.begin ? depth * columns_ : 0;
            for (std::int64_t column = 0; column < columns_; column += block_ * LANES<T>) {
                const int block = int(std::min<std::int64_t>(block_, vectors(columns_ - column)));
                const std::int64_t width = std::min<std::int64_t>(columns_ - column, block * LANES<T>);
                const int last = int(width - (block - 1) * LANES<T>);
                T *const place = sums(chunk) + row * row_ + column;
                tile_of_size<T>(int(tiles_.length(tile)), block, {a_ + m * rows_ + row, 1, rows_},
                                {b_ + m * columns_ + column, columns_, last, padded, ahead}, depth,
                                {continues ? place : nullptr, row_},
                                StoreTile<T>{place, row_, nullptr, false, true});
            }
        }
    }
};

}  // namespace fastnn
