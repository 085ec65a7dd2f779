"""Fails in a checkout of which nothing is compiled, where `import fastnn` would find sources alone.

Such a folder also hides an installed package if it is the working directory. A module below would fail as
well, with an error that does not say what to do.
"""

from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _is_compiled() -> bool:
    kernels = find_spec("fastnn.kernels")
    # Not `find_spec` again, which would import the package first, and that needs compiled modules.
    folders = None if kernels is None else kernels.submodule_search_locations
    return folders is not None and PathFinder.find_spec("core", folders) is not None


if (ROOT / "setup.py").exists() and not _is_compiled():
    raise ImportError(
        f"the kernels of fastnn are not compiled in the checkout {ROOT}: run `pip install -e .` there, or "
        "start Python in another folder to use an installed fastnn"
    )
