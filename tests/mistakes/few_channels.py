"""Mistakes in convolutions to few outputs, in depthwise ones and in those by 1 x 1 filters."""

from mistake import EDGES, GRID, Mistake

MISTAKES = (
    Mistake(
        "gradient of pixels without outputs is what was there",
        "kernels/native/families/pixels.hpp",
        "if (!is_read || g.stride[1] > 1) std::memset",
        "if (!is_read) std::memset",
        (GRID,),
    ),
    Mistake(
        "gradients of strided pixels next to each other",
        "kernels/native/families/correlation.hpp",
        "place.c = y + ((p - lines.begin) * c.Q + q * c.step) * O + first;",
        "place.c = y + ((p - lines.begin) * c.Q + q) * O + first;",
        (GRID,),
    ),
    Mistake(
        "gradients of an earlier chunk behind the last row",
        "kernels/native/families/planes.hpp",
        "store(results() + o * apart() + positions, Vec<T>{});",
        "(void)o;",
        (GRID,),
    ),
    Mistake(
        "both halves of a vector of pixels from the same row",
        "kernels/native/families/planes.hpp",
        "load_halves(from + starts[2 * j], from + starts[2 * j + 1])",
        "load_halves(from + starts[2 * j], from + starts[2 * j] + HALF<T>)",
        (GRID,),
    ),
    Mistake(
        "a chunk of few rows read in place, and what is behind the image",
        "kernels/native/families/planes.hpp",
        "if (image_is_plane() && lines.end - lines.begin == rows)",
        "if (image_is_plane())",
        (EDGES,),
    ),
    Mistake(
        "positions behind the last row read what is behind the image",
        "kernels/native/families/planes.hpp",
        "if (h + 1 >= halves) continue;",
        "(void)halves;",
        (EDGES,),
    ),
    Mistake(
        "pairs of channels joined in the wrong order",
        "kernels/native/gemm/transpose.hpp",
        "v[k] = low[k], v[N / 2 + k] = high[k];",
        "v[k] = high[k], v[N / 2 + k] = low[k];",
        (GRID,),
    ),
    Mistake(
        "pairs of channels split in the wrong order",
        "kernels/native/gemm/transpose.hpp",
        "v[2 * k] = pair[0], v[2 * k + 1] = pair[1];",
        "v[2 * k] = pair[1], v[2 * k + 1] = pair[0];",
        (GRID,),
    ),
    Mistake(
        "channels of the last pixel lost",
        "kernels/native/gemm/transpose.hpp",
        "if (k < valid) pixels[(i + SIDE - 1) * channels + c + k] = square[SIDE - 1][k];",
        "if (k < valid - 1) pixels[(i + SIDE - 1) * channels + c + k] = square[SIDE - 1][k];",
        (GRID,),
    ),
    Mistake(
        "edge of a depthwise gradient counted twice",
        "kernels/native/families/depthwise.hpp",
        "std::max(outputs[j].begin, inner.end)",
        "std::max(outputs[j].begin, inner.begin)",
        (GRID,),
    ),
    Mistake(
        "depthwise pixels of a row times filters from right to left",
        "kernels/native/families/depthwise.hpp",
        "fma(value, weight[s], sum[(j - s) / STRIDE]);",
        "fma(value, weight[SIZE - 1 - s], sum[(j - s) / STRIDE]);",
        (GRID,),
    ),
    Mistake(
        "gradients of taps in the next row from the same pixels",
        "kernels/native/families/depthwise.hpp",
        "seen + q * step + i * next + j * apart",
        "seen + q * step + j * apart",
        (GRID,),
    ),
    Mistake(
        "filters of a depthwise gradient not turned round",
        "kernels/native/families/conv.hpp",
        "filters + (g.R * g.S - 1 - place) * g.C, g.C);",
        "filters + place * g.C, g.C);",
        (GRID,),
    ),
)
