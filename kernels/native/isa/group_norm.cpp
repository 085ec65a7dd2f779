// Group normalisation.
#include "families/group_norm.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(GROUP_NORM_FORWARD, group_norm_forward<T>, group_norm_scratch<T>);
    set(GROUP_NORM_DX, group_norm_dx<T>, group_norm_scratch<T>);
    set(GROUP_NORM_DW, group_norm_dw<T>, group_norm_dw_scratch<T>, nullptr, group_norm_dw_finish<T>);
}

}  // namespace

void fill_group_norm(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
