"""Build driver.cpp with the kernels of one instruction set, and run it."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "kernels" / "native"))
from compile_units import CompilationError, Unit, compile_units

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels"

# The flags of setup.py that change what the kernels compute.
COMPUTATION = ("-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-pthread")


def build(command: tuple[str, ...], kernels: Path, folder: Path, workers: int) -> tuple[Path, str]:
    """Return the driver, compiled by the compiler and flags of `command`, and what went wrong, or ""."""
    kernel_files = set((kernels / "native" / "isa").glob("*.cpp")) - {kernels / "native/isa/module.cpp"}
    units = [
        Unit(source, folder / f"{source.stem}.o", command, (str(kernels / "native"),))
        for source in (HERE / "driver.cpp", *sorted(kernel_files))
    ]
    try:
        compile_units(units, workers, lambda line: None)
    except CompilationError as error:
        return folder, str(error)
    driver = folder / "driver"
    objects = [str(unit.object) for unit in units]
    return driver, execute([*command, *objects, "-o", str(driver)], {}, None)


def execute(command: list[str], environment: dict[str, str], timeout: float | None) -> str:
    """Run a command with further variables in its environment; return "" or all that it said."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {timeout} s: {' '.join(command)}"
    return f"exit code {done.returncode}\n{done.stdout}" if done.returncode else ""
