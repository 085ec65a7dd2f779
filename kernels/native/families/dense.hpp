// Dense kernels: y = x w + b and its gradients. In a plan, these kernels may also apply an activation to y,
// or an activation's gradient to dx.
#pragma once

#include "families/act.hpp"
#include "families/dense_few.hpp"
#include "families/dense_narrow_forward.hpp"
#include "families/dense_rows.hpp"
#include "families/dense_rows_dw.hpp"
#include "gemm/gemm.hpp"
#include "gemm/row_sums.hpp"
#include "gemm/transpose.hpp"

namespace fastnn {

// The number of features from which sums are computed in two halves, one per half of the weight's rows
// (gemm.hpp).
constexpr std::int64_t FEATURES_TO_HALVE = 256;

template <class T> Product<T> forward_product(const Call &call, const T *x, const T *w) {
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, K = size.K, N = size.N;
    // Several products in one call cannot share the scratch memory of their second halves.
    return {M, N, K, {x, K, 1}, w, K >= FEATURES_TO_HALVE, K >= FEATURES_TO_HALVE && size.batch > 1};
}
template <class T> bool goes_by_chunks(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return is_narrow<T>(size.N) && size.K >= FEATURES_TO_HALVE && !is_single<T>(size.K, size.N);
}
// Whether the forward pass is a product of many rows by a small matrix; its sums are not halved.
template <class T> bool forward_has_many_rows(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return size.K < FEATURES_TO_HALVE && ManyRows<T>::suit(size.M, size.K, size.N);
}
template <class T> ScratchNeeds dense_forward_scratch(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    if (forward_has_many_rows<T>(call)) return ManyRows<T>::scratch(size.K, size.N);
    if (goes_by_chunks<T>(call)) return NarrowForward<T>::scratch(call);
    return forward_product<T>(call, nullptr, nullptr).scratch();
}

// y = x w + b.  x (B, M, K), w (B, K, N), b (B, N) or null -> y (B, M, N)
template <class T> void dense_forward(const Call &call, int part, int parts) {
    using op = operands::DENSE_FORWARD;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, K = size.K, N = size.N;
    if (goes_by_chunks<T>(call) && NarrowForward<T>::parts_are_chunks(call))
        return NarrowForward<T>(call, 0).run_chunks(call, part, parts);
    for (std::int64_t i = 0; i < size.batch; ++i) {
        if (is_single<T>(K, N)) {
            const T *const b = call.in<T>(op::b);
            single_outputs(share(M, part, parts), K, call.in<T>(op::x) + i * M * K, call.in<T>(op::w) + i * K,
                           b ? b + i : nullptr, call.activation, call.out<T>(op::y) + i * M);
            continue;
        }
        if (goes_by_chunks<T>(call)) {
            NarrowForward<T>(call, i).run_rows(share(M, part, parts), scratch_of<T>(call, part));
            continue;
        }
        const T *x = call.in<T>(op::x) + i * M * K, *w = call.in<T>(op::w) + i * K * N;
        const T *b = call.in<T>(op::b);
        T *y = call.out<T>(op::y) + i * M * N;
        if (forward_has_many_rows<T>(call)) {
            ManyRows<T> product(K, N, scratch_of<T>(call, part));
            product.pack(w);
            product.run(share(M, part, parts, ROWS_OF_SHARE), x, b ? b + i * N : nullptr, y,
                        [=, activation = call.activation](std::int64_t row, std::int64_t rows) {
                            activate(activation, y + row * N, N, 1, rows * N);
                        });
            continue;
        }
        if (parts == 1 && has_few_rows(M)) {
            const std::int64_t half = forward_product(call, x, w).halves.length(0);
            few_rows_forward(M, K, N, half, x, w, b ? b + i * N : nullptr, y);
            activate(call.activation, y, N, M, N);
            continue;
        }
        const auto store = [=](std::int64_t row, std::int64_t column) {
            return StoreTile<T>{y + row * N + column, N};
        };
        const auto finish = [=](std::int64_t row, std::int64_t column) {
            return StoreTile<T>{y + row * N + column, N, b ? b + i * N + column : nullptr};
        };
        const auto apply = [=, activation = call.activation](std::int64_t row, int rows,
                                                             const ColumnBlock<T> &block) {
            activate(activation, y + row * N + block.begin, N, rows, block.width);
        };
        multiply(forward_product(call, x, w), call, part, parts, store, finish, apply);
    }
}

template <class T> void dense_forward_finish(const Call &call) {
    if (goes_by_chunks<T>(call) && NarrowForward<T>::parts_are_chunks(call))
        NarrowForward<T>(call, 0).finish_chunks(call);
}

template <class T> Product<T> dw_product(const Call &call, const T *x, const T *dy) {
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, K = size.K, N = size.N;
    if (N == 1) return {1, K, M, {dy, 1, 1}, x, false, false};  // one column would fill one lane
    return {K, N, M, {x, 1, K}, dy, false, true};
}
template <class T> ManyRowsGradient<T> many_rows_gradient(const Call &call) {
    using op = operands::DENSE_DW;
    return {call.sizes<DenseSizes>(), call.in<T>(op::x), call.in<T>(op::dy), call.scratch};
}
template <class T> ScratchNeeds dense_dw_scratch(const Call &call) {
    if (ManyRowsGradient<T>::suits(call.sizes<DenseSizes>()))
        return many_rows_gradient<T>(call).scratch_needs();
    return dw_product<T>(call, nullptr, nullptr).scratch();
}

// dw = x^T dy.  x (B, M, K), dy (B, M, N) -> dw (B, K, N)
template <class T> void dense_dw(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, K = size.K, N = size.N;
    if (ManyRowsGradient<T>::suits(size)) return many_rows_gradient<T>(call).run(part, parts);
    for (std::int64_t i = 0; i < size.batch; ++i) {
        const T *x = call.in<T>(op::x) + i * M * K, *dy = call.in<T>(op::dy) + i * M * N;
        T *dw = call.out<T>(op::dw) + i * K * N;
        if (has_few_rows(M) && !is_narrow<T>(N)) {
            few_rows_dw(share(K, part, parts, LANES<T>), M, K, N, x, dy,
                        [=](std::int64_t e, Vec<T> sum, int n) { store_n(dw + e, sum, n); });
            continue;
        }
        const auto store = [=](std::int64_t row, std::int64_t column) {
            return StoreTile<T>{dw + row * N + column, N};
        };
        multiply(dw_product(call, x, dy), call, part, parts, store, store);
    }
}

template <class T> void dense_dw_finish(const Call &call) {
    if (ManyRowsGradient<T>::suits(call.sizes<DenseSizes>()))
        many_rows_gradient<T>(call).finish(call.out<T>(operands::DENSE_DW::dw));
}

// Rows of dx^T before they are transposed: a multiple of all tile heights and lanes.
constexpr std::int64_t DX_ROWS = 48;

// With few outputs, transposing w is faster than transposing dx.
constexpr std::int64_t OUTPUTS_TO_TRANSPOSE_DX = 17;

template <class T> ScratchNeeds dense_dx_scratch(const Call &call) {
    const auto [batch, M, K, N] = call.sizes<DenseSizes>();
    if (ManyRows<T>::suit(M, N, K)) return ManyRows<T>::scratch(N, K);
    if (N < OUTPUTS_TO_TRANSPOSE_DX) return {0, 0, narrow_dx_bytes<T>(N)};
    return {0, 0, (DX_ROWS + N) * BLOCK_ROW_BYTES};
}

// Whether the parts of dense_dx divide the batch: if w has fewer rows than the batch, and either too few for
// all parts, or so few elements that moving w between the cores costs less than moving dx. In the second
// case, only if the parts are even.
template <class T> bool divides_batch(const DenseSizes &size, int parts) {
    const std::int64_t blocks = ColumnBlock<T>::count(size.M);
    if (size.K >= size.M) return false;
    if (size.K < 2 * LANES<T> * parts) return true;
    return size.K * size.N <= SMALL_MATRIX && (blocks % parts == 0 || blocks >= 4 * parts);
}

// dx = dy w^T, computed as dx^T = w dy^T: elements of w are broadcast, and only the two small matrices of the
// batch are transposed (transposing panels of w instead is half as fast at M = 32). The parts divide the rows
// of w, or blocks of the batch (divides_batch).
// dy (B, M, N), w (B, K, N), y of the activation (B, M, K) or null -> dx (B, M, K)
template <class T> void dense_dx(const Call &call, int part, int parts) {
    using op = operands::DENSE_DX;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, K = size.K, N = size.N;
    if (ManyRows<T>::suit(M, N, K)) {
        for (std::int64_t i = 0; i < size.batch; ++i) {
            const T *y = call.in<T>(op::y) + i * M * K;
            T *dx = call.out<T>(op::dx) + i * M * K;
            ManyRows<T> product(N, K, scratch_of<T>(call, part));
            product.pack_transpose(call.in<T>(op::w) + i * K * N);
            product.run(share(M, part, parts, ROWS_OF_SHARE), call.in<T>(op::dy) + i * M * N, nullptr, dx,
                        [=, activation = call.activation](std::int64_t row, std::int64_t rows) {
                            deactivate(activation, y + row * K, dx + row * K, K, 1, rows * K);
                        });
        }
        return;
    }
    if (has_few_rows(M)) {
        const Range rows = share(K, part, parts, LANES<T>);
        for (std::int64_t i = 0; i < size.batch; ++i) {
            const std::int64_t first = i * M * K + rows.begin;
            few_rows_dx(rows, M, K, N, call.in<T>(op::dy) + i * M * N, call.in<T>(op::w) + i * K * N,
                        call.out<T>(op::dx) + i * M * K);
            if (call.activation)
                deactivate(call.activation, call.in<T>(op::y) + first, call.out<T>(op::dx) + first, K, M,
                           rows.end - rows.begin);
        }
        return;
    }
    if (N < OUTPUTS_TO_TRANSPOSE_DX) {
        for (std::int64_t i = 0; i < size.batch; ++i)
            narrow_dx(M, K, N, call.in<T>(op::dy) + i * M * N, call.in<T>(op::w) + i * K * N,
                      call.in<T>(op::y) + i * M * K, call.activation, part, parts, scratch_of<T>(call, part),
                      call.out<T>(op::dx) + i * M * K);
        return;
    }
    const std::int64_t blocks = ColumnBlock<T>::count(M);
    const bool parts_are_rows = !divides_batch<T>(size, parts);
    const Range of_w = parts_are_rows ? share(K, part, parts, LANES<T>) : Range{0, K};
    const Range of_batch = parts_are_rows ? Range{0, blocks} : share(blocks, part, parts);
    if (of_w.begin >= of_w.end) return;
    T *const result = scratch_of<T>(call, part), *const packed = result + DX_ROWS * BLOCK<T>;
    for (std::int64_t i = 0; i < size.batch; ++i) {
        const T *dy = call.in<T>(op::dy) + i * M * N, *w = call.in<T>(op::w) + i * K * N;
        T *dx = call.out<T>(op::dx) + i * M * K;
        for (std::int64_t index = of_batch.begin; index < of_batch.end; ++index) {
            const ColumnBlock<T> batch(M, index);
            transpose<T, true>(dy + batch.begin * N, N, batch.width, N, packed, BLOCK<T>);
            for (std::int64_t k = of_w.begin; k < of_w.end; k += DX_ROWS) {
                const std::int64_t rows = of_w.end - k < DX_ROWS ? of_w.end - k : DX_ROWS;
                const Tiles tiles(rows, tile_rows(batch.vectors));
                for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                    const std::int64_t row = tiles.begin(tile);
                    tile_of_size<T>(int(tiles.length(tile)), batch.vectors, {w + (k + row) * N, N, 1},
                                    {packed, BLOCK<T>, batch.last, true}, N, {nullptr, 0},
                                    StoreTile<T>{result + row * BLOCK<T>, BLOCK<T>});
                }
                const std::int64_t begin = batch.begin * K + k;
                transpose<T, false>(result, BLOCK<T>, rows, batch.width, dx + begin, K);
                const T *y = call.in<T>(op::y) + i * M * K + begin;
                deactivate(call.activation, y, dx + begin, K, batch.width, rows);
            }
        }
    }
}

