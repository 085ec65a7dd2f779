// Dense layers: products, and sums over rows.
#include "families/dense.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(DENSE_FORWARD, dense_forward<T>, dense_forward_scratch<T>, nullptr, dense_forward_finish<T>);
    set(DENSE_DX, dense_dx<T>, dense_dx_scratch<T>);
    set(DENSE_DW, dense_dw<T>, dense_dw_scratch<T>, nullptr, dense_dw_finish<T>);
    set(DENSE_DB, dense_db<T>, dense_db_scratch<T>, nullptr, dense_db_finish<T>);
}

}  // namespace

void fill_dense(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
