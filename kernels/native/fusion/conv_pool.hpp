// Convolution, activation and max pooling in one pass over the images, forward and backward. Only plans use
// these kernels, if the windows neither overlap nor reach beyond the outputs of the convolution.
//
// The outputs of the convolution are the largest arrays of such layers, and the pool reads them once. Here
// they, and their gradients, are rows, planes or an image in scratch memory, which stays in the cache. All
// formulas and the order of all sums are those of conv.hpp, act.hpp, pool.hpp and dense.hpp, so the results
// are the same bit for bit.
//
// Sizes: ConvPoolSizes, which begin with those of the convolution.
#pragma once

#include "families/conv.hpp"
#include "families/dense.hpp"
#include "families/pool.hpp"

namespace fastnn {

inline Windows pool_of(const Call &call) { return Windows(call.sizes<ConvPoolSizes>().pool()); }

// The rows of windows that are computed together: their pixels stay in the L2 cache.
template <class T> std::int64_t rows_together(const Windows &pool) {
    constexpr std::int64_t BYTES = 1 << 16;
    const std::int64_t row = pool.R * pool.W * pool.C * std::int64_t(sizeof(T));
    return std::clamp<std::int64_t>(row ? BYTES / row : 1, 1, std::max<std::int64_t>(pool.P, 1));
}

// The elements of scratch memory of a part that the convolution itself needs, in front of those of the pool.
template <class T> std::int64_t elements_before(const ScratchNeeds &conv) {
    return whole_lines(conv.each) / std::int64_t(sizeof(T));
}
template <class T> ScratchNeeds with_elements(const ScratchNeeds &conv, std::int64_t elements) {
    return {conv.zeroed, conv.shared, (elements_before<T>(conv) + elements) * std::int64_t(sizeof(T))};
}

// Pools the outputs of a convolution by planes while each output has a plane of its own, if the outputs of a
// pixel would leave half of a vector idle. The maxima and taps are joined, instead of all outputs (LeNet's
// first convolution, 32 images, AVX-512: 87 -> 74 us).
template <class T> class PooledPlanes {
public:
    static bool suits(const Geometry &g, const Windows &pool) {
        return forward_by_planes<T>(g) && 2 * g.O <= LANES<T> && pool.S == 2;
    }

    explicit PooledPlanes(const Call &call, T *memory = nullptr)
        : call(call), g(call), pool(pool_of(call)), convolution(g, memory, pool.R), memory(memory) {}

    std::int64_t bytes() const {
        return whole_lines(convolution.bytes()) + 2 * g.O * apart() * std::int64_t(sizeof(T));
    }

    // The rows of windows `lines` of image n.
    void run(std::int64_t n, Range lines) const {
        const auto apply = [&](T *results, std::int64_t outputs, std::int64_t count, std::int64_t distance) {
            activate(call.activation, results, distance, outputs, count);
        };
        fetch(n, lines);
        T *const maxima = memory + whole_lines(convolution.bytes()) / std::int64_t(sizeof(T));
        T *const taps = maxima + g.O * apart();
        convolution.for_planes(
            call.in<T>(op::x) + n * g.H * g.W * g.C, call.in<T>(op::w), call.in<T>(op::b),
            {lines.begin * pool.R, lines.end * pool.R}, apply, [&](Range now) {
                const std::int64_t count = (now.end - now.begin) / pool.R;
                for (std::int64_t o = 0; o < g.O; ++o)
                    max_pool_plane(convolution.results() + o * convolution.apart(), convolution.planes.row,
                                   count, pool.Q, pool.R, maxima + o * apart(), taps + o * apart());
                const std::int64_t output = (n * pool.P + now.begin / pool.R) * pool.Q * g.O;
                join_channels(maxima, apart(), count * pool.Q, g.O, call.out<T>(op::y) + output);
                join_channels(taps, apart(), count * pool.Q, g.O, call.out<T>(op::taps) + output);
            });
    }

private:
    using op = operands::CONV_POOL_FORWARD;
    const Call &call;
    const Geometry g;
    const Windows pool;
    const PlaneConvolution<T> convolution;
    T *const memory;

    // What is written after the products of these lines, and what is read for the next image, unless that is
    // too much for L2.
    INLINED void fetch(std::int64_t n, Range lines) const {
        constexpr std::int64_t MOST = (1 << 15) / sizeof(T);
        const std::int64_t row = pool.Q * g.O, image = g.H * g.W * g.C;
        const std::int64_t first = (n * pool.P + lines.begin) * row;
        const std::int64_t count = std::min((lines.end - lines.begin) * row, MOST);
        fetch_ahead(call.out<T>(op::y) + first, count);
        fetch_ahead(call.out<T>(op::taps) + first, count);
        if (n + 1 < g.N) fetch_ahead(call.in<T>(op::x) + (n + 1) * image, std::min(image, MOST));
    }

    // Elements of the maxima, or taps, of an output, and of the vector that ends behind them.
    std::int64_t apart() const {
        return Planes<T>::in_whole_lines(convolution.planes.rows / pool.R * pool.Q + LANES<T>);
    }
};

template <class T> ScratchNeeds conv_pool_forward_scratch(const Call &call) {
    const Windows pool = pool_of(call);
    if (PooledPlanes<T>::suits(Geometry(call), pool)) return {0, 0, PooledPlanes<T>(call).bytes()};
    return with_elements<T>(conv_forward_scratch<T>(call), rows_together<T>(pool) * pool.R * pool.W * pool.C);
}

// The maximum of each window of f(b + x * w), and its tap.
// x (N, H, W, C), w (R, S, channels, O), b (O,) or null -> y, taps (N, P, Q, O) of the pool
template <class T> void conv_pool_forward(const Call &call, int part, int parts) {
    using op = operands::CONV_POOL_FORWARD;
    const Geometry g(call);
    const Windows pool = pool_of(call);
    T *const memory = scratch_of<T>(call, part);
    if (PooledPlanes<T>::suits(g, pool)) {
        const PooledPlanes<T> pooled(call, memory);
        return for_lines(pool.N, pool.P, part, parts,
                         [&](std::int64_t n, Range lines) { pooled.run(n, lines); });
    }
    const std::int64_t together = rows_together<T>(pool);
    T *const pixels = memory + elements_before<T>(conv_forward_scratch<T>(call));
    const ForwardLines<T> forward(call, g, memory);
    for_lines(pool.N, pool.P, part, parts, [&](std::int64_t n, Range lines) {
        for (std::int64_t first = lines.begin; first < lines.end; first += together) {
            const std::int64_t end = std::min(first + together, lines.end);
            forward(n, {first * pool.R, end * pool.R}, pixels);
            const std::int64_t output = (n * pool.P + first) * pool.Q * pool.C;
            max_pool_lines(pool, end - first, pixels, call.out<T>(op::y) + output,
                           call.out<T>(op::taps) + output);
        }
    });
}

// The sums of db over chunks of rows, behind those of dw in the shared scratch memory.
template <class T> Chunks<T> conv_db_chunks(const Call &call) {
    const Geometry g(call);
    return {call.scratch + whole_lines(conv_dw_scratch<T>(call).shared), g.N * g.P * g.Q, g.O, 1};
}

template <class T> ScratchNeeds conv_pool_dw_scratch(const Call &call) {
    const Geometry g(call);
    ScratchNeeds needs = with_elements<T>(conv_dw_scratch<T>(call), g.P * g.Q * g.O);
    if (call.array[operands::CONV_POOL_DW::db])
        needs.shared = whole_lines(needs.shared) + conv_db_chunks<T>(call).needs().shared;
    return needs;
}

// The gradients of an image are made right before dw and db are summed over them. The pixels of an image are
// whole chunks of db's rows (pool_fusion.hpp).
template <class T, bool OF_RELU> class PooledGradients {
public:
    PooledGradients(const Call &call, T *own)
        : of_pool(pool_of(call), call.in<T>(op::dy), call.in<T>(op::taps), call.in<T>(op::y)),
          of_db(conv_db_chunks<T>(call)), g(call), own(own), dz(call.out<T>(op::dz)),
          sums_db(call.array[op::db]) {}

    const T *image(std::int64_t n) const {
        T *const image = dz ? dz + n * g.P * g.Q * g.O : own;
        of_pool.image(n, image);
        return image;
    }
    // At most one pixel of a window has a gradient.
    bool are_sparse(Range) const { return of_pool.window() > 2; }
    T *chunk_sums(std::int64_t n) const { return sums_db ? of_db.sums(chunks(n).begin, 0) : nullptr; }
    const T *summed_image(std::int64_t n) const {
        const T *const image = this->image(n);
        if (sums_db) sum_chunks(image, of_db, chunks(n));
        return image;
    }

private:
    using op = operands::CONV_POOL_DW;

    Range chunks(std::int64_t n) const {
        const std::int64_t count = g.P * g.Q / CHUNK_ROWS;
        return {n * count, (n + 1) * count};
    }

    const MaxPoolGradient<T, OF_RELU> of_pool;
    const Chunks<T> of_db;
    const Geometry g;
    T *const own, *const dz;
    const bool sums_db;
};

// x (N, H, W, C), dy, taps, y (N, P, Q, O) of the pool, y is null without ReLU
// -> dw (R, S, channels, O), db (O,) or null, dz (N, P, Q, O) of the convolution or null
template <class T, bool OF_RELU> void gradients_through_pool(const Call &call, int part, int parts) {
    T *const memory = scratch_of<T>(call, part);
    const PooledGradients<T, OF_RELU> gradients(call, memory + elements_before<T>(conv_dw_scratch<T>(call)));
    gradients_by_images(Geometry(call), call.in<T>(operands::CONV_POOL_DW::x), gradients, memory, part, parts,
                        reinterpret_cast<T *>(call.scratch));
}

template <class T> void conv_pool_dw(const Call &call, int part, int parts) {
    if (call.activation == RELU)
        gradients_through_pool<T, true>(call, part, parts);
    else
        gradients_through_pool<T, false>(call, part, parts);
}

template <class T> void conv_pool_dw_finish(const Call &call) {
    conv_dw_finish<T>(call);
    if (T *const db = call.out<T>(operands::CONV_POOL_DW::db)) add_chunks(conv_db_chunks<T>(call), db);
}

}  // namespace fastnn
