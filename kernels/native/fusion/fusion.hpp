// Joins neighbouring calls of a plan where the result stays the same to the last bit.
#pragma once

#include "fusion/norm_fusion.hpp"
#include "fusion/pool_fusion.hpp"
#include "plan/calls.hpp"

namespace fastnn {

inline Activation forward_activation(KernelId kernel) {
    switch (kernel) {
        case RELU_FORWARD: return RELU;
        case SIGMOID_FORWARD: return SIGMOID;
        case TANH_FORWARD: return TANH;
        default: return NO_ACTIVATION;
    }
}

inline Activation gradient_activation(KernelId kernel) {
    switch (kernel) {
        case RELU_DX: return RELU;
        case SIGMOID_DX: return SIGMOID;
        case TANH_DX: return TANH;
        default: return NO_ACTIVATION;
    }
}

inline bool takes_activation(KernelId kernel) {
    return kernel == DENSE_FORWARD || kernel == DENSE_FORWARD_BF16 || kernel == CONV_FORWARD;
}

// y = f(x w + b): the dense or convolution kernel applies the activation to the output that it just stored.
inline void fuse_activations(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        Call &affine = calls[i];
        const Call &act = calls[i + 1];
        const Activation activation = forward_activation(act.kernel);
        if (!takes_activation(affine.kernel) || !activation) continue;
        if (act["x"] != affine["y"]) continue;
        if (uses(calls, affine["y"]) != 2) continue;  // another call reads x w + b
        affine["y"] = act["y"];
        affine.activation = activation;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1);
    }
}

// Whether a kernel can multiply the gradient of its input with the derivative of an activation below it. (A
// pool of sigmoids would have to multiply the sum over windows that overlap.)
inline bool takes_gradient_of(KernelId kernel, Activation activation) {
    if (kernel == MAX_POOL_DX) return activation == RELU;
    return activation && (kernel == DENSE_DX || kernel == DENSE_DX_BF16 || kernel == CONV_DX);
}

// The array from which the fused kernel finds the derivative of an activation with the output `y`: for a pool
// its own output, which is smaller, if it is still there. Null if there is none.
inline void *output_for_gradient(const Calls &calls, const Call &affine, void *y) {
    if (affine.kernel != MAX_POOL_DX) return y;
    for (const Call &pool : calls)
        if (pool.kernel == MAX_POOL_FORWARD && pool["taps"] == affine["taps"] && pool["x"] == y)
            return times_written(calls, pool["y"]) == 1 ? pool["y"] : nullptr;
    return nullptr;
}

// dx = f'(x) (dy w^T): the dense or convolution kernel, or the pool, applies the gradient of the activation
// below it.
inline void fuse_activation_gradients(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        Call &affine = calls[i];
        const Call &act = calls[i + 1];
        const Activation activation = gradient_activation(act.kernel);
        if (!takes_gradient_of(affine.kernel, activation)) continue;
        if (act["dy"] != affine["dx"] || uses(calls, affine["dx"]) != 2) continue;
        if (act["y"] == act["dx"]) continue;  // the fused kernel would overwrite y before it reads it
        void *const y = output_for_gradient(calls, affine, act["y"]);
        if (!y) continue;
        affine["dx"] = act["dx"];
        affine["y"] = y;
        affine.activation = activation;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1);
    }
}

// The kernel that computes a weight gradient and applies the update; KERNEL_COUNT if there is none.
inline KernelId with_update(KernelId gradient, KernelId update) {
    if (gradient == DENSE_DW && update == SGD) return DENSE_DW_SGD;
    if (gradient == DENSE_DW && update == ADAM) return DENSE_DW_ADAM;
    if (gradient == DENSE_DW_BF16 && update == SGD) return DENSE_DW_SGD_BF16;
    if (gradient == DENSE_DW_BF16 && update == ADAM) return DENSE_DW_ADAM_BF16;
    if (gradient == DENSE_DB && update == SGD) return DENSE_DB_SGD;
    if (gradient == DENSE_DB && update == ADAM) return DENSE_DB_ADAM;
    return KERNEL_COUNT;
}

// The fused call: operands of these names come from the update or, if it has none, from the gradient.
inline Call fused_update(KernelId kernel, const Call &gradient, const Call &update) {
    Call fused = gradient;
    fused.kernel = kernel;
    std::fill(std::begin(fused.array), std::end(fused.array), nullptr);
    for (int i = 0; const char *const name = operand_name(kernel, i); ++i)
        for (const Call *from : {&gradient, &update})
            if (const int j = find_operand(from->kernel, name); j >= 0) fused.array[i] = from->array[j];
    fused.work = gradient.work + update.work;
    return fused;
}

// Whether any of the calls [begin, end) writes an input of `call`.
inline bool inputs_change(const Calls &calls, std::size_t begin, std::size_t end, const Call &call) {
    for (std::size_t i = begin; i < end; ++i)
        for (int j = 0; operand_name(call.kernel, j); ++j)
            if (!is_output(call.kernel, j) && writes(calls[i], call.array[j])) return true;
    return false;
}

// Moves the computation of a weight gradient to its update, so that the gradient is never stored, unless its
// inputs are overwritten in between. The update stays in its place, behind all calls that read old weights.
inline void fuse_updates(Calls &calls) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const Call gradient = calls[i];
        const bool of_bias = gradient.kernel == DENSE_DB;
        if (!of_bias && gradient.kernel != DENSE_DW && gradient.kernel != DENSE_DW_BF16) continue;
        const void *const stored = gradient[of_bias ? "db" : "dw"];
        const auto [batch, M, K, N] = gradient.sizes<DenseSizes>();
        if (uses(calls, stored) != 2 || batch != 1 || M > MOST_FUSED_ROWS) continue;
        const auto reads = [=](const Call &call) { return uses(call, stored) > 0; };
        const auto reader = std::find_if(calls.begin() + std::ptrdiff_t(i) + 1, calls.end(), reads);
        if (reader == calls.end()) continue;
        const KernelId fused = with_update(gradient.kernel, reader->kernel);
        const std::size_t at = std::size_t(reader - calls.begin());
        if (fused == KERNEL_COUNT || (*reader)["g"] != stored) continue;
        if (inputs_change(calls, i + 1, at, gradient)) continue;
        const Call together = fused_update(fused, gradient, *reader);
        *reader = together;
        calls.erase(calls.begin() + std::ptrdiff_t(i));
        --i;
    }
}

// `updates`: the gradients of parameters need not be stored.
inline void fuse(Calls &calls, bool updates) {
    fuse_norms(calls);
    fuse_activations(calls);
    fuse_activation_gradients(calls);
    fuse_pools(calls);
    fuse_pool_gradients(calls);
    if (updates) fuse_updates(calls);
}

}  // namespace fastnn
