// Runs one call: chooses the number of threads, provides scratch memory and hands the call to the team.
#pragma once

#include <algorithm>
#include <cstring>

#include "plan/call.hpp"
#include "plan/system.hpp"
#include "plan/team.hpp"

namespace fastnn {

// FLOP that justify one more thread: a barrier costs 0.2 us, waking a sleeping thread several.
constexpr double WORK_PER_THREAD = 2e5;

// The scratch memory of a calling thread. It only grows.
class ScratchMemory {
public:
    ~ScratchMemory() { free_aligned(memory_); }

    // At least `bytes` bytes (a multiple of the cache line), or null.
    char *get(std::int64_t bytes) {
        if (bytes > size_) {
            free_aligned(memory_);
            memory_ = static_cast<char *>(aligned_memory(CACHE_LINE, std::size_t(bytes)));
            size_ = memory_ ? bytes : 0;
        }
        return memory_;
    }

private:
    char *memory_ = nullptr;
    std::int64_t size_ = 0;
};

// Returns false, without running anything, if there is no memory for the scratch buffer.
inline bool execute_call(const Table &table, Call &call, int threads) {
    static thread_local ScratchMemory scratch;
    const int parts = int(std::clamp(call.work / WORK_PER_THREAD, 1.0, double(threads)));
    if (const Scratch needed = table.scratch[call.kernel][call.is_double]) {
        const ScratchNeeds needs = needed(call);
        call.shared_bytes = whole_lines(needs.shared);
        call.scratch_bytes = whole_lines(needs.each);
        std::int64_t bytes = 0;
        if (__builtin_mul_overflow(call.scratch_bytes, parts, &bytes)) return false;
        if (__builtin_add_overflow(call.shared_bytes, bytes, &bytes)) return false;
        call.scratch = scratch.get(bytes);
        if (bytes && !call.scratch) return false;
        if (needs.zeroed) std::memset(call.scratch, 0, std::size_t(needs.zeroed));
    }
    const Kernel prepare = table.prepare[call.kernel][call.is_double];
    for (const Kernel kernel : {prepare, table.kernel[call.kernel][call.is_double]}) {
        if (!kernel) continue;
        if (parts == 1)
            kernel(call, 0, 1);
        else
            Team::instance().run(kernel, call, parts);
    }
    if (const Finish finish = table.finish[call.kernel][call.is_double]) finish(call);
    return true;
}

// Keep the team awake between the calls of a plan whose steps take `work` FLOP. open_session returns false if
// there is no session to close.
inline bool open_session(int threads, double work) { return Team::instance().open_session(threads, work); }
inline void close_session() { Team::instance().close_session(); }

}  // namespace fastnn
