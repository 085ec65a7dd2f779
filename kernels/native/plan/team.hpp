// A small team of threads that runs the parts of one kernel call.
//
// The caller is thread 0 and does part 0; worker i does part i, always, so that a thread finds in its cache
// what it wrote before. Only a worker that has not begun when the caller is ready loses its part to it: one
// that must be woken first (30 us), or whose core another process holds. A worker spins for a moment after
// its last job, or as long as a plan runs, and then sleeps; a caller that finds the team busy (another Python
// thread is using it) does all parts itself. The result is the same in every case. After fork() the child
// starts a team of its own: threads do not survive a fork, and libgomp's team would deadlock there.
#pragma once

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "plan/call.hpp"

namespace fastnn {

// Tell the core that this is a spinning loop.
inline void spin_pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

class Team {
public:
    // The team of this process; never destroyed, since its threads may outlive static destructors.
    static Team &instance() {
        static std::once_flag once;
        std::call_once(once, [] {
            current().store(new Team);
            pthread_atfork(nullptr, nullptr, [] { current().store(new Team); });
        });
        return *current().load();
    }

    // Runs all parts of the call and returns when they are done.
    void run(Kernel kernel, const Call &call, int parts) {
        std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
        int helpers = alone.owns_lock() ? ensure_workers(parts - 1) : 0;
        if (helpers && asleep(helpers)) {
            if (call.work < WORK_TO_WAKE && ++unhelped_ % CALLS_TO_WAKE)
                helpers = 0;
            else
                keep_off_this_core(helpers);
        }
        const Job job{kernel, &call, parts};
        for (int i = 0; i < helpers; ++i) workers_[i]->start(job, i + 1);
        kernel(call, 0, parts);
        for (int part = helpers + 1; part < parts; ++part) kernel(call, part, parts);
        for (int i = 0; i < helpers; ++i)
            if (workers_[i]->revoke(job)) kernel(call, i + 1, parts);
        for (int i = 0; i < helpers; ++i) workers_[i]->wait();
    }

    // While a session is open, workers wait for jobs without going to sleep: a plan knows that more will come
    // (784-128-64-32-10 at batch 32 has gaps of 25 us, in which they would fall asleep). `work`: of one step.
    // False, and no session, where one thread does all: workers must not spin on the
    // cores of other trainings.
    bool open_session(int threads, double work) {
        if (threads < 2) return false;
        ++sessions_;
        if (work < WORK_TO_WAKE) return true;
        std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
        const int helpers = alone.owns_lock() ? ensure_workers(threads - 1) : 0;
        if (!helpers) return true;
        // A new worker begins on the core of its creator, and a caller may have moved to that of its worker.
        if (this_core() != kept_off_) keep_off_this_core(helpers);
        for (int i = 0; i < helpers; ++i) workers_[i]->rouse();
        return true;
    }
    void close_session() { --sessions_; }

private:
    struct Job {
        Kernel kernel;
        const Call *call;
        int parts;
    };

    // Pauses before a waiting thread stops spinning: some 20 us, longer than the gap between the kernels
    // of a training step, short beside a time slice.
    static constexpr int SPINS = 1000;

    // Waking a thread costs its caller 13 us (a system call, measured on a virtual machine). A call of less
    // FLOP than this does without; but every so many of them one wakes the team, since more seem to follow.
    static constexpr double WORK_TO_WAKE = 8e6;
    static constexpr int CALLS_TO_WAKE = 8;

    struct alignas(64) Worker {
        explicit Worker(const std::atomic<int> &sessions) : sessions(sessions) {}

        const std::atomic<int> &sessions;  // how many are open
        // What there is to do; null: nothing, busy(): it is being done.
        std::atomic<const Job *> job{nullptr};
        std::atomic<bool> asleep{false};
        int part = 0;
        pthread_t thread{};
#if defined(__linux__)
        cpu_set_t cores{};  // where it may run, as far as this team has said so
#endif
        std::mutex mutex;
        std::condition_variable wake;

