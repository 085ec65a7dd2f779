// The names of the sizes of a call: Call::size holds one of these structures.
#pragma once

#include <cstdint>

namespace fastnn {

// Kernels that treat all elements alike.
struct Elements {
    std::int64_t count;
};

// Matrices (M, C): softmax, losses of classes, norms.
struct MatrixSizes {
    std::int64_t M, C;
};

// Losses of labels: `labels` is C, or C + 1 if C is the label of rows to ignore.
struct LabelSizes {
    std::int64_t M, C, labels;
};

// Products x (batch, M, K) by w (batch, K, N); without leading axis the batch is 1.
struct DenseSizes {
    std::int64_t batch, M, K, N;
};

// Images x (N, H, W, C), filters (R, S, channels, O), outputs y (N, P, Q, O); the pairs are (rows, columns).
struct ConvSizes {
    std::int64_t N, H, W, C, R, S, channels, O, P, Q, stride[2], padding[2], dilation[2];

    std::int64_t groups() const { return C / channels; }
    std::int64_t outputs() const { return O / groups(); }  // of a group
};

// Images x (N, H, W, C), windows of R x S pixels, outputs y (N, P, Q, C).
struct PoolSizes {
    std::int64_t N, H, W, C, R, S, P, Q, stride[2], padding[2];

    // Whether no window reaches beyond the image.
    bool windows_stay_inside() const {
        return padding[0] == 0 && padding[1] == 0 && (P - 1) * stride[0] + R <= H &&
               (Q - 1) * stride[1] + S <= W;
    }
    // Whether, in addition, the windows neither overlap nor leave gaps, except at the end of the image.
    bool windows_tile_the_image() const { return windows_stay_inside() && R == stride[0] && S == stride[1]; }
};

// A convolution and a max pool of its outputs, whose windows tile them.
struct ConvPoolSizes {
    ConvSizes conv;
    std::int64_t window[2];

    PoolSizes pool() const {
        const auto [R, S] = window;
        return {conv.N, conv.P, conv.Q, conv.O, R, S, conv.P / R, conv.Q / S, {R, S}, {0, 0}};
    }
};

// `count` logits (..., C), the elements of all axes.
struct BinarySizes {
    std::int64_t count, C;
};

// Logits (M, S, C) of M samples, S positions and C classes.
struct DiceSizes {
    std::int64_t M, S, C;
};

// Rows of D elements, M of which are gathered from `rows`.
struct GatherSizes {
    std::int64_t M, D, rows;
};

// M indices of rows of D elements, of a matrix (rows, D). The row `padding` (-1: none) has no gradient.
struct EmbeddingSizes {
    std::int64_t M, D, rows, padding;
};

// Samples (N, S, C) of S positions and C channels, which form `groups` groups.
struct GroupSizes {
    std::int64_t N, S, C, groups;
};

// M samples with L losses and D gradient elements each.
struct WeighSizes {
    std::int64_t M, L, D;
};

// Images (M, H, W, C).
struct ImageSizes {
    std::int64_t M, H, W, C;
};

// Images (H, W, C), M of which are gathered from `images`.
struct WarpSizes {
    std::int64_t M, H, W, C, images;
};

// A check of `count` indices, all of which must lie in [0, limit).
struct IndexCheck {
    std::int64_t count, limit;
};

// An array of `count` elements that is read, or updated, `rounds` times.
struct ProbeSizes {
    std::int64_t count, rounds;
};

}  // namespace fastnn
