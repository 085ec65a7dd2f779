"""The mistakes in augmentation that `planted_mistakes.py` plants."""

from mistake import Mistake

WARP, AUGMENT = "tests/kernels/test_augment.py", "tests/test_augment.py"
GRID = "tests/kernels/test_grid.py"
HEADER = "kernels/native/families/augment.hpp"

MISTAKES = (
    Mistake(
        "a turn is clockwise",
        HEADER,
        "std::sin(turn) / scale;",
        "-std::sin(turn) / scale;",
        (GRID,),
    ),
    Mistake(
        "shears ignored",
        HEADER,
        "slant = std::tan((2 * u[1] - 1) * range[1]);",
        "slant = 0 * std::tan((2 * u[1] - 1) * range[1]);",
        (GRID,),
    ),
    Mistake(
        "crops by parts of pixels",
        HEADER,
        "std::floor(u[5 + axis] * (2 * whole + 1)) - whole;",
        "u[5 + axis] * (2 * whole + 1) - whole;",
        (WARP, AUGMENT),
    ),
    Mistake(
        "both shifts from one random number",
        HEADER,
        "return (2 * u[3 + axis] - 1) * range[4 + axis] + drawn;",
        "return (2 * u[3] - 1) * range[4 + axis] + drawn;",
        (GRID,),
    ),
    Mistake(
        "all images changed alike",
        HEADER,
        "mix(bits + GOLDEN * (MATRIX_WORDS * std::uint64_t(m) + k + 1))",
        "mix(bits + GOLDEN * (MATRIX_WORDS * 0 + k + 1))",
        (WARP, AUGMENT),
    ),
    Mistake(
        "displacements depend on the threads",
        HEADER,
        "FIELD_WORDS + std::uint64_t(m * pixels) + 1;",
        "FIELD_WORDS + std::uint64_t((m - images.begin) * pixels) + 1;",
        (WARP,),
    ),
    Mistake(
        "weights of the Gaussian do not add up to 1",
        HEADER,
        "T(bell(t) / total)",
        "T(bell(t))",
        (WARP,),
    ),
    Mistake(
        "smoothed beyond the last row",
        HEADER,
        "below = H - 1 - i < reach ? H - 1 - i : reach;",
        "below = H - i < reach ? H - i : reach;",
        (WARP,),
    ),
    Mistake(
        "coordinates not clamped from above",
        HEADER,
        "        place = select<T>(place < last, place, last);\n",
        "        (void)last;\n",
        (WARP,),
    ),
    Mistake(
        "nearest pixel down the rows",
        HEADER,
        "frame.scaled(fma(down.beyond, lower - upper, upper));",
        "frame.scaled(fma(0 * down.beyond, lower - upper, upper));",
        (WARP,),
    ),
    Mistake(
        "rows and columns of a displacement swapped",
        HEADER,
        "h += load_n(field + i * W + j, n);\n                    w += load_n(field + (H + i) * W + j, n);",
        "w += load_n(field + i * W + j, n);\n                    h += load_n(field + (H + i) * W + j, n);",
        (WARP,),
    ),
    Mistake(
        "lost tail of channels of a warp",
        HEADER,
        "for (int l = 0; l < n; ++l) to[l * C] = lane[l];",
        "for (int l = 0; l < n - (n < LANES<T>); ++l) to[l * C] = lane[l];",
        (WARP,),
    ),
    Mistake(
        "neighbours of bytes in the wrong order",
        HEADER,
        "std::uint32_t(above[e]) << 8 | std::uint32_t(left[e]) << 16",
        "std::uint32_t(left[e]) << 8 | std::uint32_t(above[e]) << 16",
        (WARP,),
    ),
    Mistake(
        "too large images accepted",
        "kernels/augment_aot.pyx",
        "* aout.shape[3] >= MAX_ELEMENTS",
        "* aout.shape[3] < 0",
        (WARP,),
    ),
    Mistake(
        "indices of a warp not checked",
        "kernels/augment_aot.pyx",
        "    if not passes(check):",
        "    if False:",
        (WARP,),
    ),
    Mistake(
        "one kind of augmentation overwrites another of its kind",
        "fastnn/augment.py",
        "if any(type(other) is type(part) for other in self._parts[:number]):",
        "if False:",
        (AUGMENT,),
    ),
    Mistake(
        "bytes not scaled when they are augmented",
        "fastnn/training/samples.py",
        "augment.gather(images, chosen, state, self.scale, self.dtype)",
        "augment.gather(images, chosen, state, 1.0, self.dtype)",
        (AUGMENT,),
    ),
    Mistake(
        "a failed step draws new augmentations",
        "fastnn/training/update.py",
        "return restored_on_failure(self.model, self._updates, self.augment_state, self._correct)",
        "return restored_on_failure(self.model, self._updates, self._correct)",
        (AUGMENT,),
    ),
    Mistake(
        "the same augmentation for every batch",
        "fastnn/augment.py",
        "        ops.random_next(state, bits)\n",
        "        bits[0] = state[0]\n",
        (AUGMENT,),
    ),
)
