// Dense layers whose products are bf16: compiled where the instruction set has AVX512_BF16, which no level of
// x86-64 includes.
#include "isa/table.hpp"

#if defined(__AVX512BF16__)
#include "fusion/dense_update_bf16.hpp"

namespace fastnn {

void fill_dense_bf16(Table &table) {
    const Setter<float> set{table};
    set(DENSE_FORWARD_BF16, dense_forward_bf16, dense_forward_bf16_scratch, dense_forward_bf16_prepare);
    set(DENSE_DX_BF16, dense_dx_bf16, dense_dx_bf16_scratch, dense_dx_bf16_prepare);
    set(DENSE_DW_BF16, dense_dw_bf16, dense_dw_bf16_scratch, dense_dw_bf16_prepare);
    set(DENSE_DW_SGD_BF16, dense_dw_sgd_bf16, dense_dw_update_bf16_scratch, dense_dw_bf16_prepare);
    set(DENSE_DW_ADAM_BF16, dense_dw_update_bf16<AdamUpdate>, dense_dw_update_bf16_scratch,
        dense_dw_bf16_prepare);
}

}  // namespace fastnn
#endif