        void start(const Job &next, int its_part) {
            part = its_part;
            job.store(&next);
            rouse();
        }

        // Wakes it if it sleeps and nobody has done so already.
        void rouse() {
            if (!asleep.exchange(false)) return;
            const std::lock_guard<std::mutex> lock(mutex);
            wake.notify_one();
        }

        // Takes back a job that the worker has not begun; false if it has.
        bool revoke(const Job &given) {
            const Job *expected = &given;
            return job.compare_exchange_strong(expected, nullptr);
        }

        void wait() {
            for (int spins = 0; job.load(std::memory_order_acquire); ++spins) {
                spin_pause();
                if (spins > SPINS) std::this_thread::yield();  // another process may hold the worker's core
            }
        }

        void loop() {
            for (;;) {
                const Job *next = await_job();
                next->kernel(*next->call, part, next->parts);
                job.store(nullptr, std::memory_order_release);
            }
        }

        const Job *await_job() {
            for (;;) {
                for (int spins = 0; spins < SPINS || sessions.load(std::memory_order_relaxed) > 0; ++spins) {
                    if (const Job *next = begin()) return next;
                    spin_pause();
                    if (spins % SPINS == SPINS - 1) std::this_thread::yield();  // others may want this core
                }
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [this] {
                    // Both sides store before they load: either rouse() sees `asleep`, or this sees the job.
                    asleep.store(true);
                    return job.load() != nullptr || sessions.load() > 0;
                });
                asleep.store(false);
            }
        }

        // The job that waits, marked as begun; null if there is none or the caller has taken it back.
        const Job *begin() {
            const Job *next = job.load(std::memory_order_relaxed);
            return next && job.compare_exchange_strong(next, busy()) ? next : nullptr;
        }

        static const Job *busy() {
            static const Job mark{};
            return &mark;
        }
    };

    static std::atomic<Team *> &current() {
        static std::atomic<Team *> team{nullptr};
        return team;
    }

    // Starts workers until there are `count`; returns how many there are (fewer if the system refuses).
    int ensure_workers(int count) {
        if (int(workers_.size()) >= count) return count;
        // Threads inherit the signal mask: signals are the business of the program's own threads.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            while (int(workers_.size()) < count) {
                auto worker = std::make_unique<Worker>(sessions_);
                std::thread thread([w = worker.get()] { w->loop(); });
                worker->thread = thread.native_handle();
                thread.detach();
                workers_.push_back(std::move(worker));
            }
        } catch (const std::system_error &) {
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return int(workers_.size());
    }

    // Lets the first `count` workers run where the caller may, but not where it does. Left to itself, Linux
    // may wake a worker on the core of its waker although another one is idle, and then the two take turns,
    // call after call (dense_forward of 128x784x512: 940 us on two threads, 455 with this).
    void keep_off_this_core(int count) {
#if defined(__linux__)
        cpu_set_t cores;
        const int here = kept_off_ = this_core();
        if (here < 0 || sched_getaffinity(0, sizeof cores, &cores) != 0) return;
        if (CPU_COUNT(&cores) > 1) CPU_CLR(here, &cores);
        for (int i = 0; i < count; ++i) {
            Worker &worker = *workers_[i];
            if (CPU_EQUAL(&cores, &worker.cores)) continue;
            if (pthread_setaffinity_np(worker.thread, sizeof cores, &cores) == 0) worker.cores = cores;
        }
#else
        (void)count;
#endif
    }

    static int this_core() {
#if defined(__linux__)
        return sched_getcpu();
#else
        return -1;
#endif
    }

    // Whether any of the first `count` workers sleeps.
    bool asleep(int count) const {
        for (int i = 0; i < count; ++i)
            if (workers_[i]->asleep.load(std::memory_order_relaxed)) return true;
        return false;
    }

    std::mutex busy_;
    std::atomic<int> sessions_{0};
    unsigned unhelped_ = 0;
    int kept_off_ = -1;  // the core that the workers were last kept off
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace fastnn
