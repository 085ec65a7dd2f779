"""Mistakes in gradients of convolutions that skip zeros, or whose tiles are rows of a single image."""

from mistake import Mistake

SPARSE = "tests/kernels/test_sparse.py"
FUSION = "tests/plan/test_pool_fusion.py"

MISTAKES = (
    Mistake(
        "zeros skipped though a weight is infinite",
        "kernels/native/families/scatter.hpp",
        "may_skip = all_finite(w, g.R * g.S * g.C * g.O), ",
        "",
        (SPARSE,),
    ),
    Mistake(
        "zeros skipped though a pixel is infinite",
        "kernels/native/families/conv.hpp",
        "all_finite(x + images.begin * size, (images.end - images.begin) * size)",
        "true",
        (SPARSE,),
    ),
    Mistake(
        "sums of a pixel added to the row above",
        "kernels/native/families/scatter.hpp",
        "add(sum[ROWS - 1], p + ROWS - 1 - c.top);",
        "add(sum[ROWS - 1], p + ROWS - 2 - c.top);",
        (SPARSE,),
    ),
    Mistake(
        "rows that other parts own",
        "kernels/native/families/scatter.hpp",
        "if (h < c.lines.begin || h >= c.lines.end) return;",
        "if (h < 0 || h >= c.lines.end) return;",
        (SPARSE,),
    ),
    Mistake(
        "pixels above a part's rows forgotten",
        "kernels/native/families/scatter.hpp",
        "lines.begin + g.padding[0] - g.R + 1, 0)",
        "lines.begin + g.padding[0] - g.R + 2, 0)",
        (SPARSE,),
    ),
    Mistake(
        "rows of dy instead of the zeros above",
        "kernels/native/families/scatter.hpp",
        "if (p >= 0 && p < g.P)",
        "if (p < g.P)",
        (SPARSE,),
    ),
    Mistake(
        "dense images in the memory of sparse ones",
        "kernels/native/families/conv.hpp",
        "may_skip ? sparse.end() : memory",
        "memory",
        (SPARSE,),
    ),
    Mistake(
        "rows of half vectors twice",
        "kernels/native/families/sparse_dw.hpp",
        "return load_halves(upper, 2 * v + 1 < rows ? upper + step : upper);",
        "return load_halves(upper, upper);",
        (SPARSE,),
    ),
    Mistake(
        "an image added to nothing",
        "kernels/native/families/sparse_dw.hpp",
        "adds ? load(sums + v * LANES<T>) + sum[v] : sum[v]",
        "sum[v]",
        (SPARSE,),
    ),
    Mistake(
        "sums of the biases of the first chunk only",
        "kernels/native/families/sparse_dw.hpp",
        "if (db) *db = total, db += db_row;",
        "if (db && first == 0) *db = total;",
        (FUSION,),
    ),
)
