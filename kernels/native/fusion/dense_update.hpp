// Computes the gradients of a layer's weights and bias and applies the optimizer's update without storing the
// gradient: dense_dw and dense_db of dense.hpp fused with the formulas of optim.hpp. Only plans use these
// kernels.
//
// Operands: x (or null), dy, then those of the update; sizes as in dense.hpp, with batch 1.
#pragma once

#include "families/dense.hpp"
#include "families/dense_narrow_update.hpp"
#include "families/optim.hpp"

namespace fastnn {

// All sums are computed in one round, since no matrix could hold partial sums.
static_assert(MOST_FUSED_ROWS <= PACKED_ROWS);

template <class T> Product<T> update_product(const Call &call) {
    using op = operands::DENSE_DW_SGD;  // the same positions for DENSE_DW_ADAM
    return dw_product(call, call.in<T>(op::x), call.in<T>(op::dy));
}

// Applies the SGD update with a tile of the gradient that is still in registers.
template <class T> struct DescendTile {
    T *c;
    std::int64_t row;
    SgdRule<T> rule;

    template <int ROWS, int COLUMNS> [[gnu::always_inline]] void prefetch() const {
        fetch_rows<T, ROWS, COLUMNS>(c, row);
    }

    template <int ROWS, int COLUMNS>
    [[gnu::always_inline]] void finish(const Vec<T> (&sum)[ROWS][COLUMNS], int last) const {
        if (last == LANES<T>)
            for_tile<T>(sum, LANES<T>, *this);
        else
            for_tile<T>(sum, last, *this);
    }

    [[gnu::always_inline]] void operator()(int i, int j, Vec<T> gradient, int n) const {
        T *const weights = c + i * row + j * LANES<T>;
        store_n(weights, rule.plain(gradient, load_n(weights, n)), n);
    }
};

template <class T> ManyRowsGradient<T> chunks_of_update(const Call &call) {
    using op = operands::DENSE_DW_SGD;  // the same positions for DENSE_DW_ADAM
    return {call.sizes<DenseSizes>(), call.in<T>(op::x), call.in<T>(op::dy), call.scratch};
}

// Sums the gradient by chunks of the batch, if it is summed so by several threads.
template <class T> void dense_dw_update_prepare(const Call &call, int part, int parts) {
    if (parts > 1) chunks_of_update<T>(call).run(part, parts);
}

// Updates w with the sums of the chunks.
template <class T, class Update> void update_by_chunks(const Call &call, int part, int parts, Update update) {
    const ManyRowsGradient<T> chunks = chunks_of_update<T>(call);
    if (parts > 1) return chunks.for_sums(part, parts, update);
    chunks.for_sums_of_tiles(scratch_of<T>(call, part), update);
}

// Scratch memory: shared for the sums of chunks, which dense_dw_update_prepare makes only then; or for the
// product, then for a tile of the gradient.
template <class T> ScratchNeeds dense_dw_update_scratch(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    if (updates_by_chunks(size)) {
        const ManyRowsGradient<T> chunks = chunks_of_update<T>(call);
        return {0, chunks.scratch_needs().shared, chunks.tiles_bytes()};
    }
    if (is_narrow<T>(size.N)) return {0, 0, narrow_update_bytes<T>(size.M, size.K, size.N)};
    const Product<T> product = update_product<T>(call);
    return {0, 0, whole_lines(product.scratch().each) + product.height * BLOCK_ROW_BYTES};
}

// Updates w with dw = x^T dy.  x (M, K), dy (M, N), hyper, moments and w (K, N)
template <class T, template <class> class Update>
void dense_dw_update(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW_SGD;  // the same positions for DENSE_DW_ADAM
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t N = size.N;
    if (updates_by_chunks(size)) return update_by_chunks<T>(call, part, parts, Update<T>(call, op::hyper));
    if (is_narrow<T>(N))
        return narrow_update(size.M, size.K, N, call.in<T>(op::x), call.in<T>(op::dy),
                             Update<T>(call, op::hyper), part, parts, scratch_of<T>(call, part));
    if (has_few_rows(size.M))
        return few_rows_dw(share(size.K, part, parts, LANES<T>), size.M, size.K, N, call.in<T>(op::x),
                           call.in<T>(op::dy), Update<T>(call, op::hyper));
    const Product<T> product = update_product<T>(call);
    T *const tile = scratch_of<T>(call, part) + whole_lines(product.scratch().each) / std::int64_t(sizeof(T));
    const Update<T> update(call, op::hyper);
    Fetched<T> fetched{{}, N};  // what the update of the tile will change
    const auto gradient = [=, &fetched](std::int64_t row, std::int64_t column) {
        update.changes(row * N + column, fetched.array);
        return StoreTile<T>{tile, BLOCK<T>, nullptr, false, false, &fetched};
    };
    const auto apply = [=](std::int64_t row, int rows, const ColumnBlock<T> &block) {
        for (int i = 0; i < rows; ++i)
            for_vectors<T>(0, block.width, [=](std::int64_t e, int n) {
                update((row + i) * N + block.begin + e, load_n(tile + i * BLOCK<T> + e, n), n);
            });
    };
    multiply(product, call, part, parts, gradient, gradient, apply);
}

// The same for SGD, whose formula without momentum is short enough to run on a tile in registers.
template <class T> void dense_dw_sgd(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW_SGD;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t N = size.N;
    const bool has_momentum = call.array[op::v];
    if (has_momentum || updates_by_chunks(size) || is_narrow<T>(N) || has_few_rows(size.M))
        return dense_dw_update<T, SgdUpdate>(call, part, parts);
    const SgdUpdate<T> update(call, op::hyper);
    const auto store = [=](std::int64_t row, std::int64_t column) {  // not called: there is one round
        return StoreTile<T>{update.p + row * N + column, N};
    };
    const auto descend = [=](std::int64_t row, std::int64_t column) {
        return DescendTile<T>{update.p + row * N + column, N, update.rule};
    };
    multiply(update_product<T>(call), call, part, parts, store, descend);
}

// Updates b with db = sum_m dy_m.  dy (M, N), hyper, moments and b (N,)
template <class T, template <class> class Update>
void dense_db_update(const Call &call, int part, int parts) {
    using op = operands::DENSE_DB_SGD;  // the same positions for DENSE_DB_ADAM
    const DenseSizes size = call.sizes<DenseSizes>();
    if (sums_chunks(call)) return sum_chunks(call.in<T>(op::dy), db_chunks<T>(call), part, parts);
    sum_rows(call.in<T>(op::dy), size.M, size.N, part, parts, Update<T>(call, op::hyper));
}

template <class T, template <class> class Update> void dense_db_update_finish(const Call &call) {
    if (sums_chunks(call)) add_chunks(db_chunks<T>(call), Update<T>(call, operands::DENSE_DB_SGD::hyper));
}

}  // namespace fastnn
