// Recording: each thread can store the calls that it makes while they run for the first time.
#pragma once

#include <vector>

#include "plan/call.hpp"

namespace fastnn {

// Where this thread stores its calls; null while it does not record.
inline std::vector<Call> *&recording() {
    static thread_local std::vector<Call> *calls = nullptr;
    return calls;
}

inline void record(const Call &call) {
    if (recording()) recording()->push_back(call);
}

inline void record_into(std::vector<Call> *calls) { recording() = calls; }

}  // namespace fastnn
