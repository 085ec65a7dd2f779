"""Use an installed wheel, with nothing but its dependencies: no compiler, no pytest, no data set.

    python tests/wheels/smoke.py

Trains on each instruction set that is built, alone and in eight threads at once, saves, loads and compares
with the NumPy backend. Prints what it found; the exit code is 1 if something is wrong.
"""

import platform
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import fastnn as fn
from fastnn.kernels import core, cpu


def spirals(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Three spirals in the plane, float32 (count, 2), and which of them each point belongs to (count,)."""
    generator = np.random.default_rng(1)
    arm = np.arange(count) % 3
    radius = generator.uniform(0.1, 1, count)
    angle = 4 * radius + arm * (2 * np.pi / 3) + generator.normal(0, 0.1, count)
    points = radius * np.stack([np.cos(angle), np.sin(angle)])
    return points.T.astype(np.float32), arm


def trained(seed: int) -> tuple[fn.Sequential, float]:
    """A network trained on the spirals, and its accuracy."""
    x, y = spirals(900)
    fn.manual_seed(seed)
    model = fn.Sequential(fn.Linear(2, 32), fn.ReLU(), fn.Linear(32, 32), fn.ReLU(), fn.Linear(32, 3))
    fn.fit(model, (x, y), optimizer=fn.Adam(lr=0.01), epochs=30, batch_size=30, seed=seed)
    return model, float((model.predict_classes(x) == y).mean())


def main() -> int:
    print(f"Python {platform.python_version()} on {sysconfig.get_platform()}, fastnn in {fn.__file__}")
    x, _ = spirals(300)
    results = {}
    for name in cpu.supported():
        core.select_isa(name)
        model, accuracy = trained(0)
        with ThreadPoolExecutor(8) as pool:
            others = list(pool.map(trained, range(8)))
        if others[0][0].predict(x).tobytes() != model.predict(x).tobytes():
            print("eight trainings at once have other results than one alone")
            return 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            fn.save(model, path)
            loaded = fn.load(path)
        with fn.backend("ref"):
            expected = loaded.predict(x)
        np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-4)
        results[name] = min(accuracy, *(other for _, other in others))
        print(f"{name:5} accuracy of nine networks at least {results[name]:.3f}")
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys._is_gil_enabled():
        print("the GIL is on: a module has switched it on")
        return 1
    return 0 if results and min(results.values()) > 0.9 else 1


if __name__ == "__main__":
    sys.exit(main())
