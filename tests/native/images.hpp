// Tests pools against plain loops over each window; and normalisations, whose results other tests check: here
// they must stay within their arrays and write all outputs with any number of threads.
#pragma once

#include "cases.hpp"
#include "gemm/row_sums.hpp"

namespace {

// N images of H x W pixels and C channels, windows of R x S, P x Q of them.
template <class T>
void check_pool(int64_t N, int64_t H, int64_t W, int64_t C, int64_t R, int64_t S, int64_t P, int64_t Q,
                int64_t stride, int64_t pad) {
    using Tap = std::conditional_t<sizeof(T) == sizeof(double), int64_t, std::int32_t>;
    const auto x = whole<T>(N * H * W * C), dy = whole<T>(N * P * Q * C);
    std::vector<T> largest(dy.size(), -std::numeric_limits<T>::infinity()), sum(dy.size());
    std::vector<T> dx_of_largest(x.size()), dx_of_sum(x.size());
    std::vector<Tap> taps(dy.size());
    const auto for_seen = [&](auto body) {
        for (int64_t output = 0; output < N * P * Q; ++output)
            for (int64_t place = 0; place < R * S; ++place) {
                const int64_t h = output / Q % P * stride + place / S - pad;
                const int64_t w = output % Q * stride + place % S - pad;
                if (h < 0 || h >= H || w < 0 || w >= W) continue;
                for (int64_t c = 0; c < C; ++c)
                    body(std::size_t(output * C + c), place,
                         std::size_t(((output / (P * Q) * H + h) * W + w) * C + c));
            }
    };
    for_seen([&](std::size_t output, int64_t place, std::size_t pixel) {
        if (x[pixel] > largest[output]) taps[output] = Tap(place), largest[output] = x[pixel];
        sum[output] += x[pixel];
        dx_of_sum[pixel] += dy[output];
    });
    for_seen([&](std::size_t output, int64_t place, std::size_t pixel) {
        if (taps[output] == Tap(place)) dx_of_largest[pixel] += dy[output];
    });
    for (auto *values : {&sum, &dx_of_sum})
        for (T &value : *values) value *= T(1 / double(R * S));
    const std::vector<int64_t> sizes{N, H, W, C, R, S, P, Q, stride, stride, pad, pad};
    check(make<T>("max_pool_forward", MAX_POOL_FORWARD, sizes, {input(x), output(largest), output(taps)}));
    check(make<T>("max_pool_dx", MAX_POOL_DX, sizes, {input(dy), input(taps), output(dx_of_largest)}));
    check(make<T>("avg_pool_forward", AVG_POOL_FORWARD, sizes, {input(x), output(sum)}));
    check(make<T>("avg_pool_dx", AVG_POOL_DX, sizes, {input(dy), output(dx_of_sum)}));
    // Without the padding: each mean is over the pixels that a window sees.
    std::vector<T> seen(dy.size()), mean(dy.size()), spread(x.size());
    for_seen([&](std::size_t output, int64_t, std::size_t pixel) {
        seen[output] += 1;
        mean[output] += x[pixel];
    });
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] *= T(1 / double(seen[i]));
    for_seen([&](std::size_t output, int64_t, std::size_t pixel) {
        spread[pixel] += dy[output] * T(1 / double(seen[output]));
    });
    check(make<T>("avg_pool_forward without padding", AVG_POOL_FORWARD, sizes, {input(x), output(mean)}, {1}));
    check(make<T>("avg_pool_dx without padding", AVG_POOL_DX, sizes, {input(dy), output(spread)}, {1}));
    std::vector<Tap> lies(taps.size(), std::numeric_limits<Tap>::max());
    for (std::size_t i = 0; i < lies.size(); i += 2) lies[i] = std::numeric_limits<Tap>::min();
    check(make<T>("max_pool_dx of taps that lie", MAX_POOL_DX, sizes,
                  {input(dy), input(lies), output(std::vector<T>(x.size()))}));
}

template <class T> void check_pool() {
    for (int64_t C = 0; C <= 2 * LANES<T> + 1; ++C) check_pool<T>(2, 5, 4, C, 2, 2, 2, 2, 2, 0);
    for (const int64_t stride : {1, 2, 4})
        for (const int64_t pad : {0, 1, 5}) {
            check_pool<T>(2, 7, 6, LANES<T> + 1, 3, 2, 4, 5, stride, pad);
            check_pool<T>(3, 1, 1, 2, 3, 3, 9, 1, stride, pad);  // more windows than pixels
        }
    check_pool<T>(1, 9, 8, 3, 9, 8, 1, 1, 1, 0);
    check_pool<T>(0, 3, 3, 2, 2, 2, 1, 1, 2, 0);
    check_pool<T>(2, 0, 0, 2, 2, 2, 0, 0, 2, 0);
    check_pool<T>(2, 0, 3, 2, 2, 2, 1, 2, 1, 1);
}

template <class T> void check_norms(int64_t M, int64_t C) {
    const std::vector<int64_t> sizes{M, C};
    const Argument x = input(numbers<T>(M * C)), dy = input(numbers<T>(M * C)), y = output<T>(M * C);
    const Argument channels = input(whole<T>(C)), sums = output<T>(C), moments = input(whole<T>(2 * M));
    check(make<T>("batch_moments", BATCH_MOMENTS, sizes, {x, sums, sums}));
    check(make<T>("batch_norm_sums", BATCH_NORM_SUMS, sizes, {x, dy, channels, channels, sums, sums}, {0.1}));
    check(make<T>("layer_norm_dw", LAYER_NORM_DW, sizes, {x, dy, moments, sums, sums}));
    check(serial(make<T>("running_moments", RUNNING_MOMENTS, sizes,
                         {channels, channels, updated(whole<T>(C)), updated(whole<T>(C)), output<T>(2 * C)},
                         {0.1})));
    for (const bool affine : {false, true}) {
        const Argument gamma = affine ? channels : Argument{};
        check(make<T>("batch_norm_forward", BATCH_NORM_FORWARD, sizes,
                      {x, channels, channels, gamma, gamma, y}, {0.1}));
        for (const Argument &sum : {channels, Argument{}})
            check(make<T>("batch_norm_dx", BATCH_NORM_DX, sizes,
                          {x, dy, channels, channels, gamma, sum, sum, y}, {0.1}));
        check(make<T>("layer_norm_forward", LAYER_NORM_FORWARD, sizes, {x, gamma, gamma, y, output<T>(2 * M)},
                      {0.1}));
        check(make<T>("layer_norm_dx", LAYER_NORM_DX, sizes, {x, dy, gamma, moments, y}));
    }
}

template <class T> void check_norms() {
    for (const int64_t M : {0, 1, 5})
        for (int64_t C = 0; C <= 2 * LANES<T> + 1; ++C) check_norms<T>(M, C);
    const int64_t block = CHANNEL_VECTORS * LANES<T>;
    for (const int64_t rows : {CHUNK_ROWS - 1, CHUNK_ROWS, 3 * CHUNK_ROWS + 1})
        for (const int64_t C : {int64_t(1), block - 1, block, 2 * block + LANES<T> + 1})
            check_norms<T>(rows, C);
}

}  // namespace
