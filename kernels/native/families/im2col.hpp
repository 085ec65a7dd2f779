// Explicit im2col and col2im: the matrix of patches that correlation.hpp never stores.
#pragma once

#include "families/correlation.hpp"

namespace fastnn {

// Calls body(patch, pixel) for each pixel of the patches (P, Q, R, S, C) of an image (H, W, C), in the order
// of the patches; `pixel` is null outside of the image.
template <class Patches, class Image, class Body>
inline void for_patches(const Geometry &g, Patches patches, Image image, Body body) {
    for (std::int64_t p = 0; p < g.P; ++p)
        for (std::int64_t q = 0; q < g.Q; ++q)
            for (std::int64_t r = 0; r < g.R; ++r)
                for (std::int64_t s = 0; s < g.S; ++s, patches += g.C) {
                    const std::int64_t h = p * g.stride[0] + r * g.dilation[0] - g.padding[0];
                    const std::int64_t w = q * g.stride[1] + s * g.dilation[1] - g.padding[1];
                    const bool inside = h >= 0 && h < g.H && w >= 0 && w < g.W;
                    body(patches, inside ? image + (h * g.W + w) * g.C : nullptr);
                }
}

// x (N, H, W, C) -> columns (N, P, Q, R, S, C)
template <class T> void im2col(const Call &call, int part, int parts) {
    using op = operands::IM2COL;
    const Geometry g(call);
    const Range images = share(g.N, part, parts);
    for (std::int64_t n = images.begin; n < images.end; ++n) {
        T *const columns = call.out<T>(op::columns) + n * g.P * g.Q * g.R * g.S * g.C;
        for_patches(g, columns, call.in<T>(op::x) + n * g.H * g.W * g.C, [&](T *patch, const T *pixel) {
            if (pixel)
                Canvas<T>::copy(pixel, patch, g.C);
            else
                std::memset(patch, 0, std::size_t(g.C) * sizeof(T));
        });
    }
}

// columns (N, P, Q, R, S, C) -> x (N, H, W, C)
template <class T> void col2im(const Call &call, int part, int parts) {
    using op = operands::COL2IM;
    const Geometry g(call);
    const Range images = share(g.N, part, parts);
    for (std::int64_t n = images.begin; n < images.end; ++n) {
        T *const image = call.out<T>(op::x) + n * g.H * g.W * g.C;
        std::memset(image, 0, std::size_t(g.H * g.W * g.C) * sizeof(T));
        const T *const columns = call.in<T>(op::columns) + n * g.P * g.Q * g.R * g.S * g.C;
        for_patches(g, columns, image, [&](const T *patch, T *pixel) {
            if (!pixel) return;
            for_vectors<T>(0, g.C, [=](std::int64_t e, int k) {
                store_n(pixel + e, load_n(pixel + e, k) + load_n(patch + e, k), k);
            });
        });
    }
}

}  // namespace fastnn
