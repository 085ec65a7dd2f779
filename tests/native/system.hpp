// What the driver asks of the operating system: memory that ends at a protected page, and child processes.
//
// Everything here is private to the single file that includes it.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#define NOGDI  // its macros have names such as PLANES
#include <windows.h>
#undef CALLBACK  // is also the name of a kernel
#else
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

namespace {

[[noreturn]] void fail(const std::string &message) {
    std::fprintf(stderr, "FAILED: %s\n", message.c_str());
    std::_Exit(1);
}

// Pages followed by a page that can be neither read nor written.
struct GuardedPages {
    // Memory that ends right before the protected page.
    static char *allocate(std::size_t size) {
        const std::size_t usable = usable_bytes(size);
#if defined(_WIN32)
        char *const pages = static_cast<char *>(
            VirtualAlloc(nullptr, usable + page_bytes(), MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
        DWORD before;
        if (!pages || !VirtualProtect(pages + usable, page_bytes(), PAGE_NOACCESS, &before))
            fail("VirtualAlloc");
#else
        void *const mapped = mmap(nullptr, usable + page_bytes(), PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) fail("mmap");
        char *const pages = static_cast<char *>(mapped);
        if (mprotect(pages + usable, page_bytes(), PROT_NONE) != 0) fail("mprotect");
#endif
        return pages + usable - size;
    }

    static void release(char *data, std::size_t size) {
        const std::size_t usable = usable_bytes(size);
        char *const pages = data + size - usable;
#if defined(_WIN32)
        VirtualFree(pages, 0, MEM_RELEASE);
#else
        munmap(pages, usable + page_bytes());
#endif
    }

private:
    static std::size_t page_bytes() {
#if defined(_WIN32)
        SYSTEM_INFO info;
        GetSystemInfo(&info);
        return info.dwPageSize;
#else
        return std::size_t(sysconf(_SC_PAGESIZE));
#endif
    }
    static std::size_t usable_bytes(std::size_t size) {
        return (size + page_bytes() - 1) / page_bytes() * page_bytes();
    }
};

#if defined(_WIN32)
constexpr bool HAS_FORK = false;
template <class Body> void in_child(Body) { fail("Windows has no fork"); }
#else
constexpr bool HAS_FORK = true;

// Runs `body` in a child process, with a time limit of one minute.
template <class Body> void in_child(Body body) {
    const pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        alarm(60);
        body();
        std::_Exit(0);
    }
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("a child process failed or hung, wait status " + std::to_string(status));
}
#endif

}  // namespace
