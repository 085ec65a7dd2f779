"""The builds for all instruction sets: they agree, they are different, none leaks into another.

test_grid.py holds each of them against the specification.
"""

import inspect
import platform
import shutil
import subprocess
import sys
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest

from fastnn.kernels import core, cpu, load

from .columns import LEVELS, both_types, every_kernel, kernels_of
from .comparison import assert_same, check_each, copied, specified
from .convolution import Convolution

EXTENSIONS = {
    file.name.partition(".")[0]: file
    for file in sorted(Path(core.__file__).parent.iterdir())
    if file.name[file.name.find(".") :] in EXTENSION_SUFFIXES
}

LOWEST_LEVEL = cpu.supported()[-1]

# --- results ---

# Kernels that fuse no multiplication with an addition and add up nothing across the lanes of a vector: their
# bits are the same in all builds. (With the compiler's own contraction they would not be.)
SAME_BITS = {
    *("dense_db", "relu_forward", "relu_dx", "sigmoid_dx", "tanh_dx", "squared_error", "huber", "add"),
    *("leaky_relu_forward", "leaky_relu_dx", "elu_dx", "count_correct_binary"),
    *("random_next", "dropout", "gather", "gather_labels", "count_nonfinite", "count_outside"),
    *("im2col", "col2im"),
}


def apart(case):
    """How far other results may be apart, in units of the last place of the largest element.

    The worst are 2.6, but 6.8 and 8.2 in the gradients of a convolution's input and filters, sums of hundreds
    or thousands of products whose order depends on the instruction set (`scatter.hpp`, `planes.hpp`). In a
    warp coordinates are so far apart, and pixels much farther, and Winograd's tiles of 4 x 4 outputs multiply
    by numbers up to 64 what they have added up (the worst is 37).
    """
    if case.kernel == "warp":
        return 200
    first = case.parameters[0]
    if isinstance(first, Convolution) and first.may_go_by_winograd:
        return 60
    return {"conv_dx": 8, "conv_dw": 16}.get(case.kernel, 6)


@lru_cache(maxsize=2)  # all levels of a kernel and a type follow each other
def results_of_the_lowest_level(kernel, dtype):
    """Beside each case of `specified`: what the build for the lowest instruction set makes of it."""
    call = kernels_of(LOWEST_LEVEL)[kernel]
    found = []
    for case, arguments, _ in specified(kernel, dtype):
        results = copied(arguments)
        call(**results)
        found.append((case, arguments, results))
    return found


@pytest.mark.parametrize("isa", [isa for isa in LEVELS if isa != LOWEST_LEVEL])
@both_types
@every_kernel
def test_builds_agree(kernel, dtype, isa):
    rows = results_of_the_lowest_level(kernel, dtype)
    call = kernels_of(isa)[kernel]

    def check(case, arguments, expected):
        actual = copied(arguments)
        call(**actual)
        bitwise = kernel in SAME_BITS or case.whole
        assert_same(actual, expected, bitwise=bitwise, atol=apart(case) * np.finfo(dtype).eps)

    check_each(rows, check)


def test_builds_are_different():
    """Or the tests above would compare a build with itself. (v2 and "any" may give the same bits.)"""
    rng = np.random.default_rng(0)
    x, w, y, z = rng.standard_normal((4, 200, 200)).astype(np.float32)
    results = set()
    for isa in cpu.supported():
        core.select_isa(isa)
        assert core.isa() == isa
        load("aot")["dense_forward"](x, w, None, y)
        load("aot")["softmax_forward"](x, z)
        results.add((y.tobytes(), z.tobytes()))
    assert len(results) >= len(cpu.supported()) - 1


# --- machine code ---


def first_bytes(module):
    """(first byte, text) of all instructions of an extension module."""
    listing = subprocess.run(
        ["objdump", "--disassemble", "--wide", EXTENSIONS[module]], capture_output=True, text=True, check=True
    )
    for line in listing.stdout.splitlines():
        fields = line.split("\t")
        if len(fields) == 3:  # address, bytes, instruction
            yield int(fields[1].split()[0], 16), fields[2]


VEX, EVEX = {0xC4, 0xC5}, {0x62}  # in 64-bit code these begin AVX, BMI and AVX-512 instructions, nothing else

disassembled = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("objdump"),
    reason="disassembles x86-64 code with objdump",
)


@disassembled
@pytest.mark.parametrize("module", sorted(EXTENSIONS.keys() - {"isa_v3", "isa_v4", "isa_v4bf16"}))
def test_baseline_has_no_avx_instruction(module):
    instructions = list(first_bytes(module))
    assert len(instructions) > 100
    for byte, text in instructions:
        assert byte not in VEX | EVEX, text
        assert "%ymm" not in text, text
        assert "%zmm" not in text, text


@disassembled
@pytest.mark.skipif("isa_v3" not in EXTENSIONS, reason="v3 is not built")
def test_v3_has_no_avx512_instruction():
    found = list(first_bytes("isa_v3"))
    assert not [text for byte, text in found if byte in EVEX or "%zmm" in text]
    assert any(byte in VEX and "%ymm" in text for byte, text in found)


@disassembled
@pytest.mark.skipif("isa_v4" not in EXTENSIONS, reason="v4 is not built")
def test_v4_uses_whole_registers():
    instructions = list(first_bytes("isa_v4"))
    assert any(byte in EVEX and "%zmm" in text for byte, text in instructions)
    assert not [text for _, text in instructions if "bf16" in text.split()[0]]


@disassembled
@pytest.mark.skipif("isa_v4bf16" not in EXTENSIONS, reason="v4 is not built")
def test_bf16_uses_its_instructions():
    instructions = [text.split()[0] for _, text in first_bytes("isa_v4bf16")]
    assert {"vdpbf16ps", "vcvtne2ps2bf16"} <= set(instructions)


# --- subnormal numbers ---


def in_child_subnormals(modules):
    """Load everything; neither NumPy nor a thread of the team may flush small numbers to zero."""
    import importlib

    import numpy as np

    def flushed():
        with np.errstate(all="ignore"):
            small = [np.full(33, limit.tiny) / 4 for limit in map(np.finfo, (np.float32, np.float64))]
            return [(number * number.dtype.type(0.5) == 0).any() for number in small]

    assert flushed() == [False, False]
    for module in modules:
        importlib.import_module(f"fastnn.kernels.{module}")
        assert flushed() == [False, False], module

    from fastnn.kernels import core, cpu, load

    core.set_num_threads(4)
    for isa in cpu.supported():
        core.select_isa(isa)
        for dtype in (np.float32, np.float64):
            x = np.full(200_000, np.finfo(dtype).tiny) / 8
            y = np.empty_like(x)
            load("aot")["dropout"](x, np.ones(1, np.uint64), 0.0, y)  # x * 1
            assert (y == x).all(), (isa, dtype)
            load("aot")["squared_error"](x, -x, 1, y, np.empty(1), dy := np.empty_like(x))
            assert (dy == 2 * x).all(), (isa, dtype)
            load("aot")["tanh_forward"](x, y)
            assert (y == x).all(), (isa, dtype)
    assert flushed() == [False, False]


def test_nothing_flushes_subnormal_numbers_to_zero():
    isas = (*cpu.supported(), *(["v4bf16"] if cpu.supports_bf16() else []))
    runs = [name for name in EXTENSIONS if not name.startswith("isa_") or name[4:] in isas]
    code = f"{inspect.getsource(in_child_subnormals)}\nin_child_subnormals({runs})"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
