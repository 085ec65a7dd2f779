// Dense kernels for layers with few outputs, such as classes, where rows of w do not fill whole vectors.
//
// Such a product moves much memory for little arithmetic, and its rows (40 bytes for ten classes) start
// anywhere in a cache line. Therefore weights are updated and transposed many rows at a time, through a
// buffer: a masked load after a masked store to the same line waits for the store (one step of 1x7744x10 took
// 79 us, and takes 12 with the buffer). The sums of y = x w are computed in chunks, because one chain of sums
// accepts a product only every four cycles, and a batch of one row has no other chains to keep the
// multipliers busy.
#pragma once

#include "families/act.hpp"
#include "gemm/tile.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The largest number of outputs of these kernels: at most two vectors, which are one block of columns.
constexpr std::int64_t NARROW_OUTPUTS = 16;
constexpr int NARROW_VECTORS = 2;
static_assert(NARROW_VECTORS <= TILE_COLUMNS);

template <class T> constexpr bool is_narrow(std::int64_t outputs) {
    return outputs <= NARROW_OUTPUTS && outputs <= NARROW_VECTORS * LANES<T>;
}

// Chunks of the sum over the K features; they are added as ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7)).
constexpr int CHUNKS = 8;

// Rows of y, or of w, that are processed at a time.
constexpr std::int64_t NARROW_ROWS = 48;

// A single output, as of a regression or a yes/no decision, would fill one lane of each vector: with enough
// features, vectors run along these instead.
template <class T> constexpr bool is_single(std::int64_t features, std::int64_t outputs) {
    return outputs == 1 && features >= LANES<T>;
}

// y = x w + b for ROWS samples and a single output. Chains of sums take vectors of features in turn.
template <class T, int ROWS>
void single_output(std::int64_t K, const T *x, const T *w, const T *b, T *y) {
    constexpr int CHAINS = 4;
    Vec<T> sum[ROWS][CHAINS] = {};
    const auto add = [&](int chain, std::int64_t k, int n) INLINED {
        const Vec<T> weights = load_n(w + k, n);
#pragma GCC unroll 2
        for (int i = 0; i < ROWS; ++i)
            sum[i][chain] = fma(load_n(x + i * K + k, n), weights, sum[i][chain]);
    };
    std::int64_t k = 0;
    for (; k + CHAINS * LANES<T> <= K; k += CHAINS * LANES<T>)
#pragma GCC unroll 4
        for (int chain = 0; chain < CHAINS; ++chain) add(chain, k + chain * LANES<T>, LANES<T>);
#pragma GCC unroll 4
    for (int chain = 0; chain < CHAINS; ++chain, k += LANES<T>)
        if (k < K) add(chain, k, int(K - k < LANES<T> ? K - k : LANES<T>));
    for (int i = 0; i < ROWS; ++i)
        y[i] = sum_lanes<T>((sum[i][0] + sum[i][1]) + (sum[i][2] + sum[i][3])) + (b ? *b : T(0));
}

template <class T>
void single_outputs(Range rows, std::int64_t K, const T *x, const T *w, const T *b, int activation, T *y) {
    std::int64_t row = rows.begin;
    for (; row + 2 <= rows.end; row += 2) single_output<T, 2>(K, x + row * K, w, b, y + row);
    if (row < rows.end) single_output<T, 1>(K, x + row * K, w, b, y + row);
    activate(activation, y + rows.begin, rows.end - rows.begin, 1, rows.end - rows.begin);
}

// If the matrix of the batch is larger than the weights, the parts divide its rows, so that a thread finds
// the results of its images in its cache from layer to layer. Otherwise the parts divide the weights.
inline bool parts_are_samples(std::int64_t M, std::int64_t N) { return M > N; }

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
        for (std::int64_t row = rows.begin; row < rows.end; row += NARROW_ROWS) {
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

    void add_chunks(Range rows, const T *sums) const {
        for (std::int64_t row = rows.begin; row < rows.end; ++row, sums += SUMS_ROW)
            for_vectors<T>(0, N, [=](std::int64_t column, int n) {
                Vec<T> sum[CHUNKS];
                for (int c = 0; c < CHUNKS; ++c) sum[c] = load(sums + c * SUMS + column);
                for (int width = 1; width < CHUNKS; width *= 2)
                    for (int c = 0; c < CHUNKS; c += 2 * width) sum[c] += sum[c + width];
                if (b) sum[0] += load_n(b + column, n);
                store_n(y + row * N + column, sum[0], n);
            });
        activate(activation, y + rows.begin * N, N, rows.end - rows.begin, N);
    }
};

