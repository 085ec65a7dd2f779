// Convolutions, alone and with pooling.
#include "families/im2col.hpp"
#include "fusion/conv_pool.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(CONV_FORWARD, conv_forward<T>, conv_forward_scratch<T>, conv_forward_prepare<T>);
    set(CONV_DX, conv_dx<T>, conv_dx_scratch<T>, conv_dx_prepare<T>);
    set(CONV_DW, conv_dw<T>, conv_dw_scratch<T>, nullptr, conv_dw_finish<T>);
    set(CONV_POOL_FORWARD, conv_pool_forward<T>, conv_pool_forward_scratch<T>, conv_forward_prepare<T>);
    set(CONV_POOL_DW, conv_pool_dw<T>, conv_pool_dw_scratch<T>, nullptr, conv_pool_dw_finish<T>);
    set(IM2COL, im2col<T>);
    set(COL2IM, col2im<T>);
}

}  // namespace

void fill_conv(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
