// What profiles call the kernels.
#pragma once

#include "plan/call.hpp"

namespace fastnn {

inline const char *kernel_name(KernelId kernel) {
    switch (kernel) {
        case DENSE_FORWARD: return "dense_forward";
        case DENSE_DX: return "dense_dx";
        case DENSE_DW: return "dense_dw";
        case DENSE_DB: return "dense_db";
        case CONV_FORWARD: return "conv_forward";
        case CONV_DX: return "conv_dx";
        case CONV_DW: return "conv_dw";
        case IM2COL: return "im2col";
        case COL2IM: return "col2im";
        case MAX_POOL_FORWARD: return "max_pool_forward";
        case MAX_POOL_DX: return "max_pool_dx";
        case AVG_POOL_FORWARD: return "avg_pool_forward";
        case AVG_POOL_DX: return "avg_pool_dx";
        case BATCH_MOMENTS: return "batch_moments";
        case RUNNING_MOMENTS: return "running_moments";
        case BATCH_NORM_FORWARD: return "batch_norm_forward";
        case BATCH_NORM_SUMS: return "batch_norm_sums";
        case BATCH_NORM_DX: return "batch_norm_dx";
        case LAYER_NORM_FORWARD: return "layer_norm_forward";
        case LAYER_NORM_DX: return "layer_norm_dx";
        case LAYER_NORM_DW: return "layer_norm_dw";
        case RELU_FORWARD: return "relu_forward";
        case RELU_DX: return "relu_dx";
        case SIGMOID_FORWARD: return "sigmoid_forward";
        case SIGMOID_DX: return "sigmoid_dx";
        case TANH_FORWARD: return "tanh_forward";
        case TANH_DX: return "tanh_dx";
        case LEAKY_RELU_FORWARD: return "leaky_relu_forward";
        case LEAKY_RELU_DX: return "leaky_relu_dx";
        case ELU_FORWARD: return "elu_forward";
        case ELU_DX: return "elu_dx";
        case GELU_FORWARD: return "gelu_forward";
        case GELU_DX: return "gelu_dx";
        case SILU_FORWARD: return "silu_forward";
        case SILU_DX: return "silu_dx";
        case ADD: return "add";
        case EXP_FORWARD: return "exp_forward";
        case LOG_FORWARD: return "log_forward";
        case SOFTMAX_FORWARD: return "softmax_forward";
        case SOFTMAX_DX: return "softmax_dx";
        case ELEMENTWISE_FORWARD: return "elementwise_forward";
        case ELEMENTWISE_DX: return "elementwise_dx";
        case CROSS_ENTROPY_LABELS: return "cross_entropy_labels";
        case CROSS_ENTROPY_SOFT: return "cross_entropy_soft";
        case SQUARED_ERROR: return "squared_error";
        case BINARY_CROSS_ENTROPY: return "binary_cross_entropy";
        case FOCAL_LABELS: return "focal_labels";
        case FOCAL_SOFT: return "focal_soft";
        case DICE: return "dice";
        case SGD: return "sgd";
        case ADAM: return "adam";
        case RMSPROP: return "rmsprop";
        case SUM_SQUARES: return "sum_squares";
        case CLIP_FACTOR: return "clip_factor";
        case MULTIPLY: return "multiply";
        case CLAMP: return "clamp";
        case EMA: return "ema";
        case DROPOUT: return "dropout";
        case RANDOM_NEXT: return "random_next";
        case GATHER_BYTES: return "gather_bytes";
        case GATHER_FLOATS: return "gather_floats";
        case GATHER_DOUBLES: return "gather_doubles";
        case GATHER_LABELS: return "gather_labels";
        case COUNT_NONFINITE: return "count_nonfinite";
        case RANDOM_AFFINE: return "random_affine";
        case DISPLACEMENT: return "displacement";
        case WARP_BYTES: return "warp_bytes";
        case WARP_FLOATS: return "warp_floats";
        case WARP_DOUBLES: return "warp_doubles";
        case LABEL_DIVISOR: return "label_divisor";
        case REDUCE_LOSS: return "reduce_loss";
        case COUNT_CORRECT: return "count_correct";
        case COUNT_CORRECT_BINARY: return "count_correct_binary";
        case ADVANCE: return "advance";
        case ADAM_CORRECTIONS: return "adam_corrections";
        case DENSE_DW_SGD: return "dense_dw_sgd";
        case DENSE_DW_ADAM: return "dense_dw_adam";
        case DENSE_DB_SGD: return "dense_db_sgd";
        case DENSE_DB_ADAM: return "dense_db_adam";
        case NORM_RELU_POOL_FORWARD: return "norm_relu_pool_forward";
        case NORM_RELU_POOL_SUMS: return "norm_relu_pool_sums";
        case NORM_RELU_POOL_DX: return "norm_relu_pool_dx";
        case CHECK_INDEX: return "check_index";
        case CHECK_ZERO: return "check_zero";
        case CHECK_FINITE: return "check_finite";
        case CALL_BACK: return "call_back";
        case PROBE_FMA: return "probe_fma";
        case PROBE_READ: return "probe_read";
        case PROBE_UPDATE: return "probe_update";
        case KERNEL_COUNT: break;
    }
    return "unknown";
}

}  // namespace fastnn