// Calls body(column, sum, n) for each vector of sum_m dy_m, dy (M, N).
template <class T, class Body>
inline void sum_rows(const T *dy, std::int64_t M, std::int64_t N, int part, int parts, Body body) {
    const Range columns = share(N, part, parts, LANES<T>);
    for_vectors<T>(columns.begin, columns.end, [=](std::int64_t column, int n) {
        Vec<T> sum{};
        for (std::int64_t m = 0; m < M; ++m) sum += load_n(dy + m * N + column, n);
        body(column, sum, n);
    });
}

// The number of rows from which the sum is computed in chunks: a single float sum would lose digits, and a
// single thread would take long, or draw rows out of the caches of the others.
constexpr std::int64_t ROWS_TO_CHUNK = 2 * CHUNK_ROWS;

inline bool sums_chunks(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return size.batch == 1 && size.M >= ROWS_TO_CHUNK;
}
template <class T> Chunks<T> db_chunks(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return {call.scratch, size.M, size.N, 1};
}
template <class T> ScratchNeeds dense_db_scratch(const Call &call) {
    return sums_chunks(call) ? db_chunks<T>(call).needs() : ScratchNeeds{};
}

// Chunks that are summed at the same time where a row has one or two vectors: a single sum would wait for
// each of its additions (10000x4: 7.0 -> 4.7 us).
constexpr std::int64_t CHUNKS_TOGETHER = 4;

