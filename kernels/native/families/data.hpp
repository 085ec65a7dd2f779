// Gathers rows of a data set into a mini-batch, and counts non-finite values.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#include "plan/call.hpp"
#include "simd/fetch.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// The rows of a mini-batch lie anywhere in the data set. While one is converted, the one this many rows
// further is on its way from memory to L2: on a Zen 4, 32 random rows of 784 bytes take 6 us instead of 13,
// and of 784 floats 8.4 instead of 11. Four rows ahead gain no more; with the hint for L1 floats gain
// nothing.
constexpr std::int64_t ROWS_AHEAD_TO_GATHER = 2;

// out_m = source[index_m] * scale, computed in double and rounded once; nan for an index out of range.
// source (N, D) of type S, index (M,) -> out (M, D)
template <class T, class S> void gather(const Call &call, int part, int parts) {
    using op = operands::GATHER_BYTES;
    const auto [M, D, N] = call.sizes<GatherSizes>();
    const double scale = call.scalar[0];
    const std::int64_t *index = call.in<std::int64_t>(op::index);
    const Range rows = share(M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const std::int64_t row = index_at(index, m, N);
        const std::int64_t next = m + ROWS_AHEAD_TO_GATHER;
        const std::int64_t next_row = next < rows.end ? index_at(index, next, N) : -1;
        if (next_row >= 0) fetch_ahead(call.in<S>(op::source) + next_row * D, D);
        T *out = call.out<T>(op::out) + m * D;
        if (row < 0) {
            std::fill_n(out, D, std::numeric_limits<T>::quiet_NaN());
            continue;
        }
        const S *source = call.in<S>(op::source) + row * D;
        if (std::is_same_v<S, T> && scale == 1)
            std::memcpy(out, source, std::size_t(D) * sizeof(T));
        else
            for (std::int64_t d = 0; d < D; ++d) out[d] = T(double(source[d]) * scale);
    }
}

// out_m = source[index_m], or -1, which is no label, for an index out of range.
// source (N, D), index (M,) -> out (M, D), all int64
inline void gather_labels(const Call &call, int part, int parts) {
    using op = operands::GATHER_LABELS;
    const std::int64_t *source = call.in<std::int64_t>(op::source), *index = call.in<std::int64_t>(op::index);
    const auto [M, D, N] = call.sizes<GatherSizes>();
    const Range rows = share(M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const std::int64_t row = index_at(index, m, N);
        std::int64_t *out = call.out<std::int64_t>(op::out) + m * D;
        if (row < 0)
            std::fill_n(out, D, std::int64_t(-1));
        else if (D == 1)  // copy_n calls memmove, which takes longer than the copy
            *out = source[row];
        else
            std::copy_n(source + row * D, D, out);
    }
}

// count_0 = number of nan and infinite elements of x: those for which x - x is not 0. In one part.
template <class T> void count_nonfinite(const Call &call, int part, int) {
    using op = operands::COUNT_NONFINITE;
    if (part != 0) return;
    const T *x = call.in<T>(op::x);
    // Becomes nan, in its lane, with the first such element.
    const std::int64_t elements = call.sizes<Elements>().count;
    const Vec<T> any = accumulate<T>(0, elements, Vec<T>{}, [=](Vec<T> sum, std::int64_t e, int n) {
        const Vec<T> v = load_n(x + e, n);
        return sum + (v - v);
    });
    std::int64_t count = 0;
    if (sum_lanes<T>(any) != 0)  // rare enough to count them one by one
        for (std::int64_t e = 0; e < elements; ++e) count += x[e] - x[e] != 0;
    *call.out<std::int64_t>(op::count) = count;
}

// count_0 = number of elements of x below low or above high, which nan is not. In one part.
template <class T> void count_outside(const Call &call, int part, int) {
    using op = operands::COUNT_OUTSIDE;
    if (part != 0) return;
    const T *x = call.in<T>(op::x);
    const T low = T(call.scalar[0]), high = T(call.scalar[1]);
    const std::int64_t elements = call.sizes<Elements>().count;
    const IntVec<T> any = accumulate<T>(0, elements, IntVec<T>{}, [=](IntVec<T> any, std::int64_t e, int n) {
        const Vec<T> v = keep_first<T>(load_n(x + e, n), n, low);
        return any | (v < low) | (v > high);
    });
    std::int64_t count = 0;
    if (fold<LANES<T>>(any, [](auto a, auto b) { return a | b; }))  // rare, like non-finite elements
        for (std::int64_t e = 0; e < elements; ++e) count += x[e] < low || x[e] > high;
    *call.out<std::int64_t>(op::count) = count;
}

}  // namespace fastnn
