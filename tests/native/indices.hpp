// Tests kernels with indices out of range, which another thread can write after the checks: no access outside
// of the arrays, and nan (or the label -1) in the rows concerned alone.
#pragma once

#include <atomic>

#include "cases.hpp"

namespace {

// Outside of three classes or rows.
constexpr int64_t OUT_OF_RANGE[] = {-1, 3, 15, 1000000000, int64_t(1) << 40, INT64_MAX, INT64_MIN};

// The output with row `row` of `rows` replaced by nan, as the expectation of a further call.
template <class T> Argument with_nan_row(const Bytes &bytes, int64_t rows, int64_t row) {
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    const int64_t width = int64_t(values.size()) / rows;
    std::fill_n(values.begin() + row * width, width, std::numeric_limits<T>::quiet_NaN());
    return output(values);
}

// Runs a kernel with one index out of range; argument 1 holds the indices of its M rows. The row of that
// index is nan in the output `first`, and in `second` unless that is -1.
template <class T> void check_index_kernel(const Case &valid, int64_t M, std::size_t first, int second = -1) {
    const std::vector<Bytes> result = result_of(valid, 1);
    for (const int64_t row : {int64_t(0), M - 1})
        for (const int64_t index : OUT_OF_RANGE) {
            Case invalid = valid;
            invalid.name += " with the index " + std::to_string(index);
            std::memcpy(&invalid.arguments[1].before[std::size_t(row) * sizeof index], &index, sizeof index);
            invalid.arguments[first] = with_nan_row<T>(result[first], M, row);
            if (second >= 0)
                invalid.arguments[std::size_t(second)] = with_nan_row<T>(result[std::size_t(second)], M, row);
            check(invalid);
        }
}

template <class T, class S> void check_gathering(KernelId gather, KernelId warp) {
    constexpr int64_t M = 5, N = 3, H = 4, W = 2 * LANES<T> + 1;
    const std::vector<int64_t> index = indices(M, N);
    const std::vector<S> source(N * H * W, S(2));
    std::vector<double> matrix;
    for (int64_t m = 0; m < M; ++m)
        for (const double entry : {1, 0, 0, 0, 1, 0}) matrix.push_back(entry);
    check_index_kernel<T>(
        make<T>("gather", gather, {M, H * W, N}, {input(source), input(index), output<T>(M * H * W)}, {0.5}),
        M, 2);
    check_index_kernel<T>(make<T>("warp", warp, {M, H, W, 1, N},
                                  {input(source), input(index), input(matrix), {}, output<T>(M * H * W)},
                                  {0.5, 0}),
                          M, 4);
}

// While another thread switches the last label between a valid one and one far outside.
template <class T> void check_changing_labels() {
    constexpr int64_t M = 512, C = 3;
    std::vector<T> z = whole<T>(M * C, 9), weight(C, T(1)), losses(M), dz(M * C);
    std::vector<int64_t> label = indices(M, C);
    std::vector<double> factors(2);
    std::atomic<bool> done = false;
    std::thread changing([&] {
        while (!done)
            for (const int64_t other : OUT_OF_RANGE) {
                __atomic_store_n(&label.back(), other, __ATOMIC_RELAXED);
                __atomic_store_n(&label.back(), 0, __ATOMIC_RELAXED);
            }
    });
    for (const KernelId kernel : {CROSS_ENTROPY_LABELS, FOCAL_LABELS, HINGE_LABELS, LABEL_DIVISOR})
        for (int i = 0; i < 200; ++i) {
            Call call;
            call.kernel = kernel;
            call.is_double = sizeof(T) == sizeof(double);
            call.set_sizes(LabelSizes{M, C, C});
            if (kernel == LABEL_DIVISOR)
                call["factors"] = factors.data();
            else
                call["z"] = z.data(), call["losses"] = losses.data(), call["dz"] = dz.data();
            call["label"] = label.data(), call["weight"] = weight.data();
            if (!execute_call(table, call, 1)) fail("no scratch memory");
        }
    done = true;
    changing.join();
}

template <class T> void check_invalid_indices() {
    constexpr int64_t M = 5, C = 3;
    const auto z = whole<T>(M * C, 9);
    for (const bool weighted : {false, true})
        for (const double parameter : {0.0, 0.1})
            for (const bool gradient : {false, true})
                for (const KernelId kernel : {CROSS_ENTROPY_LABELS, FOCAL_LABELS, HINGE_LABELS})
                    check_index_kernel<T>(
                        make<T>(kernel_name(kernel), kernel, {M, C, C},
                                {input(z), input(indices(M, C)), weighted ? input(whole<T>(C)) : Argument{},
                                 output<T>(M), gradient ? output<T>(M * C) : Argument{}},
                                {parameter, 0.5}),
                        M, 3, gradient ? 4 : -1);
    check_index_kernel<double>(
        make<T>("label_divisor", LABEL_DIVISOR, {1, C},
                {input(whole<T>(C)), input(indices(1, C)), {}, output<double>(2)}, {1}),
        1, 3);
    check_gathering<T, std::uint8_t>(GATHER_BYTES, WARP_BYTES);
    check_gathering<T, float>(GATHER_FLOATS, WARP_FLOATS);
    check_gathering<T, double>(GATHER_DOUBLES, WARP_DOUBLES);
    const std::vector<int64_t> source{7, 8, 9, 10, 11, 12};
    const Bytes expected = bytes_of(std::vector<int64_t>{-1, -1, 11, 12});
    for (const int64_t index : OUT_OF_RANGE) {
        const Argument rows = input(std::vector<int64_t>{index, 2});
        const Case invalid =
            make<T>("gather_labels", GATHER_LABELS, {2, 2, 3}, {input(source), rows, output<int64_t>(4)});
        for (const Place place : {HEAP, BEFORE_GUARD})  // `check` would take -1 for an unwritten element
            if (result_of(invalid, 2, place)[2] != expected) fail("gather_labels with an index out of range");
    }
    check_changing_labels<T>();
}

}  // namespace
