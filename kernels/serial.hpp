// The serial ends of kernels: range checks before the first write, the sum over losses after the last.
#pragma once

#include <cstdint>

namespace fastnn {

// Whether 0 <= index < limit for all of them.
inline bool in_range(const std::int64_t *index, std::int64_t count, std::int64_t limit) {
    std::uint64_t largest = 0;  // a negative index becomes a huge unsigned one
    for (std::int64_t i = 0; i < count; ++i) {
        const std::uint64_t value = std::uint64_t(index[i]);
        largest = value > largest ? value : largest;
    }
    return count == 0 || largest < std::uint64_t(limit);
}

template <class T> inline double sum(const void *values, std::int64_t count) {
    double total = 0;
    for (std::int64_t i = 0; i < count; ++i) total += static_cast<const T *>(values)[i];
    return total;
}

// In double and in ascending order, whatever the number of threads that wrote the values.
inline double sum(const void *values, std::int64_t count, bool is_double) {
    return is_double ? sum<double>(values, count) : sum<float>(values, count);
}

// sum_m weight[label_m]; labels are in range
inline double weight_of_labels(const void *weight, bool is_double, const std::int64_t *label,
                               std::int64_t count) {
    double total = 0;
    for (std::int64_t m = 0; m < count; ++m)
        total += is_double ? static_cast<const double *>(weight)[label[m]]
                           : static_cast<const float *>(weight)[label[m]];
    return total;
}

}  // namespace fastnn
