// Optimizer updates.
#include "families/optim.hpp"
#include "plan/serial.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(SGD, update_kernel<T, SgdUpdate>);
    set(ADAM, update_kernel<T, AdamUpdate>);
    set(RMSPROP, rmsprop<T>);
    set(SUM_SQUARES, sum_squares<T>, sum_squares_scratch, nullptr, sum_squares_finish);
    set(CLIP_FACTOR, clip_factor);
    set(MULTIPLY, multiply_all<T>);
    set(CLAMP, clamp<T>);
    set(HOLD, hold<T>);
    set(EMA, ema<T>);
    set(ADVANCE, advance);
    set(ADAM_CORRECTIONS, adam_corrections);
}

}  // namespace

void fill_optim(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
