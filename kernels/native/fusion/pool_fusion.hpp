// Replaces a convolution and the max pool of its outputs, one after the other in a plan, by the fused calls
// of conv_pool.hpp, with the same results to the last bit. Activations have been fused before.
#pragma once

#include "plan/algorithms.hpp"
#include "plan/calls.hpp"

namespace fastnn {

// Whether the fused kernels know these sizes of a convolution and of a pool of its outputs. (A layer in
// between may have given the outputs another shape.)
inline bool tiles_outputs(const ConvSizes &conv, const PoolSizes &pool) {
    return conv.O > 0 && pool.N == conv.N && pool.H == conv.P && pool.W == conv.Q && pool.C == conv.O &&
           pool.windows_tile_the_image() && pool.P == conv.P / pool.R && pool.Q == conv.Q / pool.S;
}

// The call of a fused kernel, so far with the operands of the convolution.
inline Call with_pool(KernelId kernel, const Call &conv, const Call &pool) {
    const PoolSizes windows = pool.sizes<PoolSizes>();
    Call fused = conv;
    fused.kernel = kernel;
    fused.set_sizes(ConvPoolSizes{conv.sizes<ConvSizes>(), {windows.R, windows.S}});
    fused.work = conv.work + pool.work;
    return fused;
}

// y = max over windows of f(b + x * w): only the maxima are stored. Winograd's algorithm makes tiles of
// outputs, no rows.
inline void fuse_pools(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        const Call &conv = calls[i], &pool = calls[i + 1];
        if (conv.kernel != CONV_FORWARD || pool.kernel != MAX_POOL_FORWARD) continue;
        if (pool["x"] != conv["y"] || uses(calls, conv["y"]) != 2) continue;
        const ConvSizes sizes = conv.sizes<ConvSizes>();
        if (forward_by_winograd(sizes) || !tiles_outputs(sizes, pool.sizes<PoolSizes>())) continue;
        Call fused = with_pool(CONV_POOL_FORWARD, conv, pool);
        fused["y"] = pool["y"];
        fused["taps"] = pool["taps"];
        calls[i] = fused;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1);
    }
}

// Whether the call sums the rows of dz, the gradient of these outputs, and each image is whole chunks of
// them, so that its sums begin anew.
inline bool sums_whole_chunks(const Call &call, const void *dz, const ConvSizes &conv) {
    return call.kernel == DENSE_DB && call["dy"] == dz && conv.P * conv.Q % CHUNK_ROWS == 0;
}

// dw, and db if possible, from the gradient of the pool's outputs. The gradient of the convolution's outputs,
// dz, is stored only if another call reads it.
inline void fuse_pool_gradients(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        const Call &pool_dx = calls[i], &conv_dw = calls[i + 1];
        if (pool_dx.kernel != MAX_POOL_DX || conv_dw.kernel != CONV_DW) continue;
        void *const dz = pool_dx["dx"];
        const ConvSizes sizes = conv_dw.sizes<ConvSizes>();
        if (conv_dw["dy"] != dz || !tiles_outputs(sizes, pool_dx.sizes<PoolSizes>())) continue;
        if (!sums_filters_by_images(sizes, conv_dw.is_double ? sizeof(double) : sizeof(float))) continue;
        Call fused = with_pool(CONV_POOL_DW, conv_dw, pool_dx);
        fused.activation = pool_dx.activation;
        for (const char *name : {"dy", "taps", "y"}) fused[name] = pool_dx[name];
        std::ptrdiff_t count = 2;  // calls to replace
        if (i + 2 < calls.size() && sums_whole_chunks(calls[i + 2], dz, sizes)) {
            fused["db"] = calls[i + 2]["db"];
            fused.work += calls[i + 2].work;
            count = 3;
        }
        fused["dz"] = uses(calls, dz) == count ? nullptr : dz;
        calls[i] = fused;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1, calls.begin() + std::ptrdiff_t(i) + count);
    }
}

}  // namespace fastnn
