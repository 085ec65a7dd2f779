// Activations.
#include "families/act.hpp"
#include "families/elementwise.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
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
    set(ADD_BIAS, add_bias<T>);
    set(EXP_FORWARD, exp_forward<T>);
    set(LOG_FORWARD, log_forward<T>);
    set(SOFTMAX_FORWARD, softmax_forward<T>);
    set(SOFTMAX_DX, softmax_dx<T>);
    set(ELEMENTWISE_FORWARD, elementwise_forward<T>);
    set(ELEMENTWISE_DX, elementwise_dx<T>);
}

}  // namespace

void fill_act(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
