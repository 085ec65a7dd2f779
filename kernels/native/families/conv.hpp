// Convolution kernels. The order of all sums depends on the geometry of the convolution alone:
//
// - 3 x 3 filters over many channels: Winograd's algorithm (winograd.hpp),
// - one filter per channel: depthwise, vectorized along the channels (depthwise.hpp),
// - few outputs: vectorized along the pixels (planes.hpp),
// - gradients of inputs of 1 x 1 filters: products of pixels (pixels.hpp),
// - gradients of most other inputs: products that are scattered (scatter.hpp),
// - all others: matrix products of patches (correlation.hpp).
//
// Where most of dy is 0, gradients skip the zeros, in the same order (scatter.hpp, sparse_dw.hpp).
#pragma once

#include "families/act.hpp"
#include "families/correlation.hpp"
#include "families/depthwise.hpp"
#include "families/pixels.hpp"
#include "families/planes.hpp"
#include "families/scatter.hpp"
#include "families/sparse_dw.hpp"
#include "families/winograd.hpp"
#include "gemm/transpose.hpp"
#include "plan/algorithms.hpp"

namespace fastnn {

// body(Winograd<T, side>) of these sizes, those of a convolution or of its gradient.
template <class T, class Body> inline auto with_side(int side, const Winograd<T, 2> &w, Body body) {
    const Winograd<T, 4> wide{w.N, w.H, w.W, w.C, w.P, w.Q, w.O, w.top, w.left};
    return side == 2 ? body(w) : body(wide);
}

template <class T, class Body> inline auto with_winograd(const Geometry &g, Body body) {
    const Winograd<T, 2> w{g.N, g.H, g.W, g.C, g.P, g.Q, g.O, g.padding[0], g.padding[1]};
    return with_side<T>(forward_side(g), w, body);
}

// Packs filters that are so large that each block of outputs is read from the L2 cache; unpacked, each of its
// rows would be in a page of its own (27x27x96->256 by 5x5 on Zen 4: 60 -> 112 GFLOP/s).
template <class T> bool packs_filters(const Geometry &g) {
    constexpr std::int64_t BYTES = 1 << 16, PIXELS = 64;
    return !is_depthwise(g) && g.groups() == 1 && g.O > BLOCK<T> && g.P * g.Q >= PIXELS &&
           g.R * g.S * g.channels * BLOCK_ROW_BYTES >= BYTES;
}

// Whether outputs leave so many lanes idle that vectors along the pixels are faster, although they need
// copies. With AVX-512, 28x28x1 by 5x5 to 6: 176 -> 102 us for 32 images; by 3x3 to 8: 118 -> 87 us; but to
// 12: 0.93 times as fast, and 1x1 filters compute too little for each copied pixel.
template <class T> bool forward_by_planes(const Geometry &g) {
    const bool leaves_lanes_idle = g.O < LANES<T> && (g.O <= PLANE_ROWS || 3 * g.O <= 2 * LANES<T>);
    return g.groups() == 1 && g.O > 0 && leaves_lanes_idle && 2 * g.Q >= LANES<T> && g.R * g.S >= 4;
}

template <class T> ScratchNeeds conv_forward_scratch(const Call &call) {
    const Geometry g(call);
    const Correlation<T> c(g);
    const std::int64_t size = sizeof(T);
    if (forward_by_planes<T>(g)) return {0, 0, PlaneConvolution<T>(g).bytes()};
    if (forward_by_winograd(g))
        return with_winograd<T>(g, [=](const auto &w) -> ScratchNeeds {
            return {0, w.filter_elements() * size, w.forward_elements() * size};
        });
    const std::int64_t panels = packs_filters<T>(g) ? Panels<T>::elements(g.R * g.S * g.channels, g.O) : 0;
    return {0, panels * size, is_depthwise(g) || stays_inside(g, c) ? 0 : c.elements(g.P) * size};
}

template <class T> void conv_forward_prepare(const Call &call, int part, int parts) {
    using op = operands::CONV_FORWARD;
    const Geometry g(call);
    const T *const w = call.in<T>(op::w);
    T *const filters = reinterpret_cast<T *>(call.scratch);
    if (forward_by_winograd(g)) {
        with_winograd<T>(
            g, [=](const auto &by) { transform_filters(by, share(by.C, part, parts), w, filters); });
    } else if (packs_filters<T>(g)) {
        const std::int64_t rows = g.R * g.S * g.channels;
        const Range mine = share(rows, part, parts);
        for (std::int64_t row = mine.begin; row < mine.end; ++row)
            Panels<T>::for_columns(g.O, rows, filters,
                                   [=](std::int64_t o, int n, T *panel, std::int64_t stride) {
                                       store(panel + row * stride, load_n(w + row * g.O + o, n));
                                   });
    }
}

// Computes rows of the outputs of an image, unless Winograd's algorithm makes them.
template <class T> class ForwardLines {
public:
    ForwardLines(const Call &call, const Geometry &g, T *memory)
        : call(call), g(g), memory(memory), planes(g, forward_by_planes<T>(g) ? memory : nullptr) {}

    // The rows `lines` of image n.  y (lines, Q, O)
    void operator()(std::int64_t n, Range lines, T *y) const {
        const T *const image = call.in<T>(op::x) + n * g.H * g.W * g.C;
        const T *const w = call.in<T>(op::w), *const b = call.in<T>(op::b);
        if (forward_by_planes<T>(g))
            return planes.forward(
                image, w, b, lines, y,
                [&](T *results, std::int64_t outputs, std::int64_t count, std::int64_t apart) {
                    activate(call.activation, results, apart, outputs, count);
                });
        const auto apply = [&](T *pixels, std::int64_t count, std::int64_t width) {
            activate(call.activation, pixels, g.O, count, width);
        };
        if (is_depthwise(g)) return depthwise_forward(depthwise_of(g), image, w, b, lines, y, apply);
        const T *const panels = packs_filters<T>(g) ? reinterpret_cast<const T *>(call.scratch) : nullptr;
        const Correlation<T> c(g);
        correlate(c, seen_by(g, c, image, lines, memory), lines, w, panels, b, g.O, y, apply);
    }

private:
    using op = operands::CONV_FORWARD;  // the same positions for CONV_POOL_FORWARD
    const Call &call;
    const Geometry &g;
    T *const memory;
    const PlaneConvolution<T> planes;
};

// y = b + x * w.  x (N, H, W, C), w (R, S, channels, O), b (O,) or null -> y (N, P, Q, O)
template <class T> void conv_forward(const Call &call, int part, int parts) {
    using op = operands::CONV_FORWARD;
    const Geometry g(call);
    T *const memory = scratch_of<T>(call, part), *const y = call.out<T>(op::y);
    if (!forward_by_winograd(g)) {
        const ForwardLines<T> forward(call, g, memory);
        return for_lines(g.N, g.P, part, parts, [&](std::int64_t n, Range lines) {
            forward(n, lines, y + (n * g.P + lines.begin) * g.Q * g.O);
        });
    }
    with_winograd<T>(g, [&](const auto &w) {
        winograd_forward(w, call.in<T>(op::x), reinterpret_cast<T *>(call.scratch), call.in<T>(op::b), memory,
                         part, parts, y, [&](T *pixels, std::int64_t count, std::int64_t width) {
                             activate(call.activation, pixels, g.O, count, width);
                         });
    });
}

// The gradient of the input is also a convolution: of dy, with zeros between its pixels for strides, with the
// flipped filters, and with C and O exchanged.
template <class T> inline Correlation<T> turned(const Geometry &g) {
    Correlation<T> c(g);
    c.P = g.H, c.Q = g.W;
    c.channels = g.outputs();
    c.stride[0] = c.stride[1] = 1;
    return c;
}

// The number of zeros that this convolution needs above dy and on its left.
inline std::int64_t turned_padding(const Geometry &g, int side) {
    return ((side ? g.S : g.R) - 1) * g.dilation[side] - g.padding[side];
}

inline Depthwise turned_depthwise(const Geometry &g) {
    return {g.P,
            g.Q,
            g.C,
            g.H,
            g.W,
            g.R,
            g.S,
            {1, 1},
            {turned_padding(g, 0), turned_padding(g, 1)},
            {g.dilation[0], g.dilation[1]}};
}

inline int dx_side(const Geometry &g) { return winograd_side(g, g.O, g.C, g.H, g.W); }
inline bool dx_by_winograd(const Geometry &g) { return dx_side(g) != 0; }
template <class T, class Body> inline auto with_turned_winograd(const Geometry &g, Body body) {
    const Winograd<T, 2> w{g.N, g.P, g.Q, g.O, g.H, g.W, g.C, turned_padding(g, 0), turned_padding(g, 1)};
    return with_side<T>(dx_side(g), w, body);
}
template <class T> inline std::int64_t filter_elements(const Geometry &g) {
    return whole_lines(g.R * g.S * g.outputs() * g.C * std::int64_t(sizeof(T))) / std::int64_t(sizeof(T));
}

// Whether scattered products need hardly more multiplications of vectors, since their tiles run along whole
// rows of filters, and skip zeros (AVX-512, 16 images, before and after: 27x27x24 by 5x5 to 48 with padding,
// 8.1 and 6.1 ms; 24x24x32 by 5x5 to 32, 4.2 and 3.1 ms. LeNet's second convolution, 12x12x6 by 5x5 to 16, 32
// images: 523 and 107 us, and 48 us behind a max pool). Filters that do not stay in L2 are read again for
// each pixel, so these products must save a third.
template <class T> bool dx_by_scatter(const Geometry &g) {
    if (g.groups() != 1 || (g.dilation[1] != 1 && g.S > 1) || dx_by_winograd(g) || dx_by_pixels(g))
        return false;
    // An element of dx is read and written again for every sum over r and o, which takes as long as ADDS
    // terms.
    constexpr std::int64_t ADDS = 8;
    constexpr double BYTES = 1 << 20;
    const auto vectors = [](std::int64_t columns) { return (columns + LANES<T> - 1) / LANES<T>; };
    const double scattered = double(g.P * g.Q * vectors(g.S * g.C)) * double(g.R * g.O + ADDS * g.stride[0]);
    const double turned = double(g.H * g.W * g.S * vectors(g.C)) * double(g.R * g.O);
    const double filters = double(g.R * g.S * g.C) * double(g.O) * double(sizeof(T));
    return scattered <= (filters <= BYTES ? 1.05 : 2.0 / 3) * turned;
}

template <class T> ScratchNeeds conv_dx_scratch(const Call &call) {
    const Geometry g(call);
    if (dx_by_scatter<T>(g)) {
        const ScatteredGradient<T> scattered(g);
        return {0, whole_lines(scattered.filter_elements() * std::int64_t(sizeof(T))),
                scattered.elements() * std::int64_t(sizeof(T))};
    }
    const std::int64_t size = sizeof(T), filters = filter_elements<T>(g);
    if (dx_by_winograd(g))
        return with_turned_winograd<T>(g, [=](const auto &w) -> ScratchNeeds {
            return {0, (filters + w.filter_elements()) * size, w.forward_elements() * size};
        });
    return {0, filters * size, is_depthwise(g) || dx_by_pixels(g) ? 0 : turned<T>(g).elements(g.H) * size};
}

// turned[R - 1 - r, S - 1 - s, o, c] = w[r, s, c, o], in each group. The parts divide the outputs of the
// groups.
template <class T> void conv_dx_prepare(const Call &call, int part, int parts) {
    using op = operands::CONV_DX;
    const Geometry g(call);
    T *const filters = reinterpret_cast<T *>(call.scratch);
    if (is_depthwise(g)) {
        const Range mine = share(g.R * g.S, part, parts);
        for (std::int64_t place = mine.begin; place < mine.end; ++place)
            Canvas<T>::copy(call.in<T>(op::w) + place * g.C, filters + (g.R * g.S - 1 - place) * g.C, g.C);
        return;
    }
    const Range mine = share(g.outputs(), part, parts, LANES<T>);
    if (dx_by_scatter<T>(g)) return ScatteredGradient<T>(g).turn(call.in<T>(op::w), mine, filters);
    for (std::int64_t place = 0; place < g.R * g.S; ++place)
        for (std::int64_t group = 0; group < g.groups(); ++group) {
            const T *from = call.in<T>(op::w) + place * g.channels * g.O + group * g.outputs() + mine.begin;
            T *to = filters + ((g.R * g.S - 1 - place) * g.outputs() + mine.begin) * g.C + group * g.channels;
            transpose<T, false>(from, g.O, g.channels, mine.end - mine.begin, to, g.C);
        }
    if (dx_by_winograd(g))
        with_turned_winograd<T>(g, [=, of_w = filter_elements<T>(g)](const auto &w) {
            transform_filters(w, mine, filters, filters + of_w);
        });
}

// dy (N, P, Q, O), w (R, S, channels, O), y of the activation (N, H, W, C) or null -> dx (N, H, W, C)
template <class T> void conv_dx(const Call &call, int part, int parts) {
    using op = operands::CONV_DX;
    const Geometry g(call);
    T *const filters = reinterpret_cast<T *>(call.scratch), *const memory = scratch_of<T>(call, part);
    const T *const no_bias = nullptr;
    const auto go_back = [&, x = call.out<T>(op::dx)](T *pixels, std::int64_t count, std::int64_t width) {
        if (call.activation)
            deactivate(call.activation, call.in<T>(op::y) + (pixels - x), pixels, g.C, count, width);
    };
    if (dx_by_winograd(g))
        return with_turned_winograd<T>(g, [&](const auto &w) {
            winograd_forward(w, call.in<T>(op::dy), filters + filter_elements<T>(g), no_bias, memory, part,
                             parts, call.out<T>(op::dx), go_back);
        });
    if (dx_by_scatter<T>(g))
        return ScatteredGradient<T>(g).run(call.in<T>(op::dy), call.in<T>(op::w), filters, memory, part,
                                           parts, call.out<T>(op::dx), go_back);
    const Correlation<T> c = turned<T>(g);
    const Canvas<T> canvas{memory, c.width(), g.O};
    const std::int64_t top = turned_padding(g, 0), left = turned_padding(g, 1);
    for_lines(g.N, g.H, part, parts, [&](std::int64_t n, Range lines) {
        const T *dy = call.in<T>(op::dy) + n * g.P * g.Q * g.O;
        T *const image = call.out<T>(op::dx) + n * g.H * g.W * g.C;
        T *const dx = image + lines.begin * g.W * g.C;
        if (is_depthwise(g)) {
            if (g.stride[0] == 1 && g.stride[1] == 1)
                depthwise_forward<T>(turned_depthwise(g), dy, filters, no_bias, lines, dx, go_back);
            else
                depthwise_dx(depthwise_of(g), dy, call.in<T>(op::w), lines, image, go_back);
            return;
        }
        if (dx_by_pixels(g)) return pixels_dx(g, dy, filters, lines, dx, go_back);
        canvas.draw(dy, g.P, g.Q, g.stride, top, left, lines.begin, c.rows(lines.end - lines.begin));
        correlate<T>(c, canvas, lines, filters, nullptr, no_bias, g.C, dx, go_back);
    });
}

inline bool dw_by_winograd(const Geometry &g) { return g.N > 0 && forward_by_winograd(g); }

template <class T> bool dw_by_images(const Geometry &g) { return sums_filters_by_images(g, sizeof(T)); }

// With more outputs than these, the gradients of the filters are faster as products, although lanes are idle
// (AVX-512, 28x28x1 by 3x3 to 8: 98 us, by planes 117; to 6 by 5x5: 150, by planes 117).
template <class T> bool dw_by_planes(const Geometry &g) {
    constexpr std::int64_t BYTES = 1 << 16;  // of the sums, a vector for each
    return g.N > 0 && g.O <= PLANE_ROWS && forward_by_planes<T>(g) &&
           g.R * g.S * g.C * g.O * VECTOR_BYTES <= BYTES;
}
inline std::int64_t image_chunks(const Geometry &g) { return std::min(g.N, IMAGE_CHUNKS); }

template <class T> ScratchNeeds conv_dw_scratch(const Call &call) {
    const Geometry g(call);
    const Correlation<T> c(g);
    const std::int64_t size = sizeof(T);
    if (dw_by_winograd(g))
        return with_winograd<T>(g, [=](const auto &w) -> ScratchNeeds {
            return {0, w.filter_elements() * size, w.dw_elements() * size};
        });
    const std::int64_t canvas = is_depthwise(g) || stays_inside(g, c) ? 0 : c.elements(g.P) * size;
    const std::int64_t sums = image_chunks(g) * FilterGradient<T>(g).elements() * size;
    if (dw_by_planes<T>(g)) return {0, sums, std::max(canvas, PlaneConvolution<T>(g).dw_bytes())};
    if (!dw_by_images<T>(g)) return {0, 0, canvas};
    const bool may_skip = SparseFilterGradient<T>::suits(g);
    return {0, sums, canvas + (may_skip ? SparseFilterGradient<T>(g).bytes() : 0)};
}

// dw[r, s, c] for some channels. The parts divide the vectors of channels.
template <class T>
void depthwise_gradients(const Geometry &g, const T *x, const T *dy, int part, int parts, T *dw) {
    const Range channels = share(g.C, part, parts, LANES<T>);
    if (channels.begin >= channels.end) return;
    for (std::int64_t place = 0; place < g.R * g.S; ++place)
        std::memset(dw + place * g.C + channels.begin, 0,
                    std::size_t(channels.end - channels.begin) * sizeof(T));
    for (std::int64_t n = 0; n < g.N; ++n)
        depthwise_dw(depthwise_of(g), x + n * g.H * g.W * g.C, dy + n * g.P * g.Q * g.C, channels, dw);
}

// Computes the sums over the chunks of images that the part owns.
template <class T, class Gradients>
void gradients_by_images(const Geometry &g, const T *x, const Gradients &gradients, T *memory, int part,
                         int parts, T *sums) {
    const FilterGradient<T> gradient(g);
    const bool by_planes = dw_by_planes<T>(g), may_skip = !by_planes && SparseFilterGradient<T>::suits(g);
    SparseFilterGradient<T> sparse(g, may_skip ? memory : nullptr);
    const std::int64_t chunks = image_chunks(g), size = g.H * g.W * g.C;
    const auto summed_image = [&](std::int64_t n) { return gradients.summed_image(n); };
    const Range mine = share(chunks, part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const Range images = {g.N * chunk / chunks, g.N * (chunk + 1) / chunks};
        T *const dw = sums + chunk * gradient.elements();
        if (may_skip && gradients.are_sparse(images) &&
            all_finite(x + images.begin * size, (images.end - images.begin) * size)) {
            sparse.sum(x, gradients, images, dw);
            continue;
        }
        if (by_planes) {
            PlaneConvolution<T>(g, memory).gradients(x, summed_image, images, dw);
            // The planes have pixels that no tap reads; their products with 0 are nan where a pixel is not
            // finite. Only then, the sums are made again, without these pixels.
            if (all_finite(dw, gradient.elements())) continue;
        }
        T *const own = may_skip ? sparse.end() : memory;
        gradient.sum(x, summed_image, images, {0, gradient.count()}, own, dw);
    }
}

// Computes the sums over all images, for the tiles of dw that the part owns.
template <class T>
void gradients_by_tiles(const Geometry &g, const T *x, const StoredGradients<T> &gradients, T *memory,
                        int part, int parts, T *dw) {
    const FilterGradient<T> gradient(g);
    const Range mine = share(gradient.count(), part, parts);
    gradient.sum(
        x, [&](std::int64_t n) { return gradients.image(n); }, {0, mine.begin < mine.end ? g.N : 0}, mine,
        memory, dw);
}

// dw[r, s, c, o] = sum over images and pixels.
// x (N, H, W, C), dy (N, P, Q, O) -> dw (R, S, channels, O)
template <class T> void conv_dw(const Call &call, int part, int parts) {
    using op = operands::CONV_DW;
    const Geometry g(call);
    T *const memory = scratch_of<T>(call, part);
    const StoredGradients<T> gradients{call.in<T>(op::dy), g.P * g.Q * g.O};
    if (dw_by_winograd(g))
        with_winograd<T>(g, [&](const auto &w) {
            winograd_dw(w, call.in<T>(op::x), call.in<T>(op::dy), memory, part, parts,
                        reinterpret_cast<T *>(call.scratch));
        });
    else if (is_depthwise(g))
        depthwise_gradients(g, call.in<T>(op::x), call.in<T>(op::dy), part, parts, call.out<T>(op::dw));
    else if (dw_by_planes<T>(g) || dw_by_images<T>(g))
        gradients_by_images(g, call.in<T>(op::x), gradients, memory, part, parts,
                            reinterpret_cast<T *>(call.scratch));
    else
        gradients_by_tiles(g, call.in<T>(op::x), gradients, memory, part, parts, call.out<T>(op::dw));
}

template <class T> void conv_dw_finish(const Call &call) {
    using op = operands::CONV_DW;  // the same positions for CONV_POOL_DW
    const Geometry g(call);
    const T *const sums = reinterpret_cast<const T *>(call.scratch);
    const std::int64_t elements = FilterGradient<T>(g).elements();
    if (dw_by_winograd(g))
        with_winograd<T>(g, [&](const auto &w) { transform_filters_back(w, sums, call.out<T>(op::dw)); });
    else if (dw_by_planes<T>(g) || dw_by_images<T>(g))
        for_vectors<T>(0, elements, [&, dw = call.out<T>(op::dw)](std::int64_t e, int n) {
            Vec<T> sum = load_n(sums + e, n);
            for (std::int64_t chunk = 1; chunk < image_chunks(g); ++chunk)
                sum += load_n(sums + chunk * elements + e, n);
            store_n(dw + e, sum, n);
        });
    else if (g.N == 0)
        std::memset(call.out<T>(op::dw), 0, std::size_t(elements) * sizeof(T));
}

}  // namespace fastnn
