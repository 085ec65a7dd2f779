// Mini-batches: gathered, augmented, and dropout with its random bits.
#include "families/augment.hpp"
#include "families/data.hpp"
#include "families/random.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(RANDOM_NEXT, random_next);
    set(DROPOUT, dropout<T>);
    set(GATHER_LABELS, gather_labels);
    set(GATHER_BYTES, gather<T, std::uint8_t>);
    set(GATHER_FLOATS, gather<T, float>);
    set(GATHER_DOUBLES, gather<T, double>);
    set(COUNT_NONFINITE, count_nonfinite<T>);
    set(COUNT_OUTSIDE, count_outside<T>);
    set(RANDOM_AFFINE, random_affine);
    set(DISPLACEMENT, displacement<T>, displacement_scratch<T>);
    set(WARP_BYTES, warp<T, std::uint8_t>, warp_scratch<T, std::uint8_t>);
    set(WARP_FLOATS, warp<T, float>, warp_scratch<T, float>);
    set(WARP_DOUBLES, warp<T, double>, warp_scratch<T, double>);
}

}  // namespace

void fill_data(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
