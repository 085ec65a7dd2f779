// Normalisation and pooling, alone and together.
#include "fusion/norm_relu_pool.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
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
    set(NORM_RELU_POOL_FORWARD, norm_relu_pool_forward<T>, norm_relu_pool_scratch<T>);
    set(NORM_RELU_POOL_SUMS, norm_relu_pool_sums<T>, norm_relu_pool_sums_scratch<T>, nullptr,
        norm_relu_pool_sums_finish<T>);
    set(NORM_RELU_POOL_DX, norm_relu_pool_dx<T>);
}

}  // namespace

void fill_norm(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
