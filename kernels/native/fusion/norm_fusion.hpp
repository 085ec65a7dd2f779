// Batch normalisation, ReLU and max pooling, one after the other in a plan, become the calls of
// norm_relu_pool.hpp, with the same results to the last bit.
#pragma once

#include "plan/calls.hpp"

namespace fastnn {

// Where the three layers are among the calls; -1: there is no such call.
struct NormReluPool {
    std::ptrdiff_t norm, relu, pool = -1;       // forward
    std::ptrdiff_t relu_dx = -1, pool_dx = -1;  // back; then batch_norm_sums and batch_norm_dx follow
};

// Whether the windows lie side by side in the image: N, H, W, C, R, S, P, Q, stride, padding.
inline bool windows_are_apart(const Call &pool) {
    const std::int64_t *const size = pool.size;
    return size[4] == size[8] && size[5] == size[9] && size[10] == 0 && size[11] == 0 &&
           size[6] * size[4] <= size[1] && size[7] * size[5] <= size[2];
}

// Finds the way back of layers whose way forward is known; false if it is there but cannot be fused.
inline bool find_way_back(const Calls &calls, NormReluPool &found) {
    const Call &norm = calls[std::size_t(found.norm)], &relu = calls[std::size_t(found.relu)];
    for (std::size_t i = 0; i < calls.size(); ++i)
        if (calls[i].kernel == RELU_DX && calls[i].array[0] == relu.array[1])
            found.relu_dx = std::ptrdiff_t(i);
    if (found.relu_dx < 0) return true;
    const Call &relu_dx = calls[std::size_t(found.relu_dx)];
    if (!is_kernel(calls, found.relu_dx + 1, BATCH_NORM_SUMS)) return false;
    if (!is_kernel(calls, found.relu_dx + 2, BATCH_NORM_DX)) return false;
    const Call &sums = calls[std::size_t(found.relu_dx + 1)], &dx = calls[std::size_t(found.relu_dx + 2)];
    // The gradient between ReLU and norm: written once, read twice.
    if (sums.array[1] != relu_dx.array[2] || dx.array[1] != relu_dx.array[2]) return false;
    if (uses(calls, relu_dx.array[2]) != 3) return false;
    for (const int a : {0, 2, 3})  // x, mean, var
        if (sums.array[a] != norm.array[a > 0 ? a - 1 : 0] || dx.array[a] != sums.array[a]) return false;
    if (dx.array[4] != norm.array[3]) return false;  // gamma
    if (dx.array[5] != sums.array[4] || dx.array[6] != sums.array[5]) return false;
    if (found.pool < 0) return true;
    if (!is_kernel(calls, found.relu_dx - 1, MAX_POOL_DX)) return false;
    const Call &pool_dx = calls[std::size_t(found.relu_dx - 1)];
    found.pool_dx = found.relu_dx - 1;
    return pool_dx.array[1] == calls[std::size_t(found.pool)].array[2] &&
           pool_dx.array[2] == relu_dx.array[1] && uses(calls, pool_dx.array[2]) == 2;
}

// The three layers from the norm at `index` on; false if they are not there, or somebody else needs what lies
// between them.
inline bool find_norm_relu_pool(const Calls &calls, std::ptrdiff_t index, NormReluPool &found) {
    if (!is_kernel(calls, index, BATCH_NORM_FORWARD)) return false;
    if (!is_kernel(calls, index + 1, RELU_FORWARD)) return false;
    const Call &norm = calls[std::size_t(index)], &relu = calls[std::size_t(index + 1)];
    if (relu.array[0] != norm.array[5] || uses(calls, norm.array[5]) != 2) return false;
    found = {index, index + 1};
    if (is_kernel(calls, index + 2, MAX_POOL_FORWARD)) {
        const Call &pool = calls[std::size_t(index + 2)];
        if (pool.array[0] == relu.array[1] && windows_are_apart(pool)) found.pool = index + 2;
    }
    if (!find_way_back(calls, found)) return false;
    if (found.pool < 0) return true;
    return uses(calls, relu.array[1]) == (found.relu_dx < 0 ? 2 : 3);
}

// A call of the fused kernel with the sizes of the pool, or of as many pixels by themselves.
inline Call fused_norm(KernelId kernel, const Call &norm, const Call *pool) {
    Call call = norm;
    call.kernel = kernel;
    const std::int64_t M = norm.size[0], C = norm.size[1];
    const std::int64_t alone[12] = {M, 1, 1, C, 1, 1, 1, 1, 1, 1, 0, 0};
    for (int i = 0; i < 12; ++i) call.size[i] = pool ? pool->size[i] : alone[i];
    return call;
}

inline void fuse_norms(Calls &calls) {
    NormReluPool at;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        if (!find_norm_relu_pool(calls, std::ptrdiff_t(i), at)) continue;
        const Call norm = calls[i], relu = calls[i + 1];
        const Call pool = at.pool < 0 ? Call{} : calls[std::size_t(at.pool)];
        const Call *const windows = at.pool < 0 ? nullptr : &pool;
        if (at.relu_dx >= 0) {  // behind the way forward, so that it is changed first
            const std::size_t first = std::size_t(at.pool_dx < 0 ? at.relu_dx : at.pool_dx);
            const std::size_t sums_at = std::size_t(at.relu_dx) + 1;
            const Call sums = calls[sums_at], dx = calls[sums_at + 1];
            Call fused_sums = fused_norm(NORM_RELU_POOL_SUMS, norm, windows), fused_dx = fused_sums;
            fused_dx.kernel = NORM_RELU_POOL_DX;
            void *const gradient = at.pool_dx < 0 ? calls[first].array[1] : calls[first].array[0];
            void *const inputs[] = {norm.array[0], gradient,      pool.array[2], norm.array[1],
                                    norm.array[2], norm.array[3], norm.array[4]};
            for (int a = 0; a < 7; ++a) fused_sums.array[a] = fused_dx.array[a] = inputs[a];
            fused_sums.array[7] = fused_dx.array[7] = sums.array[4];
            fused_sums.array[8] = fused_dx.array[8] = sums.array[5];
            fused_dx.array[9] = dx.array[7];
            fused_sums.work = sums.work + calls[std::size_t(at.relu_dx)].work;
            fused_dx.work = dx.work + calls[std::size_t(at.relu_dx)].work;
            calls[sums_at] = fused_sums, calls[sums_at + 1] = fused_dx;
            calls.erase(calls.begin() + std::ptrdiff_t(first), calls.begin() + std::ptrdiff_t(sums_at));
        }
        Call forward = fused_norm(NORM_RELU_POOL_FORWARD, norm, windows);
        forward.array[5] = windows ? pool.array[1] : relu.array[1];
        forward.array[6] = pool.array[2];
        forward.work = norm.work + relu.work + pool.work;
        calls[i] = forward;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1, calls.begin() + (windows ? at.pool : at.relu) + 1);
    }
}

}  // namespace fastnn
