"""Functions that only POSIX systems have, and text whose encoding the system would choose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = {ROOT / "fastnn" / "kernels", ROOT / "fastnn" / "experiments"}  # of an editable install

# What Windows lacks, by the documentation of Python.
POSIX_MODULES = {"crypt", "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog"}
POSIX_MODULES |= {"termios", "tty"}
POSIX_FUNCTIONS = {
    "os": """
        O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK chown chroot confstr fchdir fchmod fchown fork forkpty
        getegid geteuid getgid getgrouplist getgroups getloadavg getpgid getpgrp getpriority getresgid
        getresuid getsid getuid initgroups killpg lchown lockf mkfifo mknod nice openpty pathconf pipe2
        posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev register_at_fork
        sched_getaffinity sched_setaffinity sched_yield sendfile setegid seteuid setgid setpgid setpriority
        setsid setuid statvfs sync sysconf tcgetpgrp ttyname uname wait wait3 wait4
    """,
    "signal": """
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm getitimer pause
        pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigwait
    """,
    "socket": "AF_UNIX SO_REUSEPORT",
    "time": "pthread_getcpuclockid tzset",
}
POSIX_NAMES = {f"{module}.{name}" for module, names in POSIX_FUNCTIONS.items() for name in names.split()}

# Where one of them is used all the same, beside its counterpart for Windows.
WITH_A_COUNTERPART = {
    ("fastnn/cli/run_folder.py", "fcntl"),
    ("fastnn/files.py", "os.fchmod"),
    ("fastnn/files.py", "os.fchown"),
    ("fastnn/training/agreement.py", "os.sched_getaffinity"),
    ("kernels/jit/private_folder.py", "grp"),
    ("kernels/jit/private_folder.py", "os.getuid"),
    ("kernels/jit/private_folder.py", "pwd"),
}


@pytest.fixture(scope="module")
def trees():
    """The name and the syntax tree of every module."""
    folders = ROOT / "fastnn", ROOT / "kernels", ROOT / "experiments"
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8")))
        for path in paths
        if not LINKS & set(path.parents)
    ]


def names_of_posix(tree):
    """Yield the modules of POSIX that a syntax tree imports, and the names of POSIX_NAMES in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from POSIX_MODULES & {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from POSIX_MODULES & {node.module.partition(".")[0]}
            yield from POSIX_NAMES & {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from POSIX_NAMES & {f"{node.value.id}.{node.attr}"}


@pytest.fixture(scope="module")
def trees_of_tests():
    """The name and the syntax tree of every module with tests, and of those that they import."""
    paths = sorted((ROOT / "tests").rglob("*.py"))
    alone = {ROOT / "tests" / "mistakes", ROOT / "tests" / "native", ROOT / "tests" / "wheels"}  # programs
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8")))
        for path in paths
        if not alone & set(path.parents)
    ]


def test_tests_are_collected_without_posix(trees_of_tests):
    """A module that imports one of POSIX when it is loaded loses all its tests on Windows."""
    loaded = {
        (name, found)
        for name, tree in trees_of_tests
        for found in names_of_posix(ast.Module([node for node in tree.body if is_import(node)], []))
    }
    assert loaded == {("tests/turns.py", "fcntl")}  # only imported by the processes of pytest-xdist


def is_import(node):
    return isinstance(node, (ast.Import, ast.ImportFrom))


def test_names_of_posix_are_found():
    program = "import os, pwd\nfrom fcntl import flock\nfrom signal import alarm\nos.fork(); os.getpid()"
    assert sorted(names_of_posix(ast.parse(program))) == ["fcntl", "os.fork", "pwd", "signal.alarm"]


def test_functions_of_posix_have_a_counterpart(trees):
    assert {(name, found) for name, tree in trees for found in names_of_posix(tree)} == WITH_A_COUNTERPART


WITHOUT_POSIX = f"""
import multiprocessing, os, subprocess, sys, tempfile
import numpy as np

for name in {sorted(name.removeprefix("os.") for name in POSIX_NAMES if name.startswith("os."))}:
    if hasattr(os, name):
        delattr(os, name)
for name in {sorted(POSIX_MODULES)}:
    sys.modules[name] = None

import fastnn as fn
from fastnn import files

files.IS_WINDOWS = True
fn.show_config()
generator = np.random.default_rng(0)
x, y = generator.normal(size=(60, 4)).astype(np.float32), generator.integers(0, 3, 60)
model = fn.Sequential(fn.Linear(4, 8), fn.ReLU(), fn.Linear(8, 3))
path = sys.argv[1] + "/model.safetensors"
fn.fit(model, (x, y), epochs=2, seed=1, progress=True)
for _ in range(2):  # the second time it replaces a file
    fn.save(model, path)
assert np.array_equal(fn.load(path).predict(x), model.predict(x))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="is without POSIX anyway")
def test_training_and_files_without_the_functions_of_posix(tmp_path):
    program = [sys.executable, "-c", WITHOUT_POSIX, str(tmp_path)]
    result = subprocess.run(program, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# Calls that may wait without end, during which Windows does not tell the main thread of Ctrl-C, and why each
# of them is none, or does not wait in the main thread or for long. Others use `fastnn._waiting.next_of`.
WAITS = {
    ("fastnn/_sources/stored.py", "result"): "of a read, in a step, whose end Ctrl-C waits for",
    ("fastnn/_sources/streams.py", "get"): "in a thread",
    ("fastnn/board/server.py", "join"): "0.05 s",
    ("fastnn/data/fetching.py", "result"): "of a download that has ended",
    ("fastnn/layers/shared_batch.py", "get"): "of a ContextVar",
    ("fastnn/param.py", "get"): "of a ContextVar",
    ("fastnn/reproduction/runner.py", "join"): "of a process that ends",
    ("fastnn/rng.py", "get"): "of a ContextVar",
    ("fastnn/studies/turns.py", "join"): "of a thread that stops after its current update",
    ("fastnn/studies/turns.py", "result"): "of a thread that has ended",
    ("fastnn/training/interrupts.py", "get"): "of a ContextVar",
    ("kernels/__init__.py", "get"): "of a ContextVar",
    ("kernels/native/compile_units.py", "result"): "when the package is built",
}


def waits_without_end(tree):
    """Yield the names of the functions without a time limit that a syntax tree waits with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            waits = node.func.attr in ("acquire", "get", "join", "result", "wait")
            if waits and not (node.args or node.keywords):
                yield node.func.attr
        elif isinstance(node, ast.alias) and node.name == "as_completed":
            yield node.name


def test_waits_without_end_are_found():
    program = "from a import as_completed\nq.get()\nt.join()\nf.result(); lock.acquire(); event.wait()"
    found = ["acquire", "as_completed", "get", "join", "result", "wait"]
    assert sorted(waits_without_end(ast.parse(program))) == found
    assert not list(waits_without_end(ast.parse("q.get(timeout=1)\nt.join(3)\nd.get(k)")))


def test_ctrl_c_ends_every_wait_on_windows(trees):
    assert {(name, found) for name, tree in trees for found in waits_without_end(tree)} == set(WAITS)


def unspecified_encodings(tree):
    """Yield the lines of a syntax tree that read or write text in an encoding that depends on the system."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(word.arg == "encoding" for word in node.keywords):
            continue
        if isinstance(node.func, ast.Attribute):
            positions = {"read_text": 0, "write_text": 1}
            if node.func.attr in positions and len(node.args) <= positions[node.func.attr]:
                yield node.lineno
        elif isinstance(node.func, ast.Name) and node.func.id == "open":
            modes = [*node.args[1:2], *(word.value for word in node.keywords if word.arg == "mode")]
            if not any(isinstance(mode, ast.Constant) and "b" in mode.value for mode in modes):
                yield node.lineno


def test_unspecified_encodings_are_found():
    program = (
        "open(a)\nopen(a, 'rb')\np.read_text()\np.read_text('utf-8')\np.write_text(t)\nopen(a, encoding=e)"
    )
    assert sorted(unspecified_encodings(ast.parse(program))) == [1, 3, 5]


def test_text_has_an_encoding(trees):
    """Windows has another one than UTF-8 for each language."""
    assert [(name, line) for name, tree in trees for line in unspecified_encodings(tree)] == []
