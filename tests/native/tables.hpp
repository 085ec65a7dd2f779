// Tests embeddings against plain loops, also with values that are no indices, and group normalisations and
// biases, which must stay within their arrays and write all outputs with any number of threads.
#pragma once

#include <atomic>

#include "cases.hpp"

namespace {

// Values that name no row of a table of 3 rows.
template <class T>
const T NO_INDICES[] = {T(-1), T(3), T(0.5), T(1e30), T(-1e30), std::numeric_limits<T>::infinity(),
                        std::numeric_limits<T>::quiet_NaN()};

// M indices, one of which is `wrong` unless that is a valid one, rows of D elements.
template <class T> void check_embedding(int64_t M, int64_t D, T wrong) {
    constexpr int64_t ROWS = 3, PADDING = 1;
    std::vector<T> x;
    for (const int64_t index : indices(M, ROWS)) x.push_back(T(index));
    if (M) x[std::size_t(M / 2)] = wrong;
    const auto w = whole<T>(ROWS * D, 9), dy = whole<T>(M * D, 9);
    std::vector<T> y, dw(std::size_t(ROWS * D)), dw_of_padding;
    for (int64_t m = 0; m < M; ++m) {
        const int64_t row = index_at(x.data(), m, ROWS);
        for (int64_t d = 0; d < D; ++d) {
            y.push_back(row < 0 ? std::numeric_limits<T>::quiet_NaN() : w[std::size_t(row * D + d)]);
            if (row >= 0) dw[std::size_t(row * D + d)] += dy[std::size_t(m * D + d)];
        }
    }
    dw_of_padding = dw;
    std::fill_n(dw_of_padding.begin() + PADDING * D, D, T(0));
    check(make<T>("embedding_forward", EMBEDDING_FORWARD, {M, D, ROWS, -1}, {input(x), input(w), output(y)}));
    check(make<T>("embedding_dw", EMBEDDING_DW, {M, D, ROWS, -1}, {input(x), input(dy), output(dw)}));
    check(make<T>("embedding_dw with padding", EMBEDDING_DW, {M, D, ROWS, PADDING},
                  {input(x), input(dy), output(dw_of_padding)}));
    if (M && whole_in_range(x.data(), M, ROWS) != (index_at(&wrong, 0, ROWS) >= 0)) fail("whole_in_range");
}

// While another thread switches the last index between a valid one and one far outside.
template <class T> void check_changing_embedding() {
    constexpr int64_t M = 512, D = 3, ROWS = 3;
    std::vector<T> x(M), w(ROWS * D, T(1)), y(M * D), dw(ROWS * D);
    std::atomic<bool> done = false;
    std::thread changing([&] {
        while (!done)
            for (T other : NO_INDICES<T>) {
                T valid = 0;
                __atomic_store(&x.back(), &other, __ATOMIC_RELAXED);
                __atomic_store(&x.back(), &valid, __ATOMIC_RELAXED);
            }
    });
    for (int i = 0; i < 200; ++i)
        for (const KernelId kernel : {EMBEDDING_FORWARD, EMBEDDING_DW}) {
            Call call;
            call.kernel = kernel;
            call.is_double = sizeof(T) == sizeof(double);
            call.set_sizes(EmbeddingSizes{M, D, ROWS, -1});
            call["x"] = x.data();
            if (kernel == EMBEDDING_FORWARD)
                call["w"] = w.data(), call["y"] = y.data();
            else
                call["dy"] = y.data(), call["dw"] = dw.data();
            if (!execute_call(table, call, 1)) fail("no scratch memory");
        }
    done = true;
    changing.join();
}

template <class T> void check_group_norm(int64_t N, int64_t S, int64_t C, int64_t groups) {
    const std::vector<int64_t> sizes{N, S, C, groups};
    const int64_t count = N * S * C;
    const Argument x = input(numbers<T>(count)), dy = input(numbers<T>(count)), y = output<T>(count);
    const Argument channels = input(whole<T>(C)), moments = input(whole<T>(2 * N * C));
    check(make<T>("group_norm_dw", GROUP_NORM_DW, sizes, {x, dy, moments, output<T>(C), output<T>(C)}));
    for (const Argument &gamma : {channels, Argument{}}) {
        check(make<T>("group_norm_forward", GROUP_NORM_FORWARD, sizes,
                      {x, gamma, gamma, y, output<T>(2 * N * C)}, {0.1}));
        check(make<T>("group_norm_dx", GROUP_NORM_DX, sizes, {x, dy, gamma, moments, y}));
    }
}

template <class T> void check_tables() {
    for (int64_t D = 0; D <= 2 * LANES<T> + 1; ++D) check_embedding<T>(7, D, T(2));
    for (const int64_t M : {0, 1, 301})
        for (const T wrong : NO_INDICES<T>) check_embedding<T>(M, LANES<T> + 1, wrong);
    check_changing_embedding<T>();
    for (int64_t C = 1; C <= 2 * LANES<T> + 1; ++C) {
        check_group_norm<T>(2, 3, C, 1);
        check_group_norm<T>(5, 65, 2 * C, 2);
        check(make<T>("add_bias", ADD_BIAS, {5, C},
                      {input(numbers<T>(5 * C)), input(numbers<T>(C)), output<T>(5 * C)}));
    }
    check_group_norm<T>(0, 3, 4, 2);
    check_group_norm<T>(2, 0, 4, 2);
}

}  // namespace
