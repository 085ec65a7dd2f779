// Computes the gradient of a layer's weights in bf16 and applies the optimizer's update without storing the
// gradient: dense_dw_bf16 fused with the formulas of optim.hpp, as in dense_update.hpp.
#pragma once

#include "families/dense_bf16.hpp"
#include "fusion/dense_update.hpp"

namespace fastnn {

// Further scratch memory of each part: a tile of the gradient.
inline ScratchNeeds dense_dw_update_bf16_scratch(const Call &call) {
    return dw_pairs(call).scratch(tile_rows(1) * BLOCK<float>);
}

// Updates w with dw = x^T dy, tile by tile.  x (M, K), dy (M, N), hyper, moments and w (K, N)
template <template <class> class Update> void dense_dw_update_bf16(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW_SGD_BF16;  // the same positions for DENSE_DW_ADAM_BF16
    const std::int64_t N = call.sizes<DenseSizes>().N;
    float *const tile = scratch_of<float>(call, part);
    const Update<float> update(call, op::hyper);
    Fetched<float> fetched{{}, N};  // what the update of the tile will change
    const auto gradient = [=, &fetched](std::int64_t row, const ColumnBlock<float> &block) {
        update.changes(row * N + block.begin, fetched.array);
        return StoreTile<float>{tile, BLOCK<float>, nullptr, false, false, &fetched};
    };
    const auto apply = [=](std::int64_t row, std::int64_t rows, const ColumnBlock<float> &block) {
        for (std::int64_t i = 0; i < rows; ++i)
            for_vectors<float>(0, block.width, [=](std::int64_t e, int n) {
                update((row + i) * N + block.begin + e, load_n(tile + i * BLOCK<float> + e, n), n);
            });
    };
    dw_pairs(call).run(part, parts, gradient, apply, NOTHING);
}

// The same for SGD, without momentum on tiles in registers.
inline void dense_dw_sgd_bf16(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW_SGD_BF16;
    if (call.array[op::v]) return dense_dw_update_bf16<SgdUpdate>(call, part, parts);
    const std::int64_t N = call.sizes<DenseSizes>().N;
    const SgdUpdate<float> update(call, op::hyper);
    const auto descend = [=](std::int64_t row, const ColumnBlock<float> &block) {
        return DescendTile<float>{update.p + row * N + block.begin, N, update.rule};
    };
    dw_pairs(call).run(part, parts, descend, NOTHING, NOTHING);
}

}  // namespace fastnn
