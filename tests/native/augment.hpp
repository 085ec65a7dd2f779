// Tests the warp: it must be exact where it only gathers, and stay within its arrays for any coordinates.
// Tests also that the random coordinates are the same for any number of threads.
#pragma once

#include "cases.hpp"
#include "simd/simd.hpp"

namespace {

template <class T, class S> void check_warp(KernelId kernel, int64_t M, int64_t H, int64_t W, int64_t C) {
    constexpr int64_t IMAGES = 7;
    constexpr double inf = std::numeric_limits<double>::infinity();
    const std::vector<int64_t> index = indices(M, IMAGES), sizes{M, H, W, C, IMAGES};
    std::vector<S> source;
    for (int64_t i = 0; i < IMAGES * H * W * C; ++i) source.push_back(S(random_below(256)));
    std::vector<T> gathered;
    for (const int64_t image : index)
        for (int64_t i = 0; i < H * W * C; ++i)
            gathered.push_back(T(double(source[std::size_t(image * H * W * C + i)]) * 0.5));
    std::vector<double> identity, wild;
    for (int64_t m = 0; m < M; ++m) {
        for (const double entry : {1, 0, 0, 0, 1, 0}) identity.push_back(entry);
        for (const double entry : {inf, -1e30, 0.3, std::nan(""), 1e9, -inf}) wild.push_back(entry);
    }
    std::vector<T> field;
    for (int64_t i = 0; i < 2 * M * H * W; ++i)
        field.push_back(i % 5 ? T(random_below(100)) - T(50.3) : std::numeric_limits<T>::infinity());
    const std::vector<double> scalars{0.5, 3};
    check(make<T>("warp that gathers", kernel, sizes,
                  {input(source), input(index), input(identity), {}, output(gathered)}, scalars));
    const Argument out = output<T>(M * H * W * C);
    check(make<T>("warp displaced", kernel, sizes,
                  {input(source), input(index), input(identity), input(field), out}, scalars));
    check(make<T>("warp anywhere", kernel, sizes, {input(source), input(index), input(wild), {}, out},
                  scalars));
}

template <class T> void check_augmentation() {
    for (int64_t W = 0; W <= 2 * LANES<T> + 1; ++W)
        for (const int64_t C : {1, 3}) {
            check_warp<T, std::uint8_t>(WARP_BYTES, 3, 4, W, C);
            check_warp<T, float>(WARP_FLOATS, 3, 4, W, C);
            check_warp<T, double>(WARP_DOUBLES, 3, 4, W, C);
        }
    check_warp<T, std::uint8_t>(WARP_BYTES, 0, 4, 4, 1);
    check_warp<T, std::uint8_t>(WARP_BYTES, 40, 28, 28, 1);
    const std::vector<std::uint64_t> bits{random_bits()};
    const std::vector<double> ranges{3, 0.4, 0.7, 1.4, 3, 2.5, 2, 1, 0.5, 0.5};
    check(make<T>("random_affine", RANDOM_AFFINE, {33, 5, 6},
                  {input(bits), input(ranges), output<double>(33 * 6)}));
    for (const double sigma : {0.2, 1.0, 4.0})
        for (const int64_t W : {0, 1, 5, 33})
            check(make<T>("displacement", DISPLACEMENT, {3, 4, W}, {input(bits), output<T>(3 * 2 * 4 * W)},
                          {5.0, sigma}));
}

}  // namespace
