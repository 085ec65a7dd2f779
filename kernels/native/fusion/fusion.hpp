// Joins neighbouring calls of a plan where the result stays the same to the last bit.
#pragma once

#include <vector>

#include "plan/calls.hpp"
#include "fusion/norm_fusion.hpp"

namespace fastnn {

inline int forward_activation(KernelId kernel) {
    switch (kernel) {
        case RELU_FORWARD: return RELU;
        case SIGMOID_FORWARD: return SIGMOID;
        case TANH_FORWARD: return TANH;
        default: return NO_ACTIVATION;
    }
}

inline int gradient_activation(KernelId kernel) {
    switch (kernel) {
        case RELU_DX: return RELU;
        case SIGMOID_DX: return SIGMOID;
        case TANH_DX: return TANH;
        default: return NO_ACTIVATION;
    }
}

// y = f(x w + b): the dense or convolution kernel applies the activation to what it has just stored.
inline void fuse_activations(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        Call &made = calls[i];
        const Call act = calls[i + 1];
        const int activation = forward_activation(act.kernel);
        if ((made.kernel != DENSE_FORWARD && made.kernel != CONV_FORWARD) || !activation) continue;
        if (act.array[0] != made.array[3]) continue;
        if (uses(calls, made.array[3]) != 2) continue;  // somebody else reads x w + b
        made.array[3] = act.array[1];
        made.activation = activation;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1);
    }
}

// dx = f'(x) (dy w^T): the dense or convolution kernel goes back through the activation below it.
inline void fuse_activation_gradients(Calls &calls) {
    for (std::size_t i = 0; i + 1 < calls.size(); ++i) {
        Call &made = calls[i];
        const Call act = calls[i + 1];
        const int activation = gradient_activation(act.kernel);
        if ((made.kernel != DENSE_DX && made.kernel != CONV_DX) || !activation) continue;
        if (act.array[1] != made.array[2] || uses(calls, made.array[2]) != 2) continue;
        if (act.array[0] == act.array[2]) continue;  // it would overwrite what it still has to read
        made.array[2] = act.array[2];
        made.array[3] = act.array[0];
        made.activation = activation;
        calls.erase(calls.begin() + std::ptrdiff_t(i) + 1);
    }
}

// The kernel that makes the gradient `made` and does the update `update` with it; else KERNEL_COUNT.
inline KernelId with_update(KernelId made, KernelId update) {
    if (made == DENSE_DW && update == SGD) return DENSE_DW_SGD;
    if (made == DENSE_DW && update == ADAM) return DENSE_DW_ADAM;
    if (made == DENSE_DB && update == SGD) return DENSE_DB_SGD;
    if (made == DENSE_DB && update == ADAM) return DENSE_DB_ADAM;
    return KERNEL_COUNT;
}

// Whether a call writes the array that begins at `data`; if in doubt, it does.
inline bool writes(const Call &call, const void *data) {
    switch (call.kernel) {
        case CHECK_INDEX:
        case CHECK_ZERO:
        case CHECK_FINITE:
        case CALL_BACK: return false;
        case DENSE_FORWARD:
        case CONV_FORWARD: return call.array[3] == data;
        case DENSE_DX:
        case DENSE_DW:
        case CONV_DX:
        case CONV_DW:
        case MAX_POOL_DX:
        case RELU_DX:
        case SIGMOID_DX:
        case TANH_DX:
        case ADD:
        case SOFTMAX_DX:
        case ELEMENTWISE_DX:
        case DROPOUT: return call.array[2] == data;
        case AVG_POOL_DX:
        case DENSE_DB: return call.array[1] == data;
        case BATCH_NORM_SUMS: return call.array[4] == data || call.array[5] == data;
        case BATCH_NORM_DX: return call.array[7] == data;
        case LAYER_NORM_DX: return call.array[4] == data;
        case LAYER_NORM_DW: return call.array[3] == data || call.array[4] == data;
        case DENSE_DW_SGD:
        case DENSE_DW_ADAM:
        case DENSE_DB_SGD:
        case DENSE_DB_ADAM: return call.array[0] != data && call.array[1] != data && uses({call}, data) > 0;
        default: return uses({call}, data) > 0;
    }
}

// The update of a weight moves the making of its gradient to its own place, behind everything that still
// reads the old weight. If what the gradient is made of is written in between, it is left alone.
inline void fuse_updates(Calls &calls) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const Call made = calls[i];
        if (made.kernel != DENSE_DW && made.kernel != DENSE_DB) continue;
        const void *gradient = made.array[made.kernel == DENSE_DW ? 2 : 1];
        if (uses(calls, gradient) != 2 || made.size[0] != 1 || made.size[1] > MOST_FUSED_ROWS) continue;
        for (std::size_t j = i + 1; j < calls.size(); ++j) {
            Call &update = calls[j];
            if (update.array[0] != gradient) continue;
            const KernelId fused = with_update(made.kernel, update.kernel);
            if (fused == KERNEL_COUNT) break;
            bool kept = true;
            for (std::size_t k = i + 1; k < j; ++k)
                for (int input = 0; input < (made.kernel == DENSE_DW ? 2 : 1); ++input)
                    kept = kept && !writes(calls[k], made.array[input]);
            if (!kept) break;
            Call call = made;
            call.kernel = fused;
            call.array[0] = made.kernel == DENSE_DW ? made.array[0] : nullptr;
            call.array[1] = made.array[made.kernel == DENSE_DW ? 1 : 0];
            for (int a = 1; a < 5; ++a) call.array[a + 1] = update.array[a];
            call.work = made.work + update.work;
            update = call;
            calls.erase(calls.begin() + std::ptrdiff_t(i));
            --i;
            break;
        }
    }
}

// `updates`: gradients of parameters need not be stored.
inline void fuse(Calls &calls, bool updates) {
    fuse_norms(calls);
    fuse_activations(calls);
    fuse_activation_gradients(calls);
    if (updates) fuse_updates(calls);
}

}  // namespace fastnn
