// The gradient of the input of 1 x 1 filters. A pixel has at most one output, so that its gradient is a
// product of the output's gradient and the filters, without neighbours: dy is read in place, and with
// strides, no zeros are inserted into it (56x56x256 by 1x1 to 512 with stride 2, one image on Zen 4: 9.2 ->
// 1.9 ms).
//
// Letters as in conv_ref.py. Sums run over o in ascending order.
#pragma once

#include <algorithm>
#include <cstring>

#include "families/correlation.hpp"

namespace fastnn {

inline bool dx_by_pixels(const Geometry &g) {
    return !is_depthwise(g) && g.R == 1 && g.S == 1 && g.padding[0] == 0 && g.padding[1] == 0;
}

// The rows `lines` of dx.  dy (P, Q, O), filters (o, C) with the outputs o of each group -> dx (lines, W, C)
// `after(pixels, count, width)` is called for each row when it is complete.
template <class T, class After>
void pixels_dx(const Geometry &g, const T *dy, const T *filters, Range lines, T *dx, After after) {
    Correlation<T> c(g);
    // Outputs may lie beyond the image, where only padding is.
    c.Q = std::min(g.Q, (g.W + g.stride[1] - 1) / g.stride[1]);
    c.channels = g.outputs();
    c.stride[1] = 1, c.step = g.stride[1];
    for (std::int64_t h = lines.begin; h < lines.end; ++h) {
        T *const row = dx + (h - lines.begin) * g.W * g.C;
        const std::int64_t p = h / g.stride[0];
        const bool is_read = h % g.stride[0] == 0 && p < g.P;
        if (!is_read || c.step > 1 || c.Q < g.W) std::memset(row, 0, std::size_t(g.W * g.C) * sizeof(T));
        if (is_read) {
            // dy is only read through this canvas.
            const Canvas<T> canvas{const_cast<T *>(dy) + p * g.Q * g.O, g.Q, g.O};
            correlate<T>(c, canvas, {0, 1}, filters, nullptr, nullptr, g.C, row,
                         [](T *, std::int64_t, std::int64_t) {});
        }
        after(row, g.W, g.C);
    }
}

}  // namespace fastnn
