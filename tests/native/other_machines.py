"""Build driver.cpp for other machines, and run it where an emulator is installed.

    python tests/native/other_machines.py [--only windows] [--one-of-day]

The compiler is Zig's for all of them (`pip install ziglang`): it brings the libraries of each system. ARM64
runs under QEMU (Debian: qemu-user-static), Windows under Wine (wine64); nothing here runs programs for macOS.
Prints a line per machine; the exit code is 1 if one fails. With `--one-of-day` it is a single one, by the
date the next one each day.
"""

import argparse
import datetime
import importlib.util
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which PYTHONSAFEPATH leaves out
from build_driver import COMPUTATION, KERNELS, build, execute

FLAGS = ("-O1", "-g0", "-Wall", "-Wextra", "-Werror", "-ferror-limit=3", *COMPUTATION)
TIMEOUT = 1800  # seconds: an emulator takes a minute, on a busy machine five


@dataclass(frozen=True)
class Machine:
    name: str
    target: str  # the system and the processor, as Zig calls them
    flags: tuple[str, ...] = ()
    emulators: tuple[str, ...] = ()  # programs that run its programs, any one of them

    def run(self, folder: Path) -> tuple[str, str]:
        """Build and run; return a line for the table, and what went wrong ("" if nothing did)."""
        start = time.perf_counter()
        command = (sys.executable, "-m", "ziglang", "c++", "-target", self.target, *FLAGS, *self.flags)
        driver, trouble = build(command, KERNELS, folder / self.target, os.cpu_count() or 1)
        built = time.perf_counter()
        emulator = next(filter(None, map(shutil.which, self.emulators)), None)
        ran = "not run"
        if not trouble and emulator:
            trouble = execute([emulator, str(driver)], {"WINEDEBUG": "-all"}, TIMEOUT)
            ran = f"ran {time.perf_counter() - built:.0f} s under {Path(emulator).name}"
        outcome = "FAILED" if trouble else "ok"
        return f"{self.name:16} {outcome:6}  built in {built - start:.0f} s, {ran}", trouble


WINE = ("wine64", "wine", "/usr/lib/wine/wine64")

MACHINES = (
    Machine("Linux, ARM64", "aarch64-linux-musl", emulators=("qemu-aarch64-static", "qemu-aarch64")),
    Machine("Windows, x86-64", "x86_64-windows-gnu", ("-march=x86_64_v3",), WINE),
    Machine("macOS, ARM64", "aarch64-macos"),
    Machine("macOS, x86-64", "x86_64-macos", ("-march=x86_64_v3",)),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of the name of the machines, in any case")
    parser.add_argument("--one-of-day", action="store_true", help="one machine, another one each day")
    options = parser.parse_args()
    if importlib.util.find_spec("ziglang") is None:
        parser.error("the compiler is missing: pip install ziglang")
    chosen = [machine for machine in MACHINES if options.only.lower() in machine.name.lower()]
    if options.one_of_day:
        chosen = [chosen[datetime.date.today().toordinal() % len(chosen)]]
    with tempfile.TemporaryDirectory() as folder:
        for machine in chosen:
            line, trouble = machine.run(Path(folder))
            print(line, flush=True)
            if trouble:
                print(trouble)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
