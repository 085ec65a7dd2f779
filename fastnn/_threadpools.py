"""Makes threadpoolctl limit the threads of the compiled kernels, as it does for BLAS and OpenMP.

`with threadpool_limits(1):` bounds them, `threadpool_info()` lists them. fastnn does not import threadpoolctl
for that (2 ms, and it sets an environment variable); it waits until somebody else does.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # it takes as long to import as threadpoolctl itself
    from importlib.abc import Loader


def register_with_threadpoolctl() -> None:
    """Tell threadpoolctl of the kernels: now if it has been imported already, else as soon as it is."""
    module = sys.modules.get("threadpoolctl")
    if module is None:
        sys.meta_path.insert(0, _Finder())
    else:
        _register(module)


def _register(threadpoolctl: Any) -> None:
    threadpoolctl.register(type("FastnnController", (_Kernels, threadpoolctl.LibController), {}))


class _Kernels:
    """What a threadpoolctl.LibController needs to know; `dynlib` is the extension module kernels/core."""

    user_api = internal_api = "fastnn"
    # The file's name alone would match other packages' modules, of which threadpoolctl asks for the symbol.
    filename_prefixes = ("core.",)
    check_symbols = ("fastnn_get_num_threads",)
    dynlib: Any

    def get_num_threads(self) -> int:
        return int(self.dynlib.fastnn_get_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        self.dynlib.fastnn_set_num_threads(num_threads)

    def get_version(self) -> str | None:
        return getattr(sys.modules.get("fastnn"), "__version__", None)


class _Finder:
    """Finds threadpoolctl where the other finders do, and has it register the kernels when it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "threadpoolctl":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Loader(spec.loader))
                return spec
        return None


class _Loader:
    """Loads a module as another loader does, which it leaves in its place, and registers the kernels."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register(module)
