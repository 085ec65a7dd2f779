// The calls of a plan.
#pragma once

#include <vector>

#include "plan/call.hpp"

namespace fastnn {

using Calls = std::vector<Call>;

// How many calls read or write the array that begins at `data`.
inline int uses(const Calls &calls, const void *data) {
    int count = 0;
    for (const Call &call : calls)
        for (const void *array : call.array) count += array == data;
    return count;
}

// Whether there is a call at `index`, and of this kernel.
inline bool is_kernel(const Calls &calls, std::ptrdiff_t index, KernelId kernel) {
    return index >= 0 && index < std::ptrdiff_t(calls.size()) && calls[std::size_t(index)].kernel == kernel;
}

}  // namespace fastnn