// The sums over up to CHUNKS_TOGETHER chunks from `first` on, for one block of columns. `rows` are those of
// the first chunk and all after it.
template <class T, class B>
inline void sum_chunks(const T *rows, const Chunks<T> &chunks, std::int64_t first, std::int64_t end,
                       B block) {
    const std::int64_t N = chunks.C;
    if (N <= 2 * LANES<T> && first + CHUNKS_TOGETHER <= end &&
        chunks.rows(first + CHUNKS_TOGETHER - 1).end % CHUNK_ROWS == 0) {
        typename B::Values sum[CHUNKS_TOGETHER];
        for (auto &each : sum) each = block.all(0);
        for (std::int64_t m = 0; m < CHUNK_ROWS; ++m)
            for (std::int64_t i = 0; i < CHUNKS_TOGETHER; ++i)
                sum[i] = block.each(PLUS, sum[i], block.load(rows + (i * CHUNK_ROWS + m) * N));
        for (std::int64_t i = 0; i < CHUNKS_TOGETHER; ++i) block.store(chunks.sums(first + i, 0), sum[i]);
        return;
    }
    for (std::int64_t chunk = first; chunk < end && chunk < first + CHUNKS_TOGETHER; ++chunk) {
        auto sum = block.all(0);
        const auto [begin, stop] = chunks.rows(chunk);
        for (std::int64_t m = begin; m < stop; ++m, rows += N) sum = block.each(PLUS, sum, block.load(rows));
        block.store(chunks.sums(chunk, 0), sum);
    }
}

