// The forward pass of layers with few outputs and many features.
//
// The sums of y = x w are computed in chunks, because one chain of sums accepts a product only every four
// cycles, and a batch of one row has no other chains to keep the multipliers busy. The chunks do not depend
// on the batch, so neither do the bits of a row.
//
// Where the outputs fill at most three quarters of whole vectors, lanes are rows of the batch instead: the
// processor transposes a square of it in registers while it multiplies the previous one. Meanwhile the next
// rows are fetched, in the order of their addresses (48000x784x10 with AVX-512: 22.6 -> 13.1 ms; with
// fetching 9.9).
#pragma once

#include "families/dense_narrow.hpp"
#include "gemm/row_lanes.hpp"

namespace fastnn {

// Chunks of the sum over the K features; they are added as ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
constexpr int CHUNKS = 8;

// The most outputs whose sums stay in registers beside a square of the batch.
template <class T>
constexpr int MOST_IN_LANES =
    std::min({int(NARROW_OUTPUTS), NARROW_VECTORS * LANES<T>, (MANY_REGISTERS ? 28 : 14) - LANES<T>});

// Whether lanes are rows of the batch: if that needs at most 3/4 of the multiply-adds.
template <class T> constexpr bool lanes_are_rows(std::int64_t outputs) {
    const std::int64_t vectors = (outputs + LANES<T> - 1) / LANES<T>;
    return outputs <= MOST_IN_LANES<T> && 4 * outputs <= 3 * vectors * LANES<T>;
}

// y = x w + b, with at least CHUNKS^2 features. The parts divide the chunks, or the rows of the batch.
template <class T> class NarrowForward {
public:
    NarrowForward(const Call &call, std::int64_t matrix)
        : NarrowForward(call, call.sizes<DenseSizes>(), matrix) {}

    static bool parts_are_chunks(const Call &call) {
        const DenseSizes size = call.sizes<DenseSizes>();
        return size.batch == 1 && size.M <= NARROW_ROWS && !parts_are_samples(size.M, size.N);
    }

    static ScratchNeeds scratch(const Call &call) {
        const std::int64_t sums = NARROW_ROWS * SUMS_ROW * std::int64_t(sizeof(T));
        if (parts_are_chunks(call)) return {0, sums, 0};
        return {0, 0, sums};
    }

    void run_chunks(const Call &call, int part, int parts) const {
        make_chunks({0, M}, share(CHUNKS, part, parts), reinterpret_cast<T *>(call.scratch));
    }
    void finish_chunks(const Call &call) const { add_chunks({0, M}, reinterpret_cast<T *>(call.scratch)); }

    void run_rows(Range rows, T *sums) const {
        for (std::int64_t row = run_lanes(rows); row < rows.end; row += NARROW_ROWS) {
            const Range group = {row, row + NARROW_ROWS < rows.end ? row + NARROW_ROWS : rows.end};
            make_chunks(group, {0, CHUNKS}, sums);
            add_chunks(group, sums);
        }
    }

private:
    using op = operands::DENSE_FORWARD;
    const std::int64_t M, K, N;
    const T *const x, *const w, *const b;
    T *const y;
    const int activation;
    const ColumnBlock<T> outputs;
    const Tiles chunks;

    NarrowForward(const Call &call, const DenseSizes &size, std::int64_t matrix)
        : M(size.M), K(size.K), N(size.N), x(call.in<T>(op::x) + matrix * M * K),
          w(call.in<T>(op::w) + matrix * K * N),
          b(call.in<T>(op::b) ? call.in<T>(op::b) + matrix * N : nullptr),
          y(call.out<T>(op::y) + matrix * M * N), activation(call.activation), outputs(N, 0),
          chunks(K, (K + CHUNKS - 1) / CHUNKS) {}

    // The sums are stored row by row, and within a row chunk by chunk.
    static constexpr std::int64_t SUMS = NARROW_VECTORS * LANES<T>, SUMS_ROW = CHUNKS * SUMS;

    void make_chunks(Range rows, Range mine, T *sums) const {
        std::int64_t chunk = mine.begin;
        if (rows.end - rows.begin == 1)
            for (; chunk + 4 <= mine.end; chunk += 4)
                outputs.vectors == 1 ? make_four_chunks<1>(rows.begin, chunk, sums)
                                     : make_four_chunks<2>(rows.begin, chunk, sums);
        const Tiles tiles(rows.end - rows.begin, tile_rows(outputs.vectors));
        for (; chunk < mine.end; ++chunk) {
            const std::int64_t k = chunks.begin(chunk);
            for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                const std::int64_t row = tiles.begin(tile);
                tile_of_size<T>(
                    int(tiles.length(tile)), outputs.vectors, {x + (rows.begin + row) * K + k, K, 1},
                    {w + k * N, N, outputs.last, false}, chunks.length(chunk), {nullptr, 0},
                    StoreTile<T>{sums + row * SUMS_ROW + chunk * SUMS, SUMS_ROW, nullptr, false, true});
            }
        }
    }

