"""`import fastnn` in a checkout of which nothing is compiled."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Without the hook and the path by which other installations would lend their kernels.
PROGRAM = """
import sys
sys.path[:] = ["", *(path for path in sys.path if path not in {roots!r})]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder)]
import fastnn
"""


@pytest.fixture
def checkout(tmp_path):
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("fastnn", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignored)
    for name in ("kernels", "experiments"):
        (tmp_path / "fastnn" / name).unlink(missing_ok=True)
    shutil.copy2(ROOT / "setup.py", tmp_path)
    return tmp_path


def error_of_import(folder):
    program = PROGRAM.format(roots=[str(ROOT)])
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("is_linked", [False, True], ids=["never built", "without the compiled modules"])
def test_error_says_what_to_do(checkout, is_linked):
    if is_linked:
        (checkout / "fastnn" / "kernels").symlink_to("../kernels")
    error = error_of_import(checkout)
    assert error.splitlines()[-1] == (
        f"ImportError: the kernels of fastnn are not compiled in the checkout {checkout}: run "
        "`pip install -e .` there, or start Python in another folder to use an installed fastnn"
    )


def test_another_cause_keeps_its_error(checkout):
    """Without setup.py the folder is no checkout."""
    (checkout / "setup.py").unlink()
    assert "No module named 'fastnn.kernels'" in error_of_import(checkout)
