"""Type checkers see an installed fastnn, an editable one too."""

import importlib.metadata
import importlib.util
import subprocess
import sys

import pytest

SCRIPT = """
import fastnn as fn

model = fn.Sequential(fn.Linear(64, 10))
reveal_type(fn.fit(model, ([[0.0] * 64], [1]), epochs=1))
reveal_type(model.predict([[0.0] * 64]))
model.predict([[0.0] * 64], batch_size="large")
"""


def installed(name):
    return any(True for _ in importlib.metadata.Distribution.discover(name=name))


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.skipif(not installed("fastnn-kernels"), reason="mypy reads installed packages only")
def test_mypy_sees_the_types_of_an_installed_package(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "script.py"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert 'Revealed type is "fastnn.history.History"' in shown, shown
    assert 'Revealed type is "numpy.ndarray' in shown
    assert 'Argument "batch_size" to "predict" of "Layer" has incompatible type "str"' in shown
    assert "Found 1 error" in shown
