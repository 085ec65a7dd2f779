"""Compiles C++ translation units in parallel, and only those that changed since their object was made.

setup.py, tests/native/sanitize.py and the planted mistakes build with it. A unit is up to date if its object
was made by the same command from the same contents of all files that the compiler read, as told by its
option -MMD (which leaves the headers of the system out). Contents, not times: a fresh checkout or a copied
build folder needs no compiler. A header that was found in one of the include folders is looked for in those
of today, because pip gives every isolated build its own NumPy in another temporary folder.
"""

import functools
import hashlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path


class CompilationError(Exception):
    """The compiler refused a unit; the message holds the command and what the compiler said."""


@dataclass(frozen=True)
class Unit:
    """A source file, the object to make of it, and the command, without files and include folders."""

    source: Path
    object: Path
    command: tuple[str, ...]
    include: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.object.parent.name}/{self.source.name}"

    @property
    def record(self) -> Path:
        """Where it is written down what the object was made from."""
        return self.object.with_suffix(".json")

    def is_up_to_date(self) -> bool:
        try:
            record = json.loads(self.record.read_text("utf-8"))
            return self.object.exists() and record["digest"] == self._digest(record["files"])
        except (OSError, ValueError, KeyError):
            return False

    def compile(self) -> str:
        """Make the object; returns the warnings of the compiler."""
        self.object.parent.mkdir(parents=True, exist_ok=True)
        self.record.unlink(missing_ok=True)
        rule = self.object.with_suffix(".d")
        files = ("-c", str(self.source), "-o", str(self.object), "-MMD", "-MF", str(rule))
        command = (*self.command, *(f"-I{folder}" for folder in self.include), *files)
        start = time.time()
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError as error:
            raise CompilationError(f"cannot run the compiler: {error}") from error
        if done.returncode:
            raise CompilationError(f"{' '.join(command)}\n{done.stdout}")
        if rule.exists():
            read = [self._in_include_folder(file) for file in files_of_rule(rule.read_text("utf-8"))]
            # A file that changed meanwhile may have been compiled in its old form: no record, so it is again.
            if all(self._find(file).stat().st_mtime < start for file in read):
                self.record.write_text(json.dumps({"digest": self._digest(read), "files": read}), "utf-8")
            rule.unlink()
        return done.stdout

    def _digest(self, files: Iterable[str]) -> str:
        parts = [version(self.command), *self.command]
        parts += [f"{file} {content_digest(self._find(file))}" for file in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _in_include_folder(self, file: str) -> str:
        """The path of a file below the first include folder that holds it; the path itself without one."""
        folder = next((folder for folder in self.include if Path(file).is_relative_to(folder)), None)
        return str(Path(file).relative_to(folder)) if folder else file

    def _find(self, file: str) -> Path:
        paths = (Path(folder) / file for folder in self.include)
        return next((path for path in paths if path.exists()), Path(file))


def files_of_rule(rule: str) -> list[str]:
    """The files that an object depends on, from a compiler's rule for make: "x.o: x.cpp x.hpp".

    Compilers put a backslash before spaces and number signs. All others separate the folders of Windows.
    """
    names = re.split(r"(?<!\\)\s+", rule.replace("\\\n", " ").partition(": ")[2].strip())
    return [re.sub(r"\\([ #])", r"\1", name) for name in names]


# A comment in the files that Cython makes. It names the include folders, NumPy's temporary one among them.
CYTHON_METADATA = re.compile(rb"/\* BEGIN: Cython Metadata.*?END: Cython Metadata \*/", re.DOTALL)


@functools.cache
def content_digest(path: Path) -> str:
    return hashlib.sha256(CYTHON_METADATA.sub(b"", path.read_bytes(), count=1)).hexdigest()


@functools.cache
def version(command: tuple[str, ...]) -> str:
    """The version of a compiler, which may stand behind a wrapper: ("ccache", "g++", ...)."""
    return subprocess.run([*command, "--version"], capture_output=True, text=True).stdout


def compile_units(
    units: Iterable[Unit], workers: int, report: Callable[[str], object], force: bool = False
) -> None:
    """Compile the units that are not up to date, in their order: list those that take longest first.

    `report` gets a line for each unit compiled, with the warnings of the compiler below it. Raises
    CompilationError if the compiler refuses one; those under way are finished first.
    """
    content_digest.cache_clear()
    units = list(units)
    stale = [unit for unit in units if force or not unit.is_up_to_date()]
    lock, done = threading.Lock(), 0

    def compile_one(unit: Unit) -> None:
        nonlocal done
        start = time.perf_counter()
        warnings = unit.compile()
        with lock:
            done += 1
            line = f"[{done}/{len(stale)}] {unit.name} {time.perf_counter() - start:.1f} s"
            report(f"{line}\n{warnings}".rstrip())

    report(f"{len(units) - len(stale)} of {len(units)} objects are up to date")
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(compile_one, unit) for unit in stale]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            future.cancel()
    for future in futures:
        if not future.cancelled():
            future.result()
