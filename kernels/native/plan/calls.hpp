// Questions about the calls of a plan, for the fusion passes.
#pragma once

#include <vector>

#include "plan/call.hpp"

namespace fastnn {

using Calls = std::vector<Call>;

// How many operands of a call, or of several, are the array that begins at `data`.
inline int uses(const Call &call, const void *data) {
    return int(std::count(std::begin(call.array), std::end(call.array), data));
}
inline int uses(const Calls &calls, const void *data) {
    int count = 0;
    for (const Call &call : calls) count += uses(call, data);
    return count;
}

// Whether the call writes the array that begins at `data`.
inline bool writes(const Call &call, const void *data) {
    for (int i = 0; i < MAX_OPERANDS; ++i)
        if (is_output(call.kernel, i) && call.array[i] == data) return true;
    return false;
}

// How many calls write the array that begins at `data`.
inline std::ptrdiff_t times_written(const Calls &calls, const void *data) {
    return std::count_if(calls.begin(), calls.end(), [=](const Call &call) { return writes(call, data); });
}

// Whether there is a call at `index` and it is one of this kernel.
inline bool is_kernel(const Calls &calls, std::ptrdiff_t index, KernelId kernel) {
    return index >= 0 && index < std::ptrdiff_t(calls.size()) && calls[std::size_t(index)].kernel == kernel;
}

}  // namespace fastnn
