// Which algorithms kernels choose, where the fusion passes must know it. The choice depends on sizes alone.
#pragma once

#include <cstdint>

#include "plan/sizes.hpp"

namespace fastnn {

// Rows of a matrix that are summed together (row_sums.hpp). A row of a block has at most 256 bytes: 16 KiB.
constexpr std::int64_t CHUNK_ROWS = 64;

// A weight gradient that sums over more rows than this is not fused with the update.
constexpr std::int64_t MOST_FUSED_ROWS = 256;

// The most elements of a matrix of weights that stays in the caches while many rows are multiplied by it.
constexpr std::int64_t SMALL_MATRIX = 16384;

// The chunks of the batch over which the weight gradient of a small dense layer is summed before the sums are
// added in order. With two or four threads, each has its rows of x and dy in its own cache, where the other
// passes left them. In a fused update, the gradient of many features and fewer than 16 outputs is one chunk:
// narrow_update is faster there.
inline std::int64_t weight_chunks(const DenseSizes &size) {
    constexpr std::int64_t NARROW = 16, FEW_FEATURES = 128;
    if (size.M < 2 * CHUNK_ROWS) return 1;
    if (size.M <= MOST_FUSED_ROWS && size.N < NARROW && size.K > FEW_FEATURES) return 1;
    return size.M < 512 ? 2 : size.M < 2048 ? 4 : size.M < 16384 ? 8 : 16;
}

// The most rows of such a chunk.
inline std::int64_t rows_of_chunk(const DenseSizes &size) {
    const std::int64_t chunks = weight_chunks(size);
    return (size.M + chunks - 1) / chunks;
}

// Whether a matrix of weights stays in the caches while many rows are multiplied by it.
inline bool is_small_matrix(std::int64_t K, std::int64_t N) {
    return K > 0 && N > 0 && K <= SMALL_MATRIX / N;
}

// Whether a fused update sums the gradient by chunks.
inline bool updates_by_chunks(const DenseSizes &size) {
    return size.batch == 1 && size.M <= MOST_FUSED_ROWS && is_small_matrix(size.K, size.N) &&
           weight_chunks(size) > 1;
}

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
