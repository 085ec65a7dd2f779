"""Plant one mistake after the other into a private copy of the code, and see whether the tests notice.

    python tests/mistakes/planted_mistakes.py [part of a name ...] [--slice-of-day N]

Without names all mistakes are planted; `--slice-of-day` chooses N of them by the date, different ones each
day until all have had their turn. Prints which test caught each; the exit code is 1 if one was not
caught. A mistake whose text is not found exactly once, that does not compile, or whose tests fail without
it, ends the script with an error: it has to be brought up to date with the code.

Only what a mistake changes is compiled again, with little optimisation and for one instruction set: each copy
has the objects of the code without mistakes in its build folder. Needs the compiler, Cython and pytest of the
development environment. $CXX is the compiler, if it is set.
"""

import argparse
import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import augmentation
import bf16
import core
import curves
import exchange_and_logs
import executors
import few_channels
import fused_images
import insight
import interruptions
import limits
import losses_and_activations
import meaning_of_data
import model_files
import objects
import onnx_files
import pieces
import plans
import pools_norms_convolutions
import processes
import rates
import skipped_zeros
import small_layers
import sweeps
import tables_and_groups
import training_runs
import vectors_and_copies
import warnings_orders_files

MISTAKES = (
    *core.MISTAKES,
    *pools_norms_convolutions.MISTAKES,
    *fused_images.MISTAKES,
    *few_channels.MISTAKES,
    *skipped_zeros.MISTAKES,
    *tables_and_groups.MISTAKES,
    *losses_and_activations.MISTAKES,
    *meaning_of_data.MISTAKES,
    *model_files.MISTAKES,
    *plans.MISTAKES,
    *pieces.MISTAKES,
    *bf16.MISTAKES,
    *processes.MISTAKES,
    *augmentation.MISTAKES,
    *rates.MISTAKES,
    *curves.MISTAKES,
    *insight.MISTAKES,
    *interruptions.MISTAKES,
    *limits.MISTAKES,
    *training_runs.MISTAKES,
    *warnings_orders_files.MISTAKES,
    *sweeps.MISTAKES,
    *vectors_and_copies.MISTAKES,
    *small_layers.MISTAKES,
    *objects.MISTAKES,
    *exchange_and_logs.MISTAKES,
    *executors.MISTAKES,
    *onnx_files.MISTAKES,
)

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("fastnn", "kernels", "experiments", "tests", "pyproject.toml", "setup.py")
WORKERS = 2
TIMEOUT = 300  # seconds, of a test
BUILD_TIMEOUT = 1800  # a busy machine takes long to build everything

# The instruction set that mistakes are planted into, the only one that is built.
HAS_AVX2 = "avx2" in Path("/proc/cpuinfo").read_text().split() if sys.platform == "linux" else False
ISA = "v3" if HAS_AVX2 else "any"


BUILD = """
import sys
from distutils.core import run_setup

distribution = run_setup("setup.py", stop_after="init")
for extension in distribution.ext_modules:
    extension.extra_compile_args.append("-O1")
build = distribution.get_command_obj("build_ext")
build.inplace = True
build.parallel = int(sys.argv[1])
distribution.run_command("build_ext")
"""


def run(command, folder, timeout=TIMEOUT):
    """Run a command in a copy of the code, of which it imports fastnn; returns the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    # The kernel tests run this instruction set alone, so nothing else has to be compiled.
    environment.update(FASTNN_BUILD_LEVELS=ISA, FASTNN_ISA=ISA)
    environment.pop("FASTNN_BACKEND", None)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )


def output_of(command, folder, timeout=TIMEOUT):
    """The output of a command that must succeed."""
    done = run(command, folder, timeout)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\nfailed with exit code {done.returncode}")
    return done.stdout


def python(code, folder):
    return output_of([sys.executable, "-c", code], folder)


def build(folder, workers):
    """Compile what changed since the last build."""
    output_of([sys.executable, "-c", BUILD, str(workers)], folder, BUILD_TIMEOUT)


def test(folder, tests, *options):
    """Run pytest, in one process, without the Numba kernels: they compile slowly and hold no mistake."""
    options = ("-p", "no:xdist", "-p", "no:cacheprovider", "-k", "not jit", *options)
    options = ("-q", "-rfE", "--no-header", "--tb=no", *options)
    return run([sys.executable, "-m", "pytest", *options, *tests], folder)


def prepare(folder, mistakes):
    """Make a copy of the code and compile all of it; the tests must pass."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__")
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy2(source, folder / name)
    check_texts(folder, mistakes)
    for name in ("kernels", "experiments"):
        link = folder / "fastnn" / name
        if not link.exists():  # an editable install has made it
            link.symlink_to(Path("..") / name)
    build(folder, WORKERS)
    where = python("import fastnn; print(fastnn.kernels.__file__)", folder).strip()
    if not where.startswith(str(folder)):
        sys.exit(f"the tests would import {where}, not the copy in {folder}")
    for file in sorted({file for mistake in mistakes for file in mistake.tests}):
        done = test(folder, [file])
        if done.returncode:
            sys.exit(f"{done.stdout}\nthe tests fail without any mistake")


def check_texts(folder, mistakes):
    """Each mistake must have one place where it can be made."""
    counts = {mistake: (folder / mistake.file).read_text().count(mistake.old) for mistake in mistakes}
    wrong = [
        f"{mistake.name!r}: {mistake.file} holds {count} times\n    {mistake.old}"
        for mistake, count in counts.items()
        if count != 1
    ]
    if wrong:
        sys.exit("\n".join(wrong))


def plant(folder, mistake):
    file = folder / mistake.file
    file.write_text(file.read_text().replace(mistake.old, mistake.new))


def outcome(pristine, mistake):
    """What catches the mistake; "" if nothing does."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(pristine, folder, symlinks=True)
        plant(folder, mistake)
        if not mistake.file.endswith(".py"):
            build(folder, 1)
        try:
            done = test(folder, mistake.tests, "-x")
        except subprocess.TimeoutExpired:
            return f"no end after {TIMEOUT} s"
        if done.returncode < 0:
            return f"a crash by signal {-done.returncode}"
        if done.returncode > 1:
            sys.exit(f"{done.stdout}\n{mistake.name!r}: pytest's exit code is {done.returncode}")
        failed = re.search(r"^(?:FAILED|ERROR) ([^\[\s]+)", done.stdout, re.MULTILINE)
        return failed[1] if failed else ""


def chosen():
    """The mistakes that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[""], metavar="part of a name")
    parser.add_argument("--slice-of-day", type=int, metavar="N", help="N mistakes, different ones each day")
    arguments = parser.parse_args()
    mistakes = [mistake for mistake in MISTAKES if any(word in mistake.name for word in arguments.names)]
    if not arguments.slice_of_day:
        return mistakes
    days = -(-len(mistakes) // arguments.slice_of_day)  # until all have had their turn
    return mistakes[datetime.date.today().toordinal() % days :: days]


def main():
    mistakes = chosen()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(WORKERS) as pool:
        pristine = Path(temporary)
        prepare(pristine, mistakes)
        print(f"instruction set {ISA}; all tests pass without a mistake", flush=True)
        missed = 0
        width = max(len(mistake.name) for mistake in mistakes)
        runs = [pool.submit(outcome, pristine, mistake) for mistake in mistakes]
        try:
            for mistake, planted in zip(mistakes, runs, strict=True):
                caught = planted.result()
                missed += not caught
                print(f"{mistake.name:{width}}  {caught or 'NOT CAUGHT'}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    print(f"{len(mistakes) - missed} of {len(mistakes)} caught, {time.perf_counter() - start:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
