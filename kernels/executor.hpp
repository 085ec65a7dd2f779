// Runs one call: how many threads it is worth, scratch memory, and off to the team.
#pragma once

#include <cstdlib>

#include "call.hpp"
#include "team.hpp"

namespace fastnn {

// FLOP that pay for one more thread: a barrier costs 0.2 us, waking a sleeping thread several.
constexpr double WORK_PER_THREAD = 2e5;

// Scratch memory of a calling thread; it only grows.
class ScratchMemory {
public:
    ~ScratchMemory() { std::free(memory_); }

    // At least `bytes`, aligned to a cache line, or null.
    char *get(std::int64_t bytes) {
        if (bytes > size_) {
            std::free(memory_);
            const std::int64_t rounded = (bytes + 63) / 64 * 64;
            memory_ = static_cast<char *>(std::aligned_alloc(64, std::size_t(rounded)));
            size_ = memory_ ? rounded : 0;
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
    if (const ScratchBytes needed = table.scratch[call.kernel][call.is_double]) {
        call.scratch_bytes = (needed(call) + 63) / 64 * 64;  // whole cache lines
        call.scratch = scratch.get(call.scratch_bytes * parts);
        if (call.scratch_bytes && !call.scratch) return false;
    }
    const Kernel kernel = table.kernel[call.kernel][call.is_double];
    if (parts == 1)
        kernel(call, 0, 1);
    else
        Team::instance().run(kernel, call, parts);
    return true;
}

// Around the calls of a plan, whose steps have so much work: the team stays awake between them.
inline void open_session(int threads, double work) { Team::instance().open_session(threads, work); }
inline void close_session() { Team::instance().close_session(); }

}  // namespace fastnn
