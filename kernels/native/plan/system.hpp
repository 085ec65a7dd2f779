// What the executor and the thread team ask of the operating system: on Linux everything, elsewhere as much as
// there is.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <thread>

#if defined(_WIN32)
#include <malloc.h>
#else
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace fastnn {

// Memory that begins at a multiple of `alignment`, or null; `bytes` is a multiple of it, too. The C library of
// Windows has no aligned_alloc, because its free() could not release such memory.
inline void *aligned_memory(std::size_t alignment, std::size_t bytes) {
#if defined(_WIN32)
    return _aligned_malloc(bytes, alignment);
#else
    return std::aligned_alloc(alignment, bytes);
#endif
}

inline void free_aligned(void *memory) {
#if defined(_WIN32)
    _aligned_free(memory);
#else
    std::free(memory);
#endif
}

// Tells the core that this is a spin loop.
inline void spin_pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Calls the function in each child process that fork() makes from now on. Windows has no fork.
inline void after_fork_in_child(void (*function)()) {
#if defined(_WIN32)
    (void)function;
#else
    pthread_atfork(nullptr, nullptr, function);
#endif
}

// Blocks all signals on this thread, and on the threads that it starts, as long as the object lives. Windows
// has no signals that a thread could handle.
class BlockedSignals {
#if defined(_WIN32)
public:
    BlockedSignals() {}
#else
public:
    BlockedSignals() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    BlockedSignals(const BlockedSignals &) = delete;
    BlockedSignals &operator=(const BlockedSignals &) = delete;

private:
    sigset_t before_;
#endif
};

// The core that this thread runs on; -1 if the system does not tell, and then a set of cores does nothing.
// macOS and Windows leave it to their scheduler.
#if defined(__linux__)
inline int this_core() { return sched_getcpu(); }

class Cores {
public:
    bool take_from_caller() { return sched_getaffinity(0, sizeof set_, &set_) == 0; }
    void remove_unless_last(int core) {
        if (CPU_COUNT(&set_) > 1) CPU_CLR(core, &set_);
    }
    bool give_to(std::thread::native_handle_type thread) const {
        return pthread_setaffinity_np(thread, sizeof set_, &set_) == 0;
    }
    bool operator==(const Cores &other) const { return CPU_EQUAL(&set_, &other.set_); }

private:
    cpu_set_t set_{};
};
#else
inline int this_core() { return -1; }

struct Cores {
    bool take_from_caller() { return false; }
    void remove_unless_last(int) {}
    bool give_to(std::thread::native_handle_type) const { return false; }
    bool operator==(const Cores &) const { return true; }
};
#endif

}  // namespace fastnn
