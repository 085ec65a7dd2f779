"""Compiles the kernels; everything else about the package is in pyproject.toml."""

import glob
import os
import platform

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

HEADERS = sorted(
    glob.glob("kernels/native/*/*.hpp")
    + glob.glob("kernels/native/*/*.def")
    + glob.glob("kernels/native/*/*.inc")
    + glob.glob("kernels/*.pxd")
)

# No -march=native: what is built must run elsewhere. No -ffast-math: loading such a library would switch
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

# The kernels are built once for each of these; the one that the machine runs best is chosen at import.
LEVELS = {"any": []}
if platform.machine() in ("x86_64", "AMD64"):
    LEVELS["v2"] = ["-march=x86-64-v2"]
    LEVELS["v3"] = ["-march=x86-64-v3"]
    LEVELS["v4"] = ["-march=x86-64-v4", "-mprefer-vector-width=512"]


def extension(name, source, flags=()):
    return Extension(
        f"fastnn.kernels.{name}",
        [source],
        # `source` too: without it an sdist holds the generated .cpp instead of the .pyx.
        depends=[source, *HEADERS],
        include_dirs=["kernels/native", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-pthread"],
        language="c++",
    )


levels = [
    extension(f"isa_{level}", f"kernels/native/isa/isa_{level}.cpp", flags) for level, flags in LEVELS.items()
]
FAMILIES = (
    "dense",
    "conv",
    "pool",
    "norm",
    "act",
    "elementwise",
    "loss",
    "optim",
    "random",
    "data",
    "augment",
)
checked = [
    extension(name, f"kernels/{name}.pyx")
    for name in ("core", "cpu", "plan", "probe", *(f"{family}_aot" for family in FAMILIES))
]

setup(
    ext_modules=levels
    + cythonize(
        checked,
        include_path=["kernels"],
        compiler_directives={"language_level": 3, "boundscheck": False, "wraparound": False, "binding": True},
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
