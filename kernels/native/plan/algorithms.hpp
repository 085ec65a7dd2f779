// Which algorithms kernels choose, where the fusion passes must know it. The choice depends on sizes alone.
#pragma once

#include <cstdint>

#include "plan/sizes.hpp"

namespace fastnn {

// Rows of a matrix that are summed together (row_sums.hpp). A row of a block has at most 256 bytes: 16 KiB.
constexpr std::int64_t CHUNK_ROWS = 64;

// The side of Winograd's output tiles for a convolution of C channels to O channels of P x Q pixels, or 0 to
// use another algorithm. Winograd's algorithm needs enough channels to fill vectors and to repay the
// transforms, and few tiles that reach beyond the outputs. The choice must not depend on the number of
// images, because the bits of an image must not.
inline int winograd_side(const ConvSizes &g, std::int64_t C, std::int64_t O, std::int64_t P, std::int64_t Q) {
    // Transformed filters for the larger tiles take 4 times the memory of the filters. They should fit into a
    // cache, since a batch of few images spends most of its time on transforming them.
    constexpr std::int64_t MOST_WEIGHTS = 128 * 128;
    for (int i = 0; i < 2; ++i)
        if (g.stride[i] != 1 || g.dilation[i] != 1) return 0;
    if (g.R != 3 || g.S != 3 || g.groups() != 1 || C < 16 || O < 16) return 0;
    const std::int64_t direct = P * Q * 9;
    const std::int64_t small = (P + 1) / 2 * ((Q + 1) / 2) * 16, large = (P + 3) / 4 * ((Q + 3) / 4) * 36;
    if (C * O <= MOST_WEIGHTS && 4 * large <= 3 * direct && 5 * large <= 4 * small) return 4;
    return 4 * small <= 3 * direct ? 2 : 0;
}

inline int forward_side(const ConvSizes &g) { return winograd_side(g, g.C, g.O, g.P, g.Q); }
inline bool forward_by_winograd(const ConvSizes &g) { return forward_side(g) != 0; }

inline bool is_depthwise(const ConvSizes &g) {
    return g.channels == 1 && g.outputs() == 1 && g.groups() > 1;
}

constexpr std::int64_t IMAGE_CHUNKS = 16;

// Whether the gradient of filters of this float size is summed over chunks of the images, as that of small
// filters is. Each chunk belongs to a part, which pads only its own images and finds its results in its
// cache. The gradient of larger filters is cut into tiles, and each part reads all images.
inline bool sums_filters_by_images(const ConvSizes &g, std::int64_t float_bytes) {
    constexpr std::int64_t BYTES = 1 << 14;
    return g.N >= IMAGE_CHUNKS && !is_depthwise(g) && !forward_by_winograd(g) &&
           g.R * g.S * g.channels * g.O * float_bytes <= BYTES;
}

}  // namespace fastnn
