# distutils: language = c++
"""Locks that Ctrl-C cannot leave locked, and settings that it cannot leave behind.

A KeyboardInterrupt can come between the call that changes something and the `try` whose `finally` changes it
back; since Python 3.14 also in `with lock:`. It cannot come between two lines of compiled code: here, one
call takes a lock, runs a function and gives the lock back. A setting ends with its `with` block or, if the
block was never entered or left, with the object: only the interrupted `with` statement refers to it.
"""

import os

cimport cython
cimport numpy as cnp
from libcpp.vector cimport vector

cnp.import_array()

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


def check_unused(bint is_used):
    """Raise RuntimeError if a setting is used: the end of an inner block would end the outer one, too."""
    if is_used:
        raise RuntimeError("this setting is in use already: make a new one for each with block")


@cython.no_gc  # or its attributes might be gone in __dealloc__
cdef class Setting:
    """Sets a context variable inside a `with` block, of which it must be the only user."""

    cdef object variable
    cdef object value
    cdef object token

    def __init__(self, variable, value):
        self.variable, self.value = variable, value

    def __enter__(self):
        check_unused(self.token is not None)
        self.token = self.variable.set(self.value)

    def __exit__(self, *error):
        self._reset()

    def __dealloc__(self):
        self._reset()

    cdef _reset(self):
        token, self.token = self.token, None
        if token is not None:
            self.variable.reset(token)


@cython.no_gc
cdef class Kept:
    """Gives arrays their values back after a `with` block, which begins with those of `others`, if any.

    With `done` (1,), only if the block ends by an exception and has not changed `done`. The arrays must stay
    in their places. As with a `Setting`, Ctrl-C cannot prevent it, and does not come in the middle of it.
    """

    cdef list arrays
    cdef list others
    cdef list values  # None outside of the block
    cdef object done
    cdef object before  # the value of `done`

    def __init__(self, arrays, others=(), done=None):
        self.arrays, self.others, self.done = list(arrays), list(others), done

    def __enter__(self):
        check_unused(self.values is not None)
        self.before = None if self.done is None else self.done[0]
        self.values = [cnp.PyArray_NewCopy(array, cnp.NPY_ANYORDER) for array in self.arrays]
        _copy(self.others, self.arrays)

    def __exit__(self, kind, *error):
        if kind is None and self.done is not None:
            self.values = None
        self._restore()

    def __dealloc__(self):
        self._restore()

    cdef _restore(self):
        values, self.values = self.values, None
        if values is not None and (self.done is None or self.done[0] == self.before):
            _copy(values, self.arrays)


cdef _copy(list sources, list targets):
    """Without the functions of NumPy that call Python code, during which Ctrl-C could come."""
    for source, target in zip(sources, targets):
        cnp.PyArray_CopyInto(target, source)


def _begin_generation():
    global generation
    generation += 1


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_generation)
