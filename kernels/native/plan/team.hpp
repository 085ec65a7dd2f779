// A small team of threads that runs the parts of one kernel call.
//
// The caller is thread 0 and runs part 0; worker i always runs part i, so that a thread finds in its cache
// the data that it wrote before. The caller takes over the part of a worker that has not begun when the
// caller has finished its own: one that must be woken first (30 us), or whose core is held by another
// process. After its last job a worker spins for a moment, or as long as a plan runs, and then sleeps. A
// caller that finds the team busy (another Python thread is using it) runs all parts itself. The result is
// the same in every case. After fork() the child starts its own team: threads do not survive a fork.
// (libgomp's team deadlocks there.)
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "plan/call.hpp"
#include "plan/system.hpp"

namespace fastnn {

class Team {
public:
    // The team of this process. It is never destroyed, since its threads may outlive static destructors.
    static Team &instance() {
        static std::once_flag once;
        std::call_once(once, [] {
            current().store(new Team);
            after_fork_in_child([] { current().store(new Team); });
        });
        return *current().load();
    }

    // Runs all parts of the call and returns when they have finished.
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

    // While a session is open, workers wait for jobs without sleeping: a plan knows that more jobs will come
    // (784-128-64-32-10 at batch 32 has gaps of 25 us, in which they would fall asleep). `work` is the FLOP
    // of a step. Returns false, without opening a session, if `threads` is 1: workers must not spin on the
    // cores of other training runs.
    bool open_session(int threads, double work) {
        if (threads < 2) return false;
        ++sessions_;
        if (work < WORK_TO_WAKE) return true;
        std::unique_lock<std::mutex> alone(busy_, std::try_to_lock);
        const int helpers = alone.owns_lock() ? ensure_workers(threads - 1) : 0;
        if (!helpers) return true;
        // A new worker starts on the core of its creator, and a caller may have moved to the core of a
        // worker.
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

    // Pauses before a waiting thread stops spinning: about 20 us, longer than the gap between the kernels of
    // a training step, but short compared with a time slice.
    static constexpr int SPINS = 1000;

    // Waking a thread costs the caller 13 us (a system call, measured on a virtual machine). Calls with fewer
    // FLOP than this do not wake the team, except for every eighth, since more calls seem to follow.
    static constexpr double WORK_TO_WAKE = 8e6;
    static constexpr int CALLS_TO_WAKE = 8;

    struct alignas(64) Worker {
        explicit Worker(const std::atomic<int> &sessions) : sessions(sessions) {}

        const std::atomic<int> &sessions;  // the number of open sessions
        // The job to run; null if there is none, busy() while the worker runs it.
        std::atomic<const Job *> job{nullptr};
        std::atomic<bool> asleep{false};
        int part = 0;
        std::thread::native_handle_type thread{};
        Cores cores{};  // the cores that the team has restricted it to, if any
        std::mutex mutex;
        std::condition_variable wake;

        void start(const Job &next, int its_part) {
            part = its_part;
            job.store(&next);
            rouse();
        }

        // Wakes the worker if it sleeps and no other thread has woken it.
        void rouse() {
            if (!asleep.exchange(false)) return;
            const std::lock_guard<std::mutex> lock(mutex);
            wake.notify_one();
        }

        // Takes back a job. Returns false if the worker has begun it.
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
                    // Both threads store before they load: either rouse() sees `asleep`, or this sees the
                    // job.
                    asleep.store(true);
                    return job.load() != nullptr || sessions.load() > 0;
                });
                asleep.store(false);
            }
        }

        // Marks the waiting job as begun and returns it; null if there is none or the caller took it back.
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

    // Starts workers until there are `count`. Returns their number, which is smaller if the system refuses.
    int ensure_workers(int count) {
        if (int(workers_.size()) >= count) return count;
        const BlockedSignals inherited;  // by the workers: only the program's own threads handle signals
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
        return int(workers_.size());
    }

    // Lets the first `count` workers run on the cores that the caller may use, except the one that it is
    // using. By default Linux may wake a worker on the core of its waker although another core is idle, and
    // then the two take turns, call after call (dense_forward of 128x784x512: 940 us on two threads, 455 with
    // this).
    void keep_off_this_core(int count) {
        const int here = kept_off_ = this_core();
        Cores cores;
        if (here < 0 || !cores.take_from_caller()) return;
        cores.remove_unless_last(here);
        for (int i = 0; i < count; ++i) {
            Worker &worker = *workers_[i];
            if (!(worker.cores == cores) && cores.give_to(worker.thread)) worker.cores = cores;
        }
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
