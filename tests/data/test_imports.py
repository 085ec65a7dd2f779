"""`import fastnn.data` must be fast and must not load the layers of fastnn above it."""

import subprocess
import sys
from pathlib import Path

import fastnn

# With an empty module in place of the package fastnn, whose own imports this test is not about.
PROGRAM = """
import sys, types
import numpy
before = set(sys.modules)
sys.modules["fastnn"] = types.ModuleType("fastnn")
sys.modules["fastnn"].__path__ = [sys.argv[1]]
import fastnn.data
print(*set(sys.modules) - before)
"""


def test_import_loads_only_numpy_and_the_standard_library():
    folder = str(Path(fastnn.__file__).parent)
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder], capture_output=True, text=True, check=True
    )
    loaded = set(output.stdout.split())
    assert "fastnn.data.mnist" in loaded
    own = {name for name in loaded if name.partition(".")[0] == "fastnn"}
    others = {name.partition(".")[0] for name in loaded - own}
    of_cython = {name for name in others if name == "cython_runtime" or name.startswith("_cython_")}
    assert others - of_cython <= {*sys.stdlib_module_names, "numpy"}
    # Nothing that trains: readers of data are used without networks, too.
    assert not {name for name in own if name.split(".")[1:2] and name.split(".")[1] in ("layers", "training")}


def test_every_public_name_exists():
    import fastnn.data

    assert all(callable(getattr(fastnn.data, name)) for name in fastnn.data.__all__)
