"""Plant one mistake after the other into a private copy of the code, and see whether the tests notice.

    python tests/mistakes/planted_mistakes.py [part of a name ...] [--slice-of-day N]

Without names all mistakes are planted; `--slice-of-day` chooses N of them by the date, different ones each
day until all have had their turn. Prints which test caught each; the exit code is 1 if one was not
caught. A mistake whose text is not found exactly once, that does not compile, or whose tests fail without
it, ends the script with an error: it has to be brought up to date with the code.

Only what a mistake changes is compiled again, with little optimisation and for one instruction set. Needs
the compiler, Cython and pytest of the development environment. $CXX is the compiler, or c++.
"""

import argparse
import datetime
import json
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
import core
import losses_and_activations
import plans
import pools_norms_convolutions
import studies_and_data
import training_runs
import vectors_and_copies

MISTAKES = (
    *core.MISTAKES,
    *pools_norms_convolutions.MISTAKES,
    *losses_and_activations.MISTAKES,
    *plans.MISTAKES,
    *augmentation.MISTAKES,
    *training_runs.MISTAKES,
    *studies_and_data.MISTAKES,
    *vectors_and_copies.MISTAKES,
)

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("fastnn", "kernels", "tests", "pyproject.toml", "setup.py")
WORKERS = 2
TIMEOUT = 300  # seconds

# The instruction set into which mistakes are planted, or the next one below that the machine has.
ISA = "v3"


COMMANDS = """
import json, os, sysconfig
import setuptools
from distutils.core import run_setup

commands = {}
for e in run_setup("setup.py", stop_after="init").ext_modules:
    name = e.name.rpartition(".")[2]
    commands[name] = [
        os.environ.get("CXX", "c++"), "-shared", "-fPIC", *e.extra_compile_args, "-O1",
        *(f"-I{folder}" for folder in [*e.include_dirs, sysconfig.get_path("include")]),
        *(f"-D{key}={value}" for key, value in e.define_macros),
        *e.sources, "-o", f"kernels/{name}{sysconfig.get_config_var('EXT_SUFFIX')}", *e.extra_link_args,
    ]
print(json.dumps(commands))
"""

INCLUDED = re.compile(r'^(?:#include|cdef extern from) "(.+?)"', re.MULTILINE)


def run(command, folder):
    """Run a command in a copy of the code, of which it imports fastnn; returns the finished process."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    # The kernel tests run this instruction set alone, so nothing else has to be compiled.
    environment |= {"FASTNN_ISA": ISA, "FASTNN_BUILD_LEVELS": ISA}
    environment.pop("FASTNN_BACKEND", None)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )


def output_of(command, folder):
    """The output of a command that must succeed."""
    done = run(command, folder)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}\nfailed with exit code {done.returncode}")
    return done.stdout


def python(code, folder):
    return output_of([sys.executable, "-c", code], folder)


def build(folder, wanted):
    """Compile the extension modules for which wanted(name) is true."""
    commands = json.loads(python(COMMANDS, folder).splitlines()[-1])
    chosen = [command for name, command in commands.items() if wanted(name)]
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda command: output_of(command, folder), chosen))


def test(folder, tests, *options):
    """Run pytest, in one process, without the Numba kernels: they compile slowly and hold no mistake."""
    options = ("-p", "no:xdist", "-p", "no:cacheprovider", "-k", "not jit", *options)
    options = ("-q", "-rfE", "--no-header", "--tb=no", *options)
    return run([sys.executable, "-m", "pytest", *options, *tests], folder)


def prepare(folder, mistakes):
    """Make a copy of the code and compile all of it; the tests must pass. Returns the instruction set."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    check_texts(folder, mistakes)
    (folder / "fastnn" / "kernels").symlink_to(Path("..") / "kernels")
    build(folder, lambda name: True)
    where = python("import fastnn; print(fastnn.kernels.__file__)", folder).strip()
    if not where.startswith(str(folder)):
        sys.exit(f"the tests would import {where}, not the copy in {folder}")
    for file in sorted({file for mistake in mistakes for file in mistake.tests}):
        done = test(folder, [file])
        if done.returncode:
            sys.exit(f"{done.stdout}\nthe tests fail without any mistake")
    return python("from fastnn.kernels import core; print(core.isa())", folder).strip()


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


def included_by(source):
    """The files of kernels/ that `source` includes."""
    text = source.read_text()
    names = INCLUDED.findall(text) + ["native.pxd"] * ("from native cimport" in text)
    folders = [folder for folder in (source.parent, *source.parents) if folder.name in ("native", "kernels")]
    paths = [folder / name for name in names for folder in (source.parent, *folders, folders[-1] / "native")]
    return [path for path in dict.fromkeys(paths) if path.exists()]


def is_built_from(source, file):
    """Whether `file` is the source, or included by it, directly or not."""
    return source == file or any(is_built_from(included, file) for included in included_by(source))


def outcome(pristine, isa, mistake):
    """What catches the mistake; "" if nothing does."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(pristine, folder, symlinks=True)
        plant(folder, mistake)
        changed = folder / mistake.file

        def wanted(name):
            if name.startswith("isa_"):
                return name == f"isa_{isa}" and is_built_from(
                    folder / "kernels/native/isa" / f"{name}.cpp", changed
                )
            return is_built_from(folder / "kernels" / f"{name}.pyx", changed)

        if changed.suffix != ".py":
            build(folder, wanted)
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
        isa = prepare(pristine, mistakes)
        print(f"instruction set {isa}; all tests pass without a mistake", flush=True)
        missed = 0
        width = max(len(mistake.name) for mistake in mistakes)
        runs = [pool.submit(outcome, pristine, isa, mistake) for mistake in mistakes]
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