    // Four independent chains of sums.
    template <int VECTORS> void make_four_chunks(std::int64_t row, std::int64_t chunk, T *sums) const {
        Vec<T> sum[4][VECTORS] = {};
        std::int64_t first[4], least = K;
        for (int c = 0; c < 4; ++c) {
            first[c] = chunks.begin(chunk + c);
            least = chunks.length(chunk + c) < least ? chunks.length(chunk + c) : least;
        }
        const auto add = [&](int c, std::int64_t k) {
            const Vec<T> element = broadcast(x[row * K + k]);
            for (int j = 0; j < VECTORS - 1; ++j)
                sum[c][j] = fma(element, load(w + k * N + j * LANES<T>), sum[c][j]);
            constexpr int LAST = VECTORS - 1;
            sum[c][LAST] = fma(element, load_first(w + k * N + LAST * LANES<T>, outputs.last), sum[c][LAST]);
        };
        for (std::int64_t k = 0; k < least; ++k)
            for (int c = 0; c < 4; ++c) add(c, first[c] + k);
        for (int c = 0; c < 4; ++c) {
            if (chunks.length(chunk + c) > least) add(c, first[c] + least);
            for (int j = 0; j < VECTORS; ++j) store(sums + (chunk + c) * SUMS + j * LANES<T>, sum[c][j]);
        }
    }

    // The sum over all chunks, of which chunk(c) is the sum over chunk c.
    template <class Chunk> static Vec<T> add_up(Chunk chunk) {
        Vec<T> sum[CHUNKS];
        for (int c = 0; c < CHUNKS; ++c) sum[c] = chunk(c);
        for (int width = 1; width < CHUNKS; width *= 2)
            for (int c = 0; c < CHUNKS; c += 2 * width) sum[c] += sum[c + width];
        return sum[0];
    }
    Vec<T> with_bias(Vec<T> sum, std::int64_t column, int n) const {
        return b ? sum + load_n(b + column, n) : sum;
    }

    void add_chunks(Range rows, const T *sums) const {
        for (std::int64_t row = rows.begin; row < rows.end; ++row, sums += SUMS_ROW)
            for_vectors<T>(0, N, [=](std::int64_t column, int n) {
                const auto chunk = [=](int c) { return load(sums + c * SUMS + column); };
                store_n(y + row * N + column, with_bias(add_up(chunk), column, n), n);
            });
        activate(activation, y + rows.begin * N, N, rows.end - rows.begin, N);
    }

    // Computes LANES rows at a time, if their lanes are rows; returns the first row that is left.
    template <int OUTPUTS = MOST_IN_LANES<T>> std::int64_t run_lanes(Range rows) const {
        if constexpr (OUTPUTS > 1) {
            if (N != OUTPUTS) return run_lanes<OUTPUTS - 1>(rows);
            if constexpr (lanes_are_rows<T>(OUTPUTS)) {
                std::int64_t row = rows.begin;
                for (; row + LANES<T> <= rows.end; row += LANES<T>) {
                    const bool has_next = row + 2 * LANES<T> <= rows.end;
                    multiply_lanes<OUTPUTS>(row, x + (has_next ? row + LANES<T> : row) * K);
                }
                return row;
            }
        }
        return rows.begin;
    }

    // Computes LANES rows, and fetches the elements from `next` on.
    template <int OUTPUTS> void multiply_lanes(std::int64_t row, const T *next) const {
        Vec<T> sums[CHUNKS][OUTPUTS];
        for (int c = 0; c < CHUNKS; ++c) sum_chunk<OUTPUTS>(row, c, next, sums[c]);
        for (int column = 0; column < OUTPUTS; column += LANES<T>) {
            const int width = std::min(OUTPUTS - column, LANES<T>);
            Vec<T> square[LANES<T>] = {};
            for (int n = 0; n < width; ++n) square[n] = add_up([&](int c) { return sums[c][column + n]; });
            transpose_block<T>(square);
            for (int i = 0; i < LANES<T>; ++i)
                store_n(y + (row + i) * N + column, with_bias(square[i], column, width), width);
        }
        activate(activation, y + row * N, N, LANES<T>, N);
    }

    // The sums of LANES rows over one chunk of the features: a vector for each output.
    template <int OUTPUTS>
    [[gnu::noinline]] void sum_chunk(std::int64_t row, int chunk, const T *next,
                                     Vec<T> (&sums)[OUTPUTS]) const {
        Vec<T> sum[OUTPUTS] = {};
        const auto add = [&, first = x + row * K](std::int64_t k, int width) INLINED {
#pragma GCC unroll 16
            for (int i = 0; i < LANES<T>; i += VECTORS_PER_LINE) fetch_ahead(next + (k + i) * LANES<T>);
            add_row_lanes<T, OUTPUTS>(first + k, K, LANES<T>, width, w + k * OUTPUTS, OUTPUTS, 1, sum);
        };
        std::int64_t k = chunks.begin(chunk);
        const std::int64_t end = chunks.begin(chunk + 1);
        for (; k + LANES<T> <= end; k += LANES<T>) add(k, LANES<T>);
        if (k < end) add(k, int(end - k));
#pragma GCC unroll 16
        for (int n = 0; n < OUTPUTS; ++n) sums[n] = sum[n];
    }
};

}  // namespace fastnn