// The sums over the chunks `mine`, whose rows are `rows`.
template <class T> void sum_chunks(const T *rows, const Chunks<T> &chunks, Range mine) {
    for (std::int64_t chunk = mine.begin; chunk < mine.end; chunk += CHUNKS_TOGETHER)
        for_blocks<T>(chunks.C, [&](auto block) {
            sum_chunks(rows + (chunk - mine.begin) * CHUNK_ROWS * chunks.C, chunks, chunk, mine.end, block);
        });
}

// The sums over the chunks of this part, of all rows dy (M, C).
template <class T> void sum_chunks(const T *dy, const Chunks<T> &chunks, int part, int parts) {
    const Range mine = share(chunks.count(), part, parts);
    sum_chunks(dy + mine.begin * CHUNK_ROWS * chunks.C, chunks, mine);
}

// Calls body(column, sum, n) for each vector of the sums of all chunks together.
template <class T, class Body> void add_chunks(const Chunks<T> &chunks, Body body) {
    const double *const sums = chunks.add_up(0);
    for_vectors<T>(0, chunks.C, [=](std::int64_t column, int n) {
        Vec<T> sum{};
        for (int lane = 0; lane < n; ++lane) sum[lane] = T(sums[column + lane]);
        body(column, sum, n);
    });
}
template <class T> void add_chunks(const Chunks<T> &chunks, T *db) {
    add_chunks(chunks, [=](std::int64_t column, Vec<T> sum, int n) { store_n(db + column, sum, n); });
}

// db = sum of dy over its rows.  dy (B, M, N) -> db (B, N)
template <class T> void dense_db(const Call &call, int part, int parts) {
    using op = operands::DENSE_DB;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t M = size.M, N = size.N;
    if (sums_chunks(call)) return sum_chunks(call.in<T>(op::dy), db_chunks<T>(call), part, parts);
    for (std::int64_t i = 0; i < size.batch; ++i) {
        T *db = call.out<T>(op::db) + i * N;
        sum_rows(call.in<T>(op::dy) + i * M * N, M, N, part, parts,
                 [=](std::int64_t column, Vec<T> sum, int n) { store_n(db + column, sum, n); });
    }
}

template <class T> void dense_db_finish(const Call &call) {
    using op = operands::DENSE_DB;
    if (sums_chunks(call)) add_chunks(db_chunks<T>(call), call.out<T>(op::db));
}

}  // namespace fastnn
