# distutils: language = c++
"""Locks that Ctrl-C cannot leave locked.

Since Python 3.14, a KeyboardInterrupt can come between the call that takes a lock and the block that gives
it back, even in `with lock:`. It cannot come between two lines of compiled code: here, one call takes the
lock, runs a function and gives the lock back.
"""

import os

from libcpp.vector cimport vector

cdef extern from * nogil:
    """
    #include <atomic>

    namespace fastnn {

    // A forked child has none of the threads that held a lock: it counts one more generation, and what was
    // taken in an earlier one is free.
    std::atomic<int> generation{1};

    class Lock {
    public:
        bool is_taken() const { return taken_in == generation; }

        // Returns the generation, to be handed to `give_back`; 0 if the lock is taken.
        int take() {
            int before = taken_in;
            const int now = generation;
            return before != now && taken_in.compare_exchange_strong(before, now) ? now : 0;
        }

        // `taken` is what `take` has returned; 0 does nothing. In a child that was forked in between, another
        // thread may have taken the lock: it stays taken.
        void give_back(int taken) { taken_in.compare_exchange_strong(taken, 0); }

    private:
        std::atomic<int> taken_in{0};
    };

    }  // namespace fastnn
    """
    int generation "fastnn::generation"

    cdef cppclass NativeLock "fastnn::Lock":
        bint is_taken()
        int take()
        void give_back(int taken)


cdef class Lock:
    """A lock that is held while a function runs. `message` says what to do if it is taken."""

    cdef NativeLock native
    cdef readonly str message

    def __init__(self, str message):
        self.message = message

    @property
    def is_taken(self):
        """Whether a function runs with this lock."""
        return self.native.is_taken()

    def check(self):
        """Raise RuntimeError, with the message, if the lock is taken."""
        if self.native.is_taken():
            raise RuntimeError(self.message)

    def run(self, function, *arguments):
        """Return `function(*arguments)`. Raises RuntimeError, with the message, if the lock is taken."""
        cdef int taken = self.native.take()
        if not taken:
            raise RuntimeError(self.message)
        return self._call(taken, function, arguments)

    def run_if_free(self, function, *arguments):
        """Return `function(*arguments)`, or None, without calling it, if the lock is taken."""
        cdef int taken = self.native.take()
        return self._call(taken, function, arguments) if taken else None

    cdef _call(self, int taken, function, tuple arguments):
        try:
            return function(*arguments)
        finally:
            self.native.give_back(taken)


def run_with(locks, function):
    """Take the locks that are free and return `function(places)`, the list of their places in `locks`."""
    cdef vector[int] taken
    cdef Lock lock
    held = list(locks)
    try:
        for lock in held:
            taken.push_back(lock.native.take())
        return function([place for place in range(len(held)) if taken[place]])
    finally:
        for place in range(taken.size()):
            lock = held[place]
            lock.native.give_back(taken[place])


def _begin_generation():
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_generation)
