// Computes the gradients of a layer's weights and bias and applies the optimizer's update without storing the
// gradient: dense_dw and dense_db of dense.hpp fused with the formulas of optim.hpp. Only plans use these
// kernels.
//
// Arrays: x (or null), dy, then the arguments of the update; sizes as in dense.hpp, with batch 1.
#pragma once

#include "families/dense.hpp"
#include "families/optim.hpp"

namespace fastnn {

// All sums are computed in one round, since no matrix could hold partial sums.
static_assert(MOST_FUSED_ROWS <= PACKED_ROWS);

template <class T> Product<T> update_product(const Call &call) {
    return dw_product(call, call.in<T>(0), call.in<T>(1));
}

// Applies the SGD update with a tile of the gradient that is still in registers.
template <class T> struct DescendTile : StoreTile<T> {
    SgdRule<T> rule;

    [[gnu::always_inline]] void operator()(int i, int j, Vec<T> gradient, int n) const {
        T *const weights = this->c + i * this->row + j * LANES<T>;
        store_n(weights, rule.plain(gradient, load_n(weights, n)), n);
    }
};

// Stores a tile of the gradient, and prefetches the arrays that the update changes.
template <class T, class Update> struct StoreGradient : StoreTile<T> {
    Update update;
    std::int64_t first, stride;  // where the tile's elements are: first + i stride + column

    template <int ROWS, int COLUMNS> [[gnu::always_inline]] void prefetch() const {
        for (int i = 0; i < ROWS; ++i)
            for (int j = 0; j < COLUMNS; ++j) update.prefetch(first + i * stride + j * LANES<T>);
    }
};

// Scratch memory: for the product, then for a tile of the gradient.
template <class T> ScratchNeeds dense_dw_update_scratch(const Call &call) {
    if (is_narrow<T>(call.size[3])) return {0, 0, narrow_update_bytes<T>(call.size[3])};
    const Product<T> product = update_product<T>(call);
    return {0, 0, whole_lines(product.scratch().each) + product.height * BLOCK_ROW_BYTES};
}

// Updates w with dw = x^T dy.  x (M, K), dy (M, N), hyper, moments and w (K, N)
template <class T, template <class> class Update>
void dense_dw_update(const Call &call, int part, int parts) {
    const std::int64_t N = call.size[3];
    if (is_narrow<T>(N))
        return narrow_update(call.size[1], call.size[2], N, call.in<T>(0), call.in<T>(1), Update<T>(call, 2),
                             part, parts, scratch_of<T>(call, part));
    const Product<T> product = update_product<T>(call);
    T *const tile = scratch_of<T>(call, part) + whole_lines(product.scratch().each) / std::int64_t(sizeof(T));
    const Update<T> update(call, 2);
    const auto gradient = [=](std::int64_t row, std::int64_t column) {
        return StoreGradient<T, Update<T>>{{tile, BLOCK<T>}, update, row * N + column, N};
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
    if (call.array[3] || is_narrow<T>(call.size[3])) return dense_dw_update<T, SgdUpdate>(call, part, parts);
    const SgdUpdate<T> update(call, 2);
    const auto descend = [=, N = call.size[3]](std::int64_t row, std::int64_t column) {
        return DescendTile<T>{{update.p + row * N + column, N}, update.rule};
    };
    multiply(update_product<T>(call), call, part, parts, descend, descend);
}

// Updates b with db = sum_m dy_m.  dy (M, N), hyper, moments and b (N,)
template <class T, template <class> class Update>
void dense_db_update(const Call &call, int part, int parts) {
    sum_rows(call.in<T>(1), call.size[1], call.size[3], part, parts, Update<T>(call, 2));
}

}  // namespace fastnn
