// Runs one call: how many threads it is worth, scratch memory, and off to the team.
#pragma once

#include <cstdlib>
#include <cstring>

#include "plan/call.hpp"
#include "plan/team.hpp"

namespace fastnn {

// FLOP that pay for one more thread: a barrier costs 0.2 us, waking a sleeping thread several.
constexpr double WORK_PER_THREAD = 2e5;

// Scratch memory of a calling thread; it only grows.
class ScratchMemory {
public:
    ~ScratchMemory() { std::free(memory_); }

    // At least `bytes`, whole cache lines, or null.
    char *get(std::int64_t bytes) {
        if (bytes > size_) {
            std::free(memory_);
            memory_ = static_cast<char *>(std::aligned_alloc(64, std::size_t(bytes)));
            size_ = memory_ ? bytes : 0;
        }
        return memory_;
    }

private:
    char *memory_ = nullptr;
    std::int64_t size_ = 0;
};

// False if there is no memory for the scratch buffer; then nothing was run.
inline bool execute_call(const Table &table, Call &call, int threads) {
    static thread_local ScratchMemory scratch;
    const double worth = call.work / WORK_PER_THREAD;
    const int parts = worth < 1 ? 1 : worth < threads ? int(worth) : threads;
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

// Around the calls of a plan, whose steps have so much work: the team stays awake between them.
// False if there is nothing to close.
inline bool open_session(int threads, double work) { return Team::instance().open_session(threads, work); }
inline void close_session() { Team::instance().close_session(); }

}  // namespace fastnn
