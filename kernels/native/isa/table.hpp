// The kernels of the instruction set that this is compiled for, by number. Included by isa.inc, and by
// tests/native/driver.cpp, which needs no Python.
#pragma once

#include "families/act.hpp"
#include "families/augment.hpp"
#include "plan/call.hpp"
#include "families/conv.hpp"
#include "families/data.hpp"
#include "families/dense.hpp"
#include "fusion/dense_update.hpp"
#include "families/elementwise.hpp"
#include "families/im2col.hpp"
#include "families/loss.hpp"
#include "families/norm.hpp"
#include "fusion/norm_relu_pool.hpp"
#include "families/optim.hpp"
#include "families/pool.hpp"
#include "families/probe.hpp"
#include "families/random.hpp"
#include "plan/serial.hpp"

namespace fastnn {

template <class T> void fill(Table &table) {
    constexpr int type = sizeof(T) == sizeof(double);
    const auto set = [&table](KernelId id, Kernel kernel, Scratch scratch = nullptr, Kernel prepare = nullptr,
                              Finish finish = nullptr) {
        table.kernel[id][type] = kernel;
        table.scratch[id][type] = scratch;
        table.prepare[id][type] = prepare;
        table.finish[id][type] = finish;
    };
    set(DENSE_FORWARD, dense_forward<T>, dense_forward_scratch<T>, nullptr, dense_forward_finish<T>);
    set(DENSE_DX, dense_dx<T>, dense_dx_scratch<T>);
    set(DENSE_DW, dense_dw<T>, dense_dw_scratch<T>);
    set(DENSE_DB, dense_db<T>, dense_db_scratch<T>, nullptr, dense_db_finish<T>);
    set(CONV_FORWARD, conv_forward<T>, conv_forward_scratch<T>, conv_forward_prepare<T>);
    set(CONV_DX, conv_dx<T>, conv_dx_scratch<T>, conv_dx_prepare<T>);
    set(CONV_DW, conv_dw<T>, conv_dw_scratch<T>, nullptr, conv_dw_finish<T>);
    set(IM2COL, im2col<T>);
    set(COL2IM, col2im<T>);
    set(MAX_POOL_FORWARD, max_pool_forward<T>);
    set(MAX_POOL_DX, max_pool_dx<T>);
    set(AVG_POOL_FORWARD, avg_pool_forward<T>);
    set(AVG_POOL_DX, avg_pool_dx<T>);
    set(BATCH_MOMENTS, batch_moments<T>, batch_moments_scratch<T>, nullptr, batch_moments_finish<T>);
    set(RUNNING_MOMENTS, running_moments<T>);
    set(BATCH_NORM_FORWARD, batch_norm_forward<T>);
    set(BATCH_NORM_SUMS, batch_norm_sums<T>, chunk_sums_scratch<T>, nullptr, batch_norm_sums_finish<T>);
    set(BATCH_NORM_DX, batch_norm_dx<T>);
    set(LAYER_NORM_FORWARD, layer_norm_forward<T>);
    set(LAYER_NORM_DX, layer_norm_dx<T>);
    set(LAYER_NORM_DW, layer_norm_dw<T>, chunk_sums_scratch<T>, nullptr, layer_norm_dw_finish<T>);
    set(RELU_FORWARD, relu_forward<T>);
    set(RELU_DX, relu_dx<T>);
    set(SIGMOID_FORWARD, sigmoid_forward<T>);
    set(SIGMOID_DX, sigmoid_dx<T>);
    set(TANH_FORWARD, tanh_forward<T>);
    set(TANH_DX, tanh_dx<T>);
    set(LEAKY_RELU_FORWARD, leaky_relu_forward<T>);
    set(LEAKY_RELU_DX, leaky_relu_dx<T>);
    set(ELU_FORWARD, elu_forward<T>);
    set(ELU_DX, elu_dx<T>);
    set(GELU_FORWARD, gelu_forward<T>);
    set(GELU_DX, gelu_dx<T>);
    set(SILU_FORWARD, silu_forward<T>);
    set(SILU_DX, silu_dx<T>);
    set(ADD, add<T>);
    set(EXP_FORWARD, exp_forward<T>);
    set(LOG_FORWARD, log_forward<T>);
    set(SOFTMAX_FORWARD, softmax_forward<T>);
    set(SOFTMAX_DX, softmax_dx<T>);
    set(ELEMENTWISE_FORWARD, elementwise_forward<T>);
    set(ELEMENTWISE_DX, elementwise_dx<T>);
    set(CROSS_ENTROPY_LABELS, cross_entropy_labels<T>);
    set(CROSS_ENTROPY_SOFT, cross_entropy_soft<T>);
    set(SQUARED_ERROR, squared_error<T>);
    set(BINARY_CROSS_ENTROPY, binary_cross_entropy<T>);
    set(FOCAL_LABELS, focal_labels<T>);
    set(FOCAL_SOFT, focal_soft<T>);
    set(DICE, dice<T>);
    set(SGD, update_kernel<T, SgdUpdate>);
    set(ADAM, update_kernel<T, AdamUpdate>);
    set(RMSPROP, rmsprop<T>);
    set(SUM_SQUARES, sum_squares<T>, sum_squares_scratch, nullptr, sum_squares_finish);
    set(CLIP_FACTOR, clip_factor);
    set(MULTIPLY, multiply_all<T>);
    set(CLAMP, clamp<T>);
    set(EMA, ema<T>);
    set(DROPOUT, dropout<T>);
    set(DENSE_DW_SGD, dense_dw_sgd<T>, dense_dw_update_scratch<T>);
    set(DENSE_DW_ADAM, dense_dw_update<T, AdamUpdate>, dense_dw_update_scratch<T>);
    set(DENSE_DB_SGD, dense_db_update<T, SgdUpdate>);
    set(DENSE_DB_ADAM, dense_db_update<T, AdamUpdate>);
    set(NORM_RELU_POOL_FORWARD, norm_relu_pool_forward<T>, norm_relu_pool_scratch<T>);
    set(NORM_RELU_POOL_SUMS, norm_relu_pool_sums<T>, norm_relu_pool_sums_scratch<T>, nullptr,
        norm_relu_pool_sums_finish<T>);
    set(NORM_RELU_POOL_DX, norm_relu_pool_dx<T>);
    set(RANDOM_NEXT, random_next);
    set(GATHER_LABELS, gather_labels);
    set(LABEL_DIVISOR, label_divisor<T>);
    set(REDUCE_LOSS, reduce_loss<T>);
    set(COUNT_CORRECT, count_correct<T>);
    set(COUNT_CORRECT_BINARY, count_correct_binary<T>);
    set(ADVANCE, advance);
    set(ADAM_CORRECTIONS, adam_corrections);
    set(GATHER_BYTES, gather<T, std::uint8_t>);
    set(GATHER_FLOATS, gather<T, float>);
    set(GATHER_DOUBLES, gather<T, double>);
    set(COUNT_NONFINITE, count_nonfinite<T>);
    set(RANDOM_AFFINE, random_affine);
    set(DISPLACEMENT, displacement<T>, displacement_scratch<T>);
    set(WARP_BYTES, warp<T, std::uint8_t>, warp_scratch<T, std::uint8_t>);
    set(WARP_FLOATS, warp<T, float>, warp_scratch<T, float>);
    set(WARP_DOUBLES, warp<T, double>, warp_scratch<T, double>);
    set(PROBE_FMA, probe_fma<T>);
    set(PROBE_READ, probe_read<T>);
    set(PROBE_UPDATE, probe_update<T>);
    table.probe_flop[type] = PROBE_FLOP<T>;
}

inline Table make_table(const char *isa) {
    Table table{};
    table.isa = isa;
    fill<float>(table);
    fill<double>(table);
    return table;
}

}  // namespace fastnn
