"""The mistakes in embeddings, group norms and transposed convolutions that `planted_mistakes.py` plants."""

from mistake import GRID, Mistake

EMBEDDING = "tests/layers/test_embedding.py"
SAME = "tests/layers/test_same_padding.py"
TRANSPOSED = "tests/layers/test_conv_transpose.py"

MISTAKES = (
    Mistake(
        "index of an embedding off the table",
        "kernels/native/plan/serial.hpp",
        "if (index_at(index, i, limit) < 0) return false;",
        "if (index_at(index, i, limit) < -1) return false;",
        (EMBEDDING, GRID),
    ),
    Mistake(
        "fraction taken for an index",
        "kernels/native/plan/call.hpp",
        "return T(whole) == value && whole < limit ? whole : -1;",
        "return whole < limit ? whole : -1;",
        (EMBEDDING, GRID),
    ),
    Mistake(
        "padding of an embedding trained",
        "kernels/native/families/embedding.hpp",
        "if (row < 0 || row == size.padding) continue;",
        "if (row < 0) continue;",
        (GRID,),
    ),
    Mistake(
        "columns of an embedding's gradient that no part owns",
        "kernels/native/families/embedding.hpp",
        "share(size.D, part, parts, LANES<T>);",
        "share(size.D, part, parts + 1, LANES<T>);",
        (GRID,),
    ),
    Mistake(
        "group norm by the variance of another group",
        "kernels/native/families/group_norm.hpp",
        "body(first, first + width, sum / count, products / count);",
        "body(first, first + 1, sum / count, products / count);",
        (GRID,),
    ),
    Mistake(
        "gamma left out of the means of a group",
        "kernels/native/families/group_norm.hpp",
        "const double factor = weight ? weight[c] : 1;",
        "const double factor = 1;",
        (GRID,),
    ),
    Mistake(
        "padding counts in every mean",
        "kernels/native/families/pool.hpp",
        "whole(T(1 / double(g.R * g.S))), only_inside(call.scalar[0] != 0) {}",
        "whole(T(1 / double(g.R * g.S))), only_inside(false) {}",
        (GRID,),
    ),
    Mistake(
        "odd pixel of padding in front",
        "fastnn/layers/_geometry.py",
        "return total // 2, total - total // 2",
        "return total - total // 2, total // 2",
        (SAME,),
    ),
    Mistake(
        "indices scaled like pixels",
        "fastnn/feeding.py",
        "    if index_limit is not None:\n        if scale",
        "    if index_limit is not None and rows.dtype != np.uint8:\n        if scale",
        (EMBEDDING,),
    ),
    Mistake(
        "invalid index of a repeated prediction",
        "kernels/plan.pyx",
        "        if isinstance(self.error, CheckFailedError):\n            return False\n",
        "",
        (EMBEDDING,),
    ),
    Mistake(
        "output padding ignored",
        "fastnn/layers/conv_transpose.py",
        "(size - 1) * step + extent - before - after + more",
        "(size - 1) * step + extent - before - after + 0 * more",
        (TRANSPOSED,),
    ),
)
