// Gradients of a layer's weights and bias with the optimizer's update, so that the gradient is never stored:
// dense_dw and dense_db of dense.hpp, and the rules of optim.hpp. Only plans use them.
//
// Arrays: x (or null), dy, then what the update takes; sizes as in dense.hpp, the batch being 1.
#pragma once

#include "dense.hpp"
#include "optim.hpp"

namespace fastnn {

// All sums are made in one round, since there is no matrix that could hold partial ones.
static_assert(MOST_FUSED_ROWS <= PACKED_ROWS);

// Stores a tile of the gradient, and fetches the weights that it will change.
template <class T> struct StoreGradient : StoreTile<T> {
    StoreTile<T> weights;

    template <int ROWS, int COLUMNS> [[gnu::always_inline]] void prefetch() const {
        weights.template prefetch<ROWS, COLUMNS>();
    }
};

template <class T> std::int64_t dense_dw_update_scratch(const Call &call) {
    const Product<T> product = dw_product<T>(call, nullptr, nullptr);
    return product.scratch_bytes() + product.height * BLOCK_ROW_BYTES;
}

// w is updated by dw = x^T dy.  x (M, K), dy (M, N), hyper, moments and w (K, N)
template <class T, template <class> class Update>
void dense_dw_update(const Call &call, int part, int parts) {
    const std::int64_t N = call.size[3];
    const Product<T> product = dw_product(call, call.in<T>(0), call.in<T>(1));
    T *const tile = scratch_of<T>(call, part), *const scratch = tile + product.height * BLOCK<T>;
    const Update<T> update(call, 2);
    const auto gradient = [=](std::int64_t row, std::int64_t column) {
        return StoreGradient<T>{{tile, BLOCK<T>}, {update.p + row * N + column, N}};
    };
    const auto apply = [=](std::int64_t row, int rows, const ColumnBlock<T> &block) {
        for (int i = 0; i < rows; ++i)
            for_vectors<T>(0, block.width, [=](std::int64_t e, int n) {
                update((row + i) * N + block.begin + e, load_n(tile + i * BLOCK<T> + e, n), n);
            });
    };
    multiply(product, scratch, part, parts, gradient, gradient, apply);
}

// b is updated by db = sum of dy over its rows.  dy (M, N), hyper, moments and b (N,)
template <class T, template <class> class Update>
void dense_db_update(const Call &call, int part, int parts) {
    sum_rows(call.in<T>(1), call.size[1], call.size[3], part, parts, Update<T>(call, 2));
}

}  // namespace fastnn
