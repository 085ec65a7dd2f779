"""The structure of the package: imports point down, fast import, small files, complete exports."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastnn as fn

ROOT = Path(__file__).resolve().parents[1]  # the sources: an installed package has no headers and no tests
PACKAGE = ROOT / "fastnn"

# Every module and package, lowest first: it may import those of lower rows, and its own package.
ORDER = [
    {"kernels", "_checkout", "_foreign_names"},
    {"_arrays", "_attributes", "_schema", "_threadpools", "_waiting", "documents", "files", "rng", "tables"},
    {"_sources"},
    {"_validation"},
    {"classes", "config", "gather", "masks", "recording"},
    {"feeding"},
    {"prediction"},
    {"param"},
    {"init"},
    {"layers"},
    {"architecture", "channel_order", "states"},
    {"insight", "losses", "model_record"},
    {"viz"},
    {"history"},
    {"optim"},
    {"augment", "data"},
    {"metrics", "weights"},
    {"measure"},
    {"training"},
    {"naive", "nets", "studies"},
    {"exchange", "loggers", "onnx"},
    {"board", "complexity", "reproduction", "sklearn"},
    {"cli"},
    {"__main__"},
]

KERNEL_MODULES = [*(ROOT / "kernels").glob("*.py"), *(ROOT / "kernels" / "jit").glob("*.py")]
MODULES = sorted(PACKAGE.rglob("*.py")) + sorted(KERNEL_MODULES)


def parts(path):
    """The path below fastnn: ("layers", "dense") for fastnn/layers/dense.py, () for fastnn/__init__.py."""
    folder = PACKAGE if path.is_relative_to(PACKAGE) else ROOT
    return tuple(part for part in path.relative_to(folder).with_suffix("").parts if part != "__init__")


def imports(path):
    """Yield the top-level part of fastnn that each import in a file names ("" for fastnn itself)."""
    package = ("fastnn", *(parts(path) if path.stem == "__init__" else parts(path)[:-1]))
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == "fastnn":
                yield (*name.split("."), "")[1]


def rank(part):
    return next(row for row, names in enumerate(ORDER) if part in names)


def exists(part):
    return part == "kernels" or (part and (PACKAGE / part).is_dir()) or (PACKAGE / f"{part}.py").exists()


@pytest.mark.parametrize(
    "path", [path for path in MODULES if parts(path)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_down(path):
    own = parts(path)[0]
    for part in imports(path):
        # Only the command line may import the public names from fastnn itself.
        assert exists(part) or own == "cli", f"{own} imports {part!r} from the package above it"
        if exists(part):
            assert part == own or rank(part) < rank(own), f"{own} imports {part}, which is not below it"


def test_order_lists_every_module_once():
    listed = [name for names in ORDER for name in names]
    assert sorted(listed) == sorted({parts(path)[0] for path in MODULES if parts(path)})


def test_import_scan_finds_known_imports():
    """The scan finds imports at the top of a module and inside functions."""
    fit = set(imports(PACKAGE / "training" / "fit.py"))
    assert {"_validation", "layers", "losses", "optim"} <= fit
    assert "viz" in set(imports(PACKAGE / "history.py"))


HEAVY = {"numba", "matplotlib", "sklearn", "scipy", "torch", "tqdm", "jsonargparse", "safetensors", "pooch"}
HEAVY |= {"dask", "distributed", "keras", "mpi4py", "onnx", "optuna", "ray", "tensorboardX"}
HEAVY |= {"threadpoolctl"}  # 2 ms, and it sets an environment variable


def test_import_loads_nothing_heavy():
    program = "import sys, fastnn; print(*{name.partition('.')[0] for name in sys.modules})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "fastnn" in loaded
    assert not HEAVY & loaded


SOURCES = {".py", ".pyx", ".pxd", ".hpp", ".cpp", ".inc", ".def"}


@pytest.mark.parametrize("folder", ["fastnn", "kernels", "experiments", "tests", "bench"])
def test_no_file_is_above_400_lines(folder):
    lines = {
        str(path.relative_to(ROOT)): path.read_text().count("\n")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SOURCES and not (path.suffix == ".cpp" and path.with_suffix(".pyx").exists())
    }
    assert lines
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_pyproject_lists_every_package():
    """An editable install finds a package that is not listed; a wheel lacks it."""
    folders = {("fastnn", *parts(path)) for path in MODULES if path.stem == "__init__"}
    folders.add(("fastnn", "experiments"))  # the folder experiments/
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert listed == sorted(".".join(folder) for folder in folders)


@pytest.mark.parametrize("name", ["fastnn", "fastnn.layers", "fastnn.data"])
def test_exports_are_complete_sorted_and_importable(name):
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(
        set(module.__all__), key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )
    imported = {
        alias.asname or alias.name
        for node in ast.parse(Path(module.__file__).read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(module.__all__)
    assert all(hasattr(module, exported) for exported in module.__all__)


# Public names that scripts rely on.
SCRIPTS_USE = """
    Adam CheckpointError CrossEntropy Dropout Flatten Layer Linear Loss NonFiniteError Optimizer Param ReLU
    SGD Sequential Sigmoid SquaredError Tanh Trainer backend cross_entropy data evaluate fit gradcheck
    gradients init load manual_seed save set_num_threads show_config squared_error
"""


def test_names_that_scripts_rely_on_are_exported():
    assert set(SCRIPTS_USE.split()) <= set(fn.__all__)
