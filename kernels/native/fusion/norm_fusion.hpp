// Replaces batch normalization, ReLU and max pooling, one after the other in a plan, by the fused calls of
// norm_relu_pool.hpp, with the same results to the last bit.
#pragma once

#include "plan/calls.hpp"

namespace fastnn {

// The positions of the three layers' calls; -1 where there is no such call.
struct NormReluPool {
    std::ptrdiff_t norm, relu, pool = -1;       // forward
    std::ptrdiff_t relu_dx = -1, pool_dx = -1, norm_dx = -1;  // backward; batch_norm_sums follows relu_dx

    std::ptrdiff_t sums() const { return relu_dx + 1; }
};

// Whether all operands of these names are the same arrays in both calls.
inline bool share_operands(const Call &a, const Call &b, std::initializer_list<const char *> names) {
    return std::all_of(names.begin(), names.end(), [&](const char *name) { return a[name] == b[name]; });
}

// Finds the backward calls of layers whose forward calls are known. Returns false if there are backward calls
// that cannot be fused.
inline bool find_backward_calls(const Calls &calls, NormReluPool &found) {
    const auto at = [&](std::ptrdiff_t index) -> const Call & { return calls[std::size_t(index)]; };
    const Call &norm = at(found.norm), &relu = at(found.relu);
    for (std::size_t i = 0; i < calls.size(); ++i)
        if (calls[i].kernel == RELU_DX && calls[i]["y"] == relu["y"]) found.relu_dx = std::ptrdiff_t(i);
    if (found.relu_dx < 0) return true;
    if (!is_kernel(calls, found.sums(), BATCH_NORM_SUMS)) return false;
    // A callback in between replaces the sums of the rows of this process by those of all processes.
    const bool is_shared = is_kernel(calls, found.sums() + 1, CALLBACK);
    found.norm_dx = found.sums() + (is_shared ? 2 : 1);
    if (!is_kernel(calls, found.norm_dx, BATCH_NORM_DX)) return false;
    const Call &relu_dx = at(found.relu_dx), &sums = at(found.sums()), &norm_dx = at(found.norm_dx);
    // The gradient between ReLU and norm is written once and read twice.
    if (sums["dy"] != relu_dx["dx"] || norm_dx["dy"] != relu_dx["dx"]) return false;
    if (uses(calls, relu_dx["dx"]) != 3) return false;
    if (!share_operands(norm, sums, {"x", "mean", "var"})) return false;
    if (!share_operands(norm, norm_dx, {"x", "mean", "var", "gamma"})) return false;
    if (!is_shared && !share_operands(sums, norm_dx, {"dgamma", "dbeta"})) return false;
    if (found.pool < 0) return true;
    if (!is_kernel(calls, found.relu_dx - 1, MAX_POOL_DX)) return false;
    found.pool_dx = found.relu_dx - 1;
    const Call &pool = at(found.pool), &pool_dx = at(found.pool_dx);
    return pool_dx["taps"] == pool["taps"] && pool_dx["dx"] == relu_dx["dy"] &&
           uses(calls, pool_dx["dx"]) == 2;
}

// Finds the three layers from the norm at `index` on. Returns false if they are not there, or if another call
// needs the arrays between them.
inline bool find_norm_relu_pool(const Calls &calls, std::ptrdiff_t index, NormReluPool &found) {
    if (!is_kernel(calls, index, BATCH_NORM_FORWARD)) return false;
    if (!is_kernel(calls, index + 1, RELU_FORWARD)) return false;
    const Call &norm = calls[std::size_t(index)], &relu = calls[std::size_t(index + 1)];
    if (relu["x"] != norm["y"] || uses(calls, norm["y"]) != 2) return false;
    found = {index, index + 1};
    if (is_kernel(calls, index + 2, MAX_POOL_FORWARD)) {
        const Call &pool = calls[std::size_t(index + 2)];
        const PoolSizes windows = pool.sizes<PoolSizes>();
        // A layer in between may have given the outputs another shape.
        if (pool["x"] == relu["y"] && windows.C == norm.sizes<MatrixSizes>().C &&
            windows.windows_tile_the_image())
            found.pool = index + 2;
    }
    if (!find_backward_calls(calls, found)) return false;
    if (found.pool < 0) return true;
    return uses(calls, relu["y"]) == (found.relu_dx < 0 ? 2 : 3);
}

// A call of a fused kernel on the input and the statistics of `norm`. Its sizes are those of the pool or,
// without a pool, M images of a single pixel.
inline Call fused_norm(KernelId kernel, const Call &norm, const Call *pool) {
    Call call;
    call.kernel = kernel;
    call.is_double = norm.is_double;
    for (const char *name : {"x", "mean", "var", "gamma", "beta"}) call[name] = norm[name];
    call.scalar[0] = norm.scalar[0];
    const auto [M, C] = norm.sizes<MatrixSizes>();
    call.set_sizes(pool ? pool->sizes<PoolSizes>() : PoolSizes{M, 1, 1, C, 1, 1, 1, 1, {1, 1}, {0, 0}});
    return call;
}

// Replaces the backward calls [pool_dx,] relu_dx, batch_norm_sums, [callback,] batch_norm_dx by two fused ones
// around the callback.
inline void fuse_backward(Calls &calls, const NormReluPool &at, const Call *pool) {
    const std::size_t first = std::size_t(pool ? at.pool_dx : at.relu_dx);
    const Call &norm = calls[std::size_t(at.norm)], &relu_dx = calls[std::size_t(at.relu_dx)];
    Call &sums = calls[std::size_t(at.sums())], &norm_dx = calls[std::size_t(at.norm_dx)];
    Call fused_sums = fused_norm(NORM_RELU_POOL_SUMS, norm, pool);
    Call fused_dx = fused_norm(NORM_RELU_POOL_DX, norm, pool);
    for (const auto &[fused, separate] : {std::pair(&fused_sums, &sums), std::pair(&fused_dx, &norm_dx)}) {
        (*fused)["dy"] = calls[first]["dy"];
        (*fused)["taps"] = pool ? (*pool)["taps"] : nullptr;
        (*fused)["dgamma"] = (*separate)["dgamma"];
        (*fused)["dbeta"] = (*separate)["dbeta"];
    }
    fused_dx["dx"] = norm_dx["dx"];
    fused_sums.work = sums.work + relu_dx.work;
    fused_dx.work = norm_dx.work + relu_dx.work;
    sums = fused_sums;
    norm_dx = fused_dx;
    calls.erase(calls.begin() + std::ptrdiff_t(first), calls.begin() + at.sums());
}

// Replaces the forward calls batch_norm_forward, relu_forward[, max_pool_forward] by a fused one.
inline void fuse_forward(Calls &calls, const NormReluPool &at, const Call *pool) {
    Call &norm = calls[std::size_t(at.norm)];
    const Call &relu = calls[std::size_t(at.relu)];
    Call fused = fused_norm(NORM_RELU_POOL_FORWARD, norm, pool);
    fused["y"] = pool ? (*pool)["y"] : relu["y"];
    fused["taps"] = pool ? (*pool)["taps"] : nullptr;
    fused.work = norm.work + relu.work + (pool ? pool->work : 0);
    norm = fused;
    calls.erase(calls.begin() + at.relu, calls.begin() + (pool ? at.pool : at.relu) + 1);
}

inline void fuse_norms(Calls &calls) {
    NormReluPool at;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        if (!find_norm_relu_pool(calls, std::ptrdiff_t(i), at)) continue;
        const Call windows = at.pool < 0 ? Call{} : calls[std::size_t(at.pool)];
        const Call *const pool = at.pool < 0 ? nullptr : &windows;
        // The backward calls come later in the list: changing them first keeps the forward positions.
        if (at.relu_dx >= 0) fuse_backward(calls, at, pool);
        fuse_forward(calls, at, pool);
    }
}

}  // namespace fastnn
