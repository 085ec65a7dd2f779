"""Compile the Numba kernels and cache their machine code in the user's cache folder.

Importing this module loads Numba, so only the `*_jit.py` modules and kernels/jit import it.

Numba's own `cache=True` writes its files next to the source, where they outlive an uninstall and shadow a
later editable install. This module uses a private folder of the user's cache instead, one per fastnn, Numba,
llvmlite and CPU. Numba compares a stamp of the source and recompiles stale entries. A damaged file makes
Numba raise at best (a block of zeros in the machine code causes a segmentation fault, tried with 0.68), so
each entry carries a checksum; an entry that fails the check is deleted and compiled again.
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

from fastnn.kernels.jit.private_folder import is_own_file, is_private

# No fastmath: it assumes that there is no NaN or inf, and reorders sums.
OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy"}

FLOATS = (np.float32, np.float64)

# Decorator for functions that kernels call. They are compiled into the kernel, so they must be in its
# file or in one of the SHARED files: the stamp of a cache entry covers these files only.
jit = numba.jit(**OPTIONS)
SHARED = [
    Path(__file__).with_name("indices.py"),
    Path(__file__).with_name("reduction.py"),
    Path(__file__).with_name("vmath.py"),
    Path(__file__).parents[1] / "random_jit.py",
]


def kernel(**dtypes):
    """Decorate a kernel: `@kernel()`, or `@kernel(label=np.int64, ...)`.

    `dtypes` gives the dtype, or a tuple of dtypes, of each array argument that does not share the floating
    dtype of the call.
    """

    def decorate(function):
        if numba.config.DISABLE_JIT:  # plain Python for a debugger, as `numba.jit` does
            return function
        dispatcher = Kernel(function, targetoptions=OPTIONS)
        dispatcher.dtypes = dtypes
        if FOLDER is not None:
            # RuntimeError: the folder is no longer writable, or the function has no source file.
            with contextlib.suppress(RuntimeError):
                dispatcher._cache = _Cache(function)
        return dispatcher

    return decorate


class Kernel(CPUDispatcher):
    """A compiled kernel that checks its argument types.

    The check runs once per combination of types: for a known combination, Numba's dispatcher jumps straight
    to the machine code. That dispatcher cannot tell a byte-swapped array from a native one: it then reads
    wrong values, but never outside of the array.
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
            accepted = self.dtypes.get(name, FLOATS)
            accepted = accepted if isinstance(accepted, tuple) else (accepted,)
            if value.dtype not in accepted:
                names = " or ".join(np.dtype(dtype).name for dtype in accepted)
                raise TypeError(f"{self.__name__}: {name} must have dtype {names}, got {value.dtype}")
            if name not in self.dtypes:
                shared[name] = value.dtype
        if len(set(shared.values())) > 1:
            raise TypeError(f"{self.__name__}: {', '.join(shared)} must have the same dtype")


def cache_folder():
    """Return the cache folder for this fastnn, Numba, llvmlite and CPU; create it if needed.

    Returns None if the folder cannot be created, or if other users can write to it or replace it or one of
    its parents, because loading a cache entry executes it. Symbolic links are resolved.
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
        if not base.is_absolute():  # unset, or relative, which the XDG specification calls invalid
            base = Path.home() / ".cache"
        folder = base / "fastnn" / "numba" / key
        for path in (*reversed(folder.parents), folder):
            path.mkdir(mode=0o700, exist_ok=True)
        folder = folder.resolve()
    except (OSError, RuntimeError):  # RuntimeError: the user has no home folder
        return None
    return folder if is_private(folder) else None


FOLDER = cache_folder()


class _Locator(_SourceFileBackedLocatorMixin, _CacheLocator):
    """Tell Numba where the cache of a function is, and when it is stale."""

    def __init__(self, function, source):
        self._py_file = source
        self._lineno = function.__code__.co_firstlineno

    def get_cache_path(self):
        # Numba's name for the source folder keeps two installations apart.
        return str(FOLDER / self.get_suitable_cache_subpath(self._py_file))

    def ensure_cache_path(self):
        # Numba's own method leaves it to the umask who may write to the folder.
        Path(self.get_cache_path()).mkdir(mode=0o700, parents=True, exist_ok=True)

    def get_source_stamp(self):
        shared = [(status.st_mtime, status.st_size) for status in map(os.stat, SHARED)]
        return super().get_source_stamp(), tuple(OPTIONS.items()), tuple(shared)


class _Entry(CompileResultCacheImpl):
    """Serialize a compiled function as (checksum, bytes), and restore it."""

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
    """Numba's cache of one function. Entries that cannot be read, and files of other users, are deleted;
    entries that cannot be written are skipped.

    Loading and saving check the folder again: permissions may have changed since the import. Nobody else can
    replace a folder that passes the check, so it is still the same when the file is opened.
    """

    _impl_class = _Entry

    def load_overload(self, sig, target_context):
        if not is_private(Path(self.cache_path)):
            return None
        files = list(Path(self.cache_path).glob(glob.escape(self._impl.filename_base) + ".*"))
        # Unpickling damaged bytes can raise any exception.
        with contextlib.suppress(Exception):
            if all(map(is_own_file, files)):
                loaded = super().load_overload(sig, target_context)
                # Two processes that compile at the same time can give two signatures the same file name.
                if loaded is None or loaded.signature.args == tuple(sig):
                    return loaded
        for path in files:
            path.unlink(missing_ok=True)
        return None

    def save_overload(self, sig, data):
        with contextlib.suppress(OSError):  # the disk is full, or the folder was deleted in the meantime
            self._impl.locator.ensure_cache_path()
            if is_private(Path(self.cache_path)):  # saving reads the index, which is a pickle, too
                super().save_overload(sig, data)
