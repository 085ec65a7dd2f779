"""Mistakes in the products of large batches and small layers, of batches of a few rows, and in dropout."""

from mistake import EDGES, GRID, Mistake

AS_EAGER = "tests/plan/test_same_as_eager.py"
FEW_ROWS = "tests/kernels/test_few_rows.py"

MISTAKES = (
    Mistake(
        "lost last rows of a small product",
        "kernels/native/families/dense_rows.hpp",
        "if (first < rows) multiply_strip<T, ROWS / 2, COLUMNS>(strip, first);",
        "if (first + 1 < rows) multiply_strip<T, ROWS / 2, COLUMNS>(strip, first);",
        (GRID,),
    ),
    Mistake(
        "features beyond whole vectors lost where lanes are rows",
        "kernels/native/families/dense_rows.hpp",
        "if (k < depth) add(k, int(depth - k));",
        "if (k + 1 < depth) add(k, int(depth - k));",
        (GRID,),
    ),
    Mistake(
        "activation of every group of rows but the last",
        "kernels/native/families/dense_rows.hpp",
        "after(row, count);",
        "if (row + ROWS_TOGETHER < rows.end) after(row, count);",
        (AS_EAGER,),
    ),
    Mistake(
        "sums of a chunk of the batch begin again in each round",
        "kernels/native/families/dense_rows_dw.hpp",
        "{continues ? place : nullptr, row_}",
        "{nullptr, row_}",
        (GRID,),
    ),
    Mistake(
        "weight gradient of the first chunk of the batch alone",
        "kernels/native/families/dense_rows_dw.hpp",
        "for (std::int64_t chunk = 1; chunk < chunks_.count; ++chunk)",
        "for (std::int64_t chunk = 1; chunk < 1; ++chunk)",
        (GRID,),
    ),
    Mistake(
        "last rows of the batch read beyond its end",
        "kernels/native/families/dense_rows_dw.hpp",
        "if (safe < end) sum_round(chunk, tiles, safe, end - safe, false);",
        "if (safe < end) sum_round(chunk, tiles, safe, end - safe, true);",
        (EDGES,),
    ),
    Mistake(
        "all blocks of a gradient's columns take the features of the first",
        "kernels/native/families/dense_rows_dw.hpp",
        "{b_ + m * columns_ + column, columns_, last, padded, ahead}",
        "{b_ + m * columns_, columns_, last, padded, ahead}",
        (GRID, EDGES),
    ),
    Mistake(
        "the last block of a gradient's columns ends as the others",
        "kernels/native/families/dense_rows_dw.hpp",
        "const int last = int(width - (block - 1) * LANES<T>);",
        "const int last = LANES<T>;",
        (EDGES,),
    ),
    Mistake(
        "features beyond whole vectors of a chunk lost where lanes are rows",
        "kernels/native/families/dense_narrow_forward.hpp",
        "if (k < end) add(k, int(end - k));",
        "if (k + 1 < end) add(k, int(end - k));",
        (GRID, EDGES),
    ),
    Mistake(
        "the bias of the first vector of outputs for the second one",
        "kernels/native/families/dense_narrow_forward.hpp",
        "with_bias(square[i], column, width), width);",
        "with_bias(square[i], 0, width), width);",
        (EDGES,),
    ),
    Mistake(
        "no activation where lanes are rows of few outputs",
        "kernels/native/families/dense_narrow_forward.hpp",
        "        activate(activation, y + row * N, N, LANES<T>, N);",
        "",
        (AS_EAGER,),
    ),
    Mistake(
        "rows behind the groups in the lanes of vectors are left out",
        "kernels/native/families/dense_narrow_forward.hpp",
        "for (std::int64_t row = run_lanes(rows); row < rows.end; row += NARROW_ROWS) {",
        "for (std::int64_t row = run_lanes(rows); row + NARROW_ROWS <= rows.end; row += NARROW_ROWS) {",
        (GRID, EDGES),
    ),
    Mistake(
        "the last features of a single output are left out",
        "kernels/native/families/dense_narrow.hpp",
        "        if (k < K) add(chain, k,",
        "        if (k + LANES<T> <= K) add(chain, k,",
        (GRID,),
    ),
    Mistake(
        "the bias of a single output is left out",
        "kernels/native/families/dense_narrow.hpp",
        "+ (b ? *b : T(0));",
        "+ T(0);",
        (GRID,),
    ),
    Mistake(
        "the second block of features of a single output is updated by the first",
        "kernels/native/families/dense_narrow_update.hpp",
        "{x + features.begin, K, features.last, false},",
        "{x, K, features.last, false},",
        (GRID, AS_EAGER),
    ),
    Mistake(
        "every vector of a run of gradients has the first outputs",
        "kernels/native/families/dense_narrow_update.hpp",
        "load(factors + j % PERIOD * LANES<T>)",
        "load(factors)",
        (AS_EAGER,),
    ),
    Mistake(
        "gradients of the weights from the first of a few rows alone",
        "kernels/native/families/dense_few.hpp",
        "sum = fma(element[m], factor[m][j], sum);",
        "sum = fma(element[m], factor[0][j], sum);",
        (FEW_ROWS,),
    ),
    Mistake(
        "every one of a few rows has the input gradient of the first",
        "kernels/native/families/dense_few.hpp",
        "dy + n, 1, N, sum);",
        "dy + n, 1, 0, sum);",
        (FEW_ROWS,),
    ),
    Mistake(
        "two neighbours are dropped together",
        "kernels/native/families/random.hpp",
        "half[2 * i + 1] = std::uint32_t(word >> 32);",
        "half[2 * i + 1] = std::uint32_t(word);",
        (GRID,),
    ),
)
