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

// Scratch memory of a calling thread. It only grows.
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

// The distance between the scratch memories of two parts, unless they need more. It is the same for all
// calls, so that no thread writes where another has written before: a cache line that another core holds
// takes 3 to 16 ns to write on Zen 4.
constexpr std::int64_t OWN_STRIDE = (1 << 20) + 2 * CACHE_LINE;

// Gives a call its scratch memory. What is already set is not written again, since that would take the cache
// line from the other threads. Returns false if there is not enough memory.
inline bool provide_scratch(const ScratchNeeds &needs, int parts, Call &call) {
    static thread_local ScratchMemory shared, own;
    const std::int64_t each = whole_lines(needs.each), stride = each ? std::max(each, OWN_STRIDE) : 0;
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(stride, parts - 1, &bytes)) return false;
    if (__builtin_add_overflow(bytes, each, &bytes)) return false;
    char *const of_all = needs.shared ? shared.get(whole_lines(needs.shared)) : call.scratch;
    char *const of_first = each ? own.get(bytes) : nullptr;
    if ((needs.shared && !of_all) || (each && !of_first)) return false;
    if (call.scratch != of_all) call.scratch = of_all;
    if (call.own != of_first) call.own = of_first;
    if (call.own_stride != stride) call.own_stride = stride;
    if (needs.zeroed) std::memset(call.scratch, 0, std::size_t(needs.zeroed));
    return true;
}

// Returns false, without running anything, if there is no memory for the scratch buffers.
inline bool execute_call(const Table &table, Call &call, int threads) {
    const int parts = int(std::clamp(call.work / WORK_PER_THREAD, 1.0, double(threads)));
    const Scratch needed = table.scratch[call.kernel][call.is_double];
    const ScratchNeeds needs = needed ? needed(call) : ScratchNeeds{};
    if (needed && !provide_scratch(needs, parts, call)) return false;
    const Kernel prepare = needs.shared ? table.prepare[call.kernel][call.is_double] : nullptr;
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
