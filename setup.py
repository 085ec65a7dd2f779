"""Compiles the kernels; everything else about the package is in pyproject.toml.

FASTNN_BUILD_LEVELS says for which instruction sets, separated by commas: v2, v3, v4 (the levels of x86-64),
neon (on ARM64), or any, which needs no more than the compiler assumes by itself. The default is v2,v3,v4 on
x86-64, where v2 is the floor, neon on ARM64, and any elsewhere:

    FASTNN_BUILD_LEVELS=any,v2,v3,v4 pip install -e .

Objects are kept in build/objects, and only what changed is compiled again (kernels/native/compile_units.py).
`pip install -v` shows a line for each file that is compiled.

The compiler is GCC or Clang, $CXX if it is set. On Windows it is the Clang of the package ziglang, which pip
installs for the build: MSVC has no vector types, and GCC does not align the stack for vectors of AVX there
(its bug 54412). Zig can take the place of the compiler elsewhere, too, if $CC and $CXX name the target:

    CXX="python -m ziglang c++ -target x86_64-linux-gnu.2.28"
"""

import contextlib
import copy
import glob
import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel
from setuptools.errors import CompileError

sys.path.insert(0, str(Path(__file__).parent / "kernels" / "native"))
from compile_units import CompilationError, Unit, compile_units

# No -march=native: the wheel must run on other machines. No -ffast-math: loading such a library would switch
# the whole process to flush-to-zero. No contraction: fused and separate kernels must agree to the last bit.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-pthread",
]

# A Python for both kinds of Mac compiles for both in one call of the compiler, but instruction sets need a
# call each: compile for this Mac alone. cibuildwheel sets the same two variables.
if sysconfig.get_platform().endswith("-universal2"):
    os.environ.setdefault("ARCHFLAGS", f"-arch {platform.machine()}")
    if os.environ["ARCHFLAGS"] == f"-arch {platform.machine()}":
        system = sysconfig.get_platform().removesuffix("universal2")
        os.environ.setdefault("_PYTHON_HOST_PLATFORM", system + platform.machine())

# The machine that is compiled for, which is another one than this in a cross-compilation.
MACHINE = sysconfig.get_platform().rpartition("-")[2].lower()

IS_WINDOWS = sys.platform == "win32"
if IS_WINDOWS:
    ZIG = f'"{Path(sys.executable).as_posix()}" -m ziglang'
    TARGET = "aarch64-windows-gnu" if MACHINE == "arm64" else "x86_64-windows-gnu"
    os.environ.setdefault("CC", f"{ZIG} cc -target {TARGET}")
    os.environ.setdefault("CXX", f"{ZIG} c++ -target {TARGET}")

# All files of kernels/native/isa are compiled once for each of these; the best one that the machine runs is
# chosen at import.
if MACHINE in ("x86_64", "amd64"):
    X86_64 = "x86_64_" if "ziglang" in os.environ.get("CXX", "") else "x86-64-"  # the spelling of Zig
    LEVELS = {
        "v4": [f"-march={X86_64}v4", "-mprefer-vector-width=512"],
        "v3": [f"-march={X86_64}v3"],
        "v2": [f"-march={X86_64}v2"],
        "any": [],
    }
    DEFAULT_LEVELS = "v2,v3,v4"
elif MACHINE in ("aarch64", "arm64"):
    # GCC schedules instructions before it gives out registers, on this machine only, and then spills two
    # accumulators of the tile of 6 rows and 4 vectors.
    LEVELS = {"neon": ["-fno-schedule-insns", "-Wno-psabi"], "any": ["-DFASTNN_PORTABLE", "-Wno-psabi"]}
    DEFAULT_LEVELS = "neon"
else:
    LEVELS = {"any": []}
    DEFAULT_LEVELS = "any"

# The files of an instruction set, those that take longest first.
ISA_FILES = ("conv", "tiles", "patch_tiles", "dense_update", "norm", "dense", "loss")
ISA_FILES += ("pointwise", "group_norm", "data", "lanes", "act", "optim", "embedding", "probe", "module")

# Those of the instructions for bf16, which no level includes: a module of its own, built beside v4.
BF16_FILES = ("dense_bf16", "module")
BF16_FLAGS = ["-mavx512bf16"]

# The Cython modules, too.
CYTHON_FILES = ("plan", "pool_aot", "conv_aot", "loss_aot", "augment_aot", "core", "act_aot", "optim_aot")
CYTHON_FILES += (
    "pointwise_aot",
    "cpu",
    "probe",
    "data_aot",
    "dense_aot",
    "dense_bf16_aot",
    "norm_aot",
    "group_norm_aot",
    "embedding_aot",
    "elementwise_aot",
    "random_aot",
    "population",
    "guards",
)

