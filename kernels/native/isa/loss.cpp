// Losses.
#include "families/loss.hpp"
#include "plan/serial.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(CROSS_ENTROPY_LABELS, cross_entropy_labels<T>);
    set(CROSS_ENTROPY_SOFT, cross_entropy_soft<T>);
    set(FOCAL_LABELS, focal_labels<T>);
    set(FOCAL_SOFT, focal_soft<T>);
    set(HINGE_LABELS, hinge_labels<T>);
    set(DICE, dice<T>);
    set(LABEL_DIVISOR, label_divisor<T>);
    set(WEIGH_LOSS, weigh_loss<T>);
    set(REDUCE_LOSS, reduce_loss<T>);
    set(COUNT_CORRECT, count_correct<T>);
    set(COUNT_CORRECT_BINARY, count_correct_binary<T>);
}

}  // namespace

void fill_loss(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