// Bytes of the transposed block of narrow_dx.
template <class T> constexpr std::int64_t narrow_dx_bytes(std::int64_t N) { return N * BLOCK_ROW_BYTES; }

// dx = dy w^T, for one block of rows of w at a time, which is transposed into `panel`.
// dy (M, N), w (K, N), y of the activation (M, K) or null -> dx (M, K)
template <class T>
void narrow_dx(std::int64_t M, std::int64_t K, std::int64_t N, const T *dy, const T *w, const T *y,
               int activation, int part, int parts, T *panel, T *dx) {
    const Range all = {0, ColumnBlock<T>::count(K)};
    const bool of_batch = parts_are_samples(M, N);
    const Range blocks = of_batch ? all : share(all.end, part, parts);
    const Range samples = of_batch ? share(M, part, parts) : Range{0, M};
    if (samples.begin >= samples.end) return;
    for (std::int64_t index = blocks.begin; index < blocks.end; ++index) {
        const ColumnBlock<T> block(K, index);
        transpose<T, true>(w + block.begin * N, N, block.width, N, panel, BLOCK<T>);
        const Tiles tiles(samples.end - samples.begin, tile_rows(block.vectors));
        for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
            const std::int64_t row = samples.begin + tiles.begin(tile), at = row * K + block.begin;
            const int rows = int(tiles.length(tile));
            tile_of_size<T>(rows, block.vectors, {dy + row * N, N, 1}, {panel, BLOCK<T>, block.last, true}, N,
                            {nullptr, 0}, StoreTile<T>{dx + at, K});
            if (activation) deactivate(activation, y + at, dx + at, K, rows, block.width);
        }
    }
}

template <class T> constexpr std::int64_t narrow_update_bytes(std::int64_t N) {
    return (NARROW_ROWS * N + LANES<T>)*std::int64_t(sizeof(T));
}

// Updates w with dw = x^T dy, in one pass over all elements of some rows.  x (M, K), dy (M, N) -> w (K, N)
template <class T, class Update>
void narrow_update(std::int64_t M, std::int64_t K, std::int64_t N, const T *x, const T *dy,
                   const Update &update, int part, int parts, T *gradient) {
    const Range mine = share(K, part, parts, LANES<T>);
    const ColumnBlock<T> columns(N, 0);
    for (std::int64_t k = mine.begin; k < mine.end; k += NARROW_ROWS) {
        const std::int64_t count = k + NARROW_ROWS < mine.end ? NARROW_ROWS : mine.end - k;
        const Tiles tiles(N == 1 ? 0 : count, tile_rows(columns.vectors));
        for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
            const std::int64_t row = tiles.begin(tile);
            tile_of_size<T>(int(tiles.length(tile)), columns.vectors, {x + k + row, 1, K},
                                            {dy, N, columns.last, false}, M, {nullptr, 0},
                                            StoreTile<T>{gradient + row * N, N, nullptr, false, true});
        }
        for (std::int64_t index = 0; N == 1 && index < ColumnBlock<T>::count(count); ++index) {
            const ColumnBlock<T> features(count, index);
            tile_of_size<T>(1, features.vectors, {dy, 1, 1}, {x + k + features.begin, K, features.last, false},
                            M, {nullptr, 0},
                            StoreTile<T>{gradient + features.begin, count, nullptr, false, true});
        }
        for_vectors<T>(0, count * N,
                       [=](std::int64_t e, int n) { update(k * N + e, load_n(gradient + e, n), n); });
    }
}

}  // namespace fastnn
