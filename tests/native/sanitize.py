"""Build driver.cpp under sanitizers and run it, for every instruction set that this machine has.

    python tests/native/sanitize.py [another kernels/ folder] [--only "address v3"] [--one-of-day]

AddressSanitizer together with UndefinedBehaviorSanitizer on each instruction set; ThreadSanitizer on the
portable build, since the thread team is the same for all, and masked loads and stores would escape it.
Prints a line per configuration, two of which are built and run at a time; the exit code is 1 if one fails.
With `--one-of-day` it is a single one, by the date the next one each day.
The compiler is $CXX, or g++.
"""

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which PYTHONSAFEPATH leaves out
from build_driver import COMPUTATION, KERNELS, build, execute

# Enough for a readable report. -O1: the vectors stay in registers, and building takes a third of the time.
FLAGS = ("-O1", "-g1", "-fno-omit-frame-pointer", "-D_GLIBCXX_ASSERTIONS", *COMPUTATION)

# Without those that GCC 12 has for its own header of AVX-512 (its bug 105593).
FLAGS += ("-Wall", "-Wextra", "-Werror", "-Wno-uninitialized", "-Wno-maybe-uninitialized")

ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREAD = ("-fsanitize=thread",)

# A flag of /proc/cpuinfo that tells the level: all processors that have it have the rest of the level.
LEVELS = {"v4": "avx512vl", "v3": "avx2", "v2": "sse4_2"}

# The flag of the instructions for bf16, which some processors with v4 have.
BF16 = "avx512_bf16"

# The driver asks for more memory than there is, on purpose.
OPTIONS = "allocator_may_return_null=1:halt_on_error=1"
TIMEOUT = 900  # seconds: building for AVX-512 takes 4 minutes on a busy machine


@dataclass(frozen=True)
class Configuration:
    name: str
    flags: tuple[str, ...]
    command: tuple[str, ...] = ()  # in front of the driver
    arguments: tuple[str, ...] = ()

    def run(self, compiler: str, kernels: Path, folder: Path, workers: int) -> tuple[str, str]:
        """Build and run; returns a line for the table, and what went wrong ("" if nothing did)."""
        start = time.perf_counter()
        command = (compiler, *FLAGS, *self.flags)
        driver, trouble = build(command, kernels, folder / self.name.replace(" ", "-"), workers)
        built = time.perf_counter()
        if not trouble:
            trouble = execute([*self.command, str(driver), *self.arguments], environment(), TIMEOUT)
        done = time.perf_counter()
        times = f"built in {built - start:2.0f} s, ran {done - built:2.0f} s"
        return f"{self.name:12} {'FAILED' if trouble else 'ok':6}  {times}", trouble


def configurations() -> list[Configuration]:
    """All of them, those that take longest first."""
    levels = {name: (f"-march=x86-64-{name}",) for name in runnable_levels()} | {"any": ()}
    if "v4" in levels and BF16 in processor_flags():
        levels["v4"] += ("-mavx512bf16",)
    return [
        *(Configuration(f"address {name}", (*ADDRESS, *flags)) for name, flags in levels.items()),
        Configuration("thread any", THREAD, unshuffled(), ("no-fork",)),
    ]


def runnable_levels() -> list[str]:
    """The x86-64 levels of this machine, best first."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return []
    return [level for level, flag in LEVELS.items() if flag in processor_flags()]


def processor_flags() -> list[str]:
    """The words of /proc/cpuinfo, the flags of the processor among them."""
    return Path("/proc/cpuinfo").read_text().split()


def unshuffled() -> tuple[str, ...]:
    """The command in front of a program under ThreadSanitizer.

    Its shadow memory has fixed places, which a system that shuffles addresses by more than 28 bits may have
    taken ("unexpected memory mapping").
    """
    bits = Path("/proc/sys/vm/mmap_rnd_bits")
    if bits.exists() and int(bits.read_text()) > 28 and shutil.which("setarch"):
        return ("setarch", "-R")
    return ()


def environment() -> dict[str, str]:
    """What the sanitizers read from the environment."""
    return {"ASAN_OPTIONS": OPTIONS, "TSAN_OPTIONS": OPTIONS, "UBSAN_OPTIONS": "print_stacktrace=1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", nargs="?", type=Path, default=KERNELS, help="another kernels/ folder")
    parser.add_argument("--only", default="", help="part of the name of the configurations to run")
    parser.add_argument("--one-of-day", action="store_true", help="one configuration, another one each day")
    options = parser.parse_args()
    chosen = [c for c in configurations() if options.only in c.name]
    if options.one_of_day:
        chosen = [chosen[datetime.date.today().toordinal() % len(chosen)]]
    compiler = os.environ.get("CXX", "g++")
    start = time.perf_counter()
    workers = 2 if len(chosen) == 1 else 1  # for each of the two configurations
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(c.run, compiler, options.kernels, Path(folder), workers) for c in chosen]
        for run in runs:
            line, trouble = run.result()
            print(line, flush=True)
            if trouble:
                pool.shutdown(cancel_futures=True)
                print(trouble)
                return 1
    print(f"clean, after {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
