// Gradients of dense layers with the optimizer's update.
#include "fusion/dense_update.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(DENSE_DW_SGD, dense_dw_sgd<T>, dense_dw_update_scratch<T>, dense_dw_update_prepare<T>);
    set(DENSE_DW_ADAM, dense_dw_update<T, AdamUpdate>, dense_dw_update_scratch<T>, dense_dw_update_prepare<T>);
    set(DENSE_DB_SGD, dense_db_update<T, SgdUpdate>, dense_db_scratch<T>, nullptr,
        dense_db_update_finish<T, SgdUpdate>);
    set(DENSE_DB_ADAM, dense_db_update<T, AdamUpdate>, dense_db_scratch<T>, nullptr,
        dense_db_update_finish<T, AdamUpdate>);
}

}  // namespace

void fill_dense_update(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
