"""Mistakes in the fused kernels of images, and in the passes that put them into a plan."""

from mistake import Mistake

NORM_FUSION = "tests/plan/test_norm_fusion.py"
AS_EAGER = "tests/plan/test_same_as_eager.py"
POOL_FUSION = "tests/plan/test_pool_fusion.py"

MISTAKES = (
    # --- batch norm, ReLU and max pooling at once ---
    Mistake(
        "pixels beyond the windows take the gradient of the next image",
        "kernels/native/fusion/norm_relu_pool.hpp",
        "return q_ < g_.Q && h_ < g_.P * g_.R;",
        "return q_ < g_.Q;",
        (NORM_FUSION,),
    ),
    Mistake(
        "gradient comes back through a ReLU that was 0",
        "kernels/native/fusion/norm_relu_pool.hpp",
        "return block_.each(relu_gradient<T>, z, dz);",
        "return dz;",
        (NORM_FUSION,),
    ),
    Mistake(
        "windows with gaps fused",
        "kernels/native/fusion/norm_fusion.hpp",
        "windows.windows_tile_the_image())",
        "windows.windows_stay_inside())",
        (NORM_FUSION,),
    ),
    # --- convolution, activation and max pooling at once ---
    Mistake(
        "maxima of a block of rows stored where those of the first belong",
        "kernels/native/fusion/conv_pool.hpp",
        "(n * pool.P + first) * pool.Q * pool.C",
        "(n * pool.P + lines.begin) * pool.Q * pool.C",
        (POOL_FUSION,),
    ),
    Mistake(
        "rows of a part computed as if it began with the image",
        "kernels/native/fusion/conv_pool.hpp",
        "{first * pool.R, end * pool.R}",
        "{(first - lines.begin) * pool.R, (end - lines.begin) * pool.R}",
        (POOL_FUSION,),
    ),
    Mistake(
        "maxima of all planes stored where those of the first rows belong",
        "kernels/native/fusion/conv_pool.hpp",
        "(n * pool.P + now.begin / pool.R) * pool.Q * g.O",
        "(n * pool.P + lines.begin) * pool.Q * g.O",
        (POOL_FUSION,),
    ),
    Mistake(
        "planes end in the middle of a window",
        "kernels/native/families/planes.hpp",
        "/ even.count / multiple, 1) * multiple;",
        "/ even.count, multiple);",
        (POOL_FUSION,),
    ),
    Mistake(
        "pixels of the second column of a window in a plane get the tap of the first",
        "kernels/native/families/pool.hpp",
        "every_other<1>(low, high, all), 2 * r + 1);",
        "every_other<1>(low, high, all), 2 * r);",
        (POOL_FUSION,),
    ),
    Mistake(
        "gradient of the biases summed into the chunks of the first image",
        "kernels/native/fusion/conv_pool.hpp",
        "return {n * count, (n + 1) * count};",
        "return {0, count};",
        (POOL_FUSION,),
    ),
    Mistake(
        "sums of the biases on top of those of the filters",
        "kernels/native/fusion/conv_pool.hpp",
        "call.scratch + whole_lines(conv_dw_scratch<T>(call).shared)",
        "call.scratch",
        (POOL_FUSION,),
    ),
    Mistake(
        "gradient of the outputs not stored although another call reads it",
        "kernels/native/fusion/pool_fusion.hpp",
        "uses(calls, dz) == count ? nullptr : dz",
        "nullptr",
        (POOL_FUSION,),
    ),
    Mistake(
        "pool fused although others read what it is made of",
        "kernels/native/fusion/pool_fusion.hpp",
        'if (pool["x"] != conv["y"] || uses(calls, conv["y"]) != 2) continue;',
        'if (pool["x"] != conv["y"]) continue;',
        (POOL_FUSION,),
    ),
    Mistake(
        "sums of the biases fused although they begin in the middle of an image",
        "kernels/native/fusion/pool_fusion.hpp",
        'call["dy"] == dz && conv.P * conv.Q % CHUNK_ROWS == 0',
        'call["dy"] == dz',
        (POOL_FUSION,),
    ),
    Mistake(
        "pool with gaps between its windows fused with a convolution",
        "kernels/native/fusion/pool_fusion.hpp",
        "pool.windows_tile_the_image()",
        "pool.windows_stay_inside()",
        (POOL_FUSION,),
    ),
    Mistake(
        "derivative of ReLU taken at an output of the pool that has been changed",
        "kernels/native/fusion/fusion.hpp",
        'return times_written(calls, pool["y"]) == 1 ? pool["y"] : nullptr;',
        'return pool["y"];',
        (POOL_FUSION,),
    ),
    Mistake(
        "a pool of the same outputs in another shape is fused",
        "kernels/native/fusion/pool_fusion.hpp",
        "pool.H == conv.P && pool.W == conv.Q && pool.C == conv.O &&",
        "true &&",
        (AS_EAGER,),
    ),
    Mistake(
        "a pool of other channels than those of batch norm is fused",
        "kernels/native/fusion/norm_fusion.hpp",
        "windows.C == norm.sizes<MatrixSizes>().C &&",
        "true &&",
        (AS_EAGER,),
    ),
)
