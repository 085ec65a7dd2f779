// Losses of each output alone.
#include "families/pointwise.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(SQUARED_ERROR, squared_error<T>);
    set(ABSOLUTE_ERROR, absolute_error<T>);
    set(HUBER, huber<T>);
    set(POISSON, poisson<T>);
    set(BINARY_HINGE, binary_hinge<T>);
    set(BINARY_CROSS_ENTROPY, binary_cross_entropy<T>);
}

}  // namespace

void fill_pointwise(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
