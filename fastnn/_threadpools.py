"""Registers the compiled kernels with threadpoolctl, so that it limits their threads like those of BLAS.

`with threadpool_limits(1):` then limits the kernels and `threadpool_info()` lists them. fastnn does not
import threadpoolctl itself, which takes 2 ms and sets an environment variable: it waits until other code
imports threadpoolctl, and registers the kernels then.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # importing it takes as long as importing threadpoolctl
    from importlib.abc import Loader


def register_with_threadpoolctl() -> None:
    """Register the kernels with threadpoolctl: now if it is imported already, else when it is imported."""
    module = sys.modules.get("threadpoolctl")
    if module is None:
        sys.meta_path.insert(0, _Finder())
    else:
        _register(module)


def _register(threadpoolctl: Any) -> None:
    threadpoolctl.register(type("FastnnController", (_Kernels, threadpoolctl.LibController), {}))


class _Kernels:
    """The attributes and methods of a threadpoolctl.LibController for the extension module kernels/core.

    threadpoolctl sets `dynlib`, the loaded library.
    """

    user_api = internal_api = "fastnn"
    # Other packages may have a module named core, too: threadpoolctl identifies ours by its symbol.
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
    """A meta path finder that lets the other finders find threadpoolctl and wraps the loader in `_Loader`."""

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
    """Loads threadpoolctl with the given loader, then registers the kernels.

    The loaded module keeps the given loader as its `__loader__`.
    """

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
