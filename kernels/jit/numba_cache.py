"""How the Numba kernels are compiled, and where their machine code is kept between two runs.

Importing this loads Numba, so only `*_jit.py` does it.

Numba's own `cache=True` keeps its files next to the source, where they outlive an uninstall and shadow a
later editable install. Ours are in a private folder of the user's cache, one per version of everything
that shapes them. Numba compares a stamp of the source and recompiles what is stale. A damaged file makes
it raise at best (a block of zeros in the machine code is a segmentation fault, tried with 0.68), so each
entry carries its checksum, and what does not fit is deleted and compiled again.
"""

import contextlib
import glob
import os
import pickle
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    _CacheLocator,
    _SourceFileBackedLocatorMixin,
)
from numba.core.errors import TypingError
from numba.core.registry import CPUDispatcher
from numba.core.serialize import dumps

# No fastmath: it would drop nan and infinity, and reorder sums.
OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy"}

FLOATS = (np.float32, np.float64)

# For the functions that kernels call. They are compiled into the kernel, so they must be in its file, or in
# one of these: the stamp of a cache entry is that of its source and of them.
jit = numba.jit(**OPTIONS)
SHARED = [Path(__file__).with_name("vmath.py"), Path(__file__).parents[1] / "random_jit.py"]


def kernel(**dtypes):
    """Decorate a kernel: `@kernel()`, or `@kernel(label=np.int64, ...)`.

    `dtypes` gives the type, or a tuple of types, of those arrays that do not share the one floating type
    of the call.
    """

    def decorate(function):
        if numba.config.DISABLE_JIT:  # plain Python for a debugger, as from `jit`
            return function
        dispatcher = Kernel(function, targetoptions=OPTIONS)
        dispatcher.dtypes = dtypes
        if FOLDER is not None:
            # RuntimeError: the folder has become unwritable, or the source has no file.
            with contextlib.suppress(RuntimeError):
                dispatcher._cache = _Cache(function)
        return dispatcher

    return decorate


class Kernel(CPUDispatcher):
    """A compiled kernel. It checks types only when a combination of them comes for the first time:
    for a known one Numba's dispatcher goes straight to the machine code. That dispatcher does not tell
    a byte-swapped array from a native one (and reads wrong numbers, though never outside the array).
    """

    dtypes = {}  # noqa: RUF012 (set by `kernel` on each instance)

    def _compile_for_args(self, *args, **kwargs):
        self._check_arrays(args)
        try:
            return super()._compile_for_args(*args, **kwargs)
        except TypingError as error:
            given = ", ".join(str(self.typeof_pyval(value)) for value in args)
            raise TypeError(f"{self.__name__} is not defined for ({given})") from error

    def _check_arrays(self, args):
        shared = {}
        for name, value in zip(self.__code__.co_varnames, args, strict=False):  # locals follow the arguments
            if not isinstance(value, np.ndarray):
                continue
            if not value.flags.c_contiguous:
                raise TypeError(f"{self.__name__}: {name} must be C-contiguous")
            wanted = self.dtypes.get(name, FLOATS)
            if value.dtype not in (wanted if isinstance(wanted, tuple) else (wanted,)):
                raise TypeError(f"{self.__name__}: {name} has the wrong type, {value.dtype}")
            if name not in self.dtypes:
                shared[name] = value.dtype
        if len(set(shared.values())) > 1:
            raise TypeError(f"{self.__name__}: {', '.join(shared)} must share one floating type")


def cache_folder():
    """The folder for the cache of this fastnn, Numba, llvmlite and CPU, created if need be.

    None if it cannot be created, or if others can write there: to load a cache entry is to run it.
    """
    key = "-".join(
        (
            version("fastnn-kernels"),
            f"numba{numba.__version__}",
            f"llvmlite{llvmlite.__version__}",
            get_host_cpu_name(),
        )
    )
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME", ""))
        if not base.is_absolute():  # unset or invalid, in the words of the XDG specification
            base = Path.home() / ".cache"
        folder = base / "fastnn" / "numba" / key
        for path in (*reversed(folder.parents), folder):
            path.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):  # RuntimeError: this user has no home
        return None
    private = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return folder if private else None


FOLDER = cache_folder()


class _Locator(_SourceFileBackedLocatorMixin, _CacheLocator):
    """Tells Numba where the cache of a function is, and when it is stale."""

    def __init__(self, function, source):
        self._py_file = source
        self._lineno = function.__code__.co_firstlineno

    def get_cache_path(self):
        # Numba's name for the folder of the source, so that two installations do not disturb each other.
        return str(FOLDER / self.get_suitable_cache_subpath(self._py_file))

    def get_source_stamp(self):
        shared = [(status.st_mtime, status.st_size) for status in map(os.stat, SHARED)]
        return super().get_source_stamp(), tuple(OPTIONS.items()), tuple(shared)


class _Entry(CompileResultCacheImpl):
    """Turns a compiled function into a checksum and bytes, and back."""

    _locator_classes = (_Locator,)

    def reduce(self, compiled):
        data = dumps(super().reduce(compiled))
        return sha256(data).digest(), data

    def rebuild(self, target_context, entry):
        checksum, data = entry
        if sha256(data).digest() != checksum:
            raise ValueError("damaged cache entry")
        return super().rebuild(target_context, pickle.loads(data))


class _Cache(FunctionCache):
    """Numba's cache of one function, which never stands in the way: it is deleted if it cannot be read."""

    _impl_class = _Entry

    def load_overload(self, sig, target_context):
        # What unpickling raises on damaged bytes is any exception at all.
        with contextlib.suppress(Exception):
            loaded = super().load_overload(sig, target_context)
            # Two processes that compile at once can give one file name to two signatures.
            if loaded is None or loaded.signature.args == tuple(sig):
                return loaded
        for path in Path(self.cache_path).glob(glob.escape(self._impl.filename_base) + ".*"):
            path.unlink(missing_ok=True)
        return None

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):  # a full disk, or a folder deleted meanwhile
            super().save_overload(sig, data)