HEADERS = sorted(
    glob.glob("kernels/native/*/*.hpp") + glob.glob("kernels/native/*/*.def") + glob.glob("kernels/*.pxd")
)
BUILDER = "kernels/native/compile_units.py"

PYTHON = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"


def available_cores():
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wanted_levels():
    """The instruction sets to build for, best first."""
    wanted = os.environ.get("FASTNN_BUILD_LEVELS") or DEFAULT_LEVELS
    names = {name.strip() for name in wanted.split(",")}
    if not names <= set(LEVELS):
        sys.exit(f"FASTNN_BUILD_LEVELS={wanted}: choose from {', '.join(LEVELS)}")
    return [name for name in LEVELS if name in names]


def extension(name, sources, flags=(), **options):
    return Extension(
        f"fastnn.kernels.{name}",
        sources,
        # `sources` too: without them an sdist holds the generated .cpp instead of the .pyx.
        depends=[*sources, *HEADERS, BUILDER],
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-pthread"],
        language="c++",
        **options,
    )


class FreshPackage(build_py):
    """Collects the package in an empty folder: a wheel must not hold what an earlier build left there."""

    def run(self):
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "fastnn"), ignore_errors=True)
        super().run()


class EditableInstall(editable_wheel):
    """Puts the checkout on the import path of an editable install: type checkers and editors find it there.

    Setuptools would install an import hook, which they cannot follow: `fastnn.kernels` is the folder
    kernels/, `fastnn.experiments` the folder experiments/. Links in fastnn/, which git ignores, put these
    packages in their places. Without symbolic links the hook remains.
    """

    def finalize_options(self):
        super().finalize_options()
        with contextlib.suppress(OSError):
            for name in ("kernels", "experiments"):
                link = Path("fastnn", name)
                if not link.exists():
                    link.symlink_to(Path("..", name), target_is_directory=True)
            self.package_dir = {"": "."}


class IncrementalBuild(build_ext):
    """Compiles the files of all extensions side by side, and only what changed."""

    def build_extensions(self):
        units = [[self.unit(ext, source) for source in ext.sources] for ext in self.extensions]
        try:
            compile_units(
                [unit for of_ext in units for unit in of_ext], self.parallel, self.report, self.force
            )
        except CompilationError as error:
            raise CompileError(str(error)) from None
        self.force = True  # linking is quick, and a module may lack an object although it is the newer file
        for ext, of_ext in zip(self.extensions, units, strict=True):
            linked = copy.copy(ext)
            linked.sources, linked.extra_objects = [], [str(unit.object) for unit in of_ext]
            linked.depends = linked.extra_objects
            self.build_extension(linked)

    def get_export_symbols(self, ext):
        """None: modules export what they declare, and Zig does not read the lists made for GCC on Windows."""
        return None

    def unit(self, ext, source):
        source = Path(source)
        macros = [f"-D{name}={value}" for name, value in (*self.compiler.macros, *ext.define_macros)]
        return Unit(
            source,
            Path("build", "objects", PYTHON, ext.name.rpartition(".")[2], f"{source.stem}.o"),
            (*self.compiler.compiler_so_cxx, *macros, *ext.extra_compile_args),
            (*ext.include_dirs, *self.compiler.include_dirs),
        )

    def report(self, line):
        print(line, flush=True)

    def copy_extensions_to_source(self):
        """An instruction set of an earlier build must not be left behind: its table may have another form."""
        super().copy_extensions_to_source()
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        built = {f"kernels/{ext.name.rpartition('.')[2]}{suffix}" for ext in self.extensions}
        for other in set(glob.glob(f"kernels/isa_*{suffix}")) - built:
            os.remove(other)


def isa_module(name, files, flags):
    """The extension module with the kernels for one instruction set."""
    return extension(
        f"isa_{name}",
        [f"kernels/native/isa/{file}.cpp" for file in files],
        # Warnings are the business of tests/native/sanitize.py: GCC 12 has thousands of false ones about its
        # own header of AVX-512 (its bug 105593).
        [*flags, "-w"],
        include_dirs=["kernels/native"],
        define_macros=[("ISA", name)],
    )


isa_modules = [isa_module(level, ISA_FILES, LEVELS[level]) for level in wanted_levels()]
if "v4" in wanted_levels():
    isa_modules.append(isa_module("v4bf16", BF16_FILES, [*LEVELS["v4"], *BF16_FLAGS]))
cython_modules = [
    extension(
        name,
        [f"kernels/{name}.pyx"],
        include_dirs=["kernels/native", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
    )
    for name in CYTHON_FILES
]

setup(
    ext_modules=isa_modules
    + cythonize(
        cython_modules,
        include_path=["kernels"],
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "binding": True,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": IncrementalBuild, "build_py": FreshPackage, "editable_wheel": EditableInstall},
    options={
        "build_ext": {"parallel": available_cores()} | ({"compiler": "mingw32"} if IS_WINDOWS else {}),
    },
)
