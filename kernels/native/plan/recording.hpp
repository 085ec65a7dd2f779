// The calls of a training step, written down while they run for the first time.
#pragma once

#include <vector>

#include "plan/call.hpp"

namespace fastnn {

// Where this thread records its calls; null: it does not.
inline std::vector<Call> *&recording() {
    static thread_local std::vector<Call> *calls = nullptr;
    return calls;
}

inline void record(const Call &call) {
    if (recording()) recording()->push_back(call);
}

inline void record_into(std::vector<Call> *calls) { recording() = calls; }

}  // namespace fastnn
