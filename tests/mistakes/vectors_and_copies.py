"""Mistakes in what the products are built of: vectors, transposes, copies and few outputs."""

from mistake import BITS, EDGES, GRID, Mistake

MISTAKES = (
    Mistake(
        "copied columns of a tile end early",
        "kernels/native/gemm/pack.hpp",
        "begin[tile + 1] - begin[tile]);",
        "begin[tile + 1] - begin[tile] - (column == depth - 1));",
        (EDGES, BITS),
    ),
    Mistake(
        "second vector of few outputs lost",
        "kernels/native/families/dense_narrow_forward.hpp",
        "for (int j = 0; j < VECTORS; ++j) store(",
        "for (int j = 0; j < 1; ++j) store(",
        (GRID,),
    ),
    Mistake(
        "blocks of a transpose exchanged with themselves",
        "kernels/native/gemm/transpose.hpp",
        "(I & WIDTH ? LANES<T> + I : I + WIDTH)",
        "(I & WIDTH ? LANES<T> + I : I)",
        (GRID,),
    ),
    Mistake(
        "pair of floats stored one place too early",
        "kernels/native/simd/simd.hpp",
        "rest = _mm_movehl_ps(rest, rest);\n        p += 2;",
        "rest = _mm_movehl_ps(rest, rest);\n        p += 1;",
        (GRID,),
    ),
    Mistake(
        "blocks of the next group taken for packed ones",
        "kernels/native/gemm/gemm.hpp",
        "packed = PACKED_BLOCKS - index % PACKED_BLOCKS;",
        "packed = PACKED_BLOCKS;",
        (EDGES, BITS),
    ),
    Mistake(
        "row tiles of a group of blocks multiplied by the first block alone",
        "kernels/native/gemm/gemm.hpp",
        "const ColumnBlock<T> columns(p.N, index);",
        "const ColumnBlock<T> columns(p.N, block.index);",
        (GRID, EDGES),
    ),
)
