// Batch normalisation, ReLU and max pooling in one pass over the pixels, forward and backward. Only plans use
// these kernels, if the windows neither overlap nor reach beyond the image. A 1 x 1 window without taps means
// no pooling.
//
// The arrays between the three layers are never stored: the backward pass computes z = (x - mean) scale +
// beta again. All formulas and the order of all sums are those of norm.hpp, act.hpp and pool.hpp, so the
// results are the same bit for bit.
//
// Sizes as in pool.hpp. scalar[0]: epsilon.
#pragma once

#include "families/act.hpp"
#include "families/norm.hpp"
#include "families/pool.hpp"

namespace fastnn {

// gamma / sqrt(var + epsilon) of the channels of a block.
template <class T, class B> inline auto norm_scale(B block, const T *var, const T *gamma, double epsilon) {
    const auto inverse =
        block.each([=](auto v) { return inverse_deviation<T>(v, T(epsilon)); }, block.load(var));
    return block.each(TIMES, block.load_or(gamma, 1), inverse);
}

template <class T> ScratchNeeds norm_relu_pool_scratch(const Call &call) {
    return {0, 0, call.sizes<PoolSizes>().C * std::int64_t(sizeof(T))};
}

// The maximum of max(z, 0) in the window that starts at `pixel`, and its tap. The window has R x S pixels, or
// `rows` x `columns` pixels if R = 0.
template <class T, int R, int S> struct LargestOfWindow {
    Vec<T> mean, scale, beta;
    std::int64_t rows, columns, row, column;  // the last two: how far apart they are

    Vec<T> at(const T *pixel, int n) const {
        return relu<T>(normalized<T>(load_n(pixel, n), mean, scale, beta));
    }
    void operator()(const T *pixel, int n, Vec<T> &best, IntVec<T> &tap) const {
        best = at(pixel, n);
        tap = IntVec<T>{};
        const std::int64_t height = R ? R : rows, width = R ? S : columns;
        for (std::int64_t r = 0; r < height; ++r)
            for (std::int64_t s = 0; s < width; ++s) {
                if (r + s == 0) continue;
                const Vec<T> v = at(pixel + r * row + s * column, n);
                const auto wins = beats<T>(v, best);
                best = select<T>(wins, v, best);
                tap = wins ? tap_number<T>(r * width + s) : tap;
            }
    }
};

// x (N, H, W, C), mean, var (C,), gamma, beta (C,) or null -> y, taps (N, P, Q, C) or null
template <class T, int R, int S>
void norm_relu_pool_lines(const Call &call, const Windows &g, Range lines, const T *scale) {
    using op = operands::NORM_RELU_POOL_FORWARD;
    const T *const mean = call.in<T>(op::mean), *const beta = call.in<T>(op::beta);
    T *const y = call.out<T>(op::y), *const taps = call.out<T>(op::taps);
    for (std::int64_t line = lines.begin; line < lines.end; ++line) {
        const T *const corner = call.in<T>(op::x) + (line / g.P * g.H + line % g.P * g.R) * g.W * g.C;
        for_vectors<T>(0, g.C, [&](std::int64_t c, int n) {
            const Vec<T> shift = beta ? load_n(beta + c, n) : Vec<T>{};
            const LargestOfWindow<T, R, S> largest{
                load_n(mean + c, n), load_n(scale + c, n), shift, g.R, g.S, g.W * g.C, g.C};
            for (std::int64_t q = 0; q < g.Q; ++q) {
                Vec<T> best;
                IntVec<T> tap;
                largest(corner + q * g.S * g.C + c, n, best, tap);
                const std::int64_t output = (line * g.Q + q) * g.C + c;
                store_n(y + output, best, n);
                if (taps) store_n(taps + output, Vec<T>(tap), n);
            }
        });
    }
}

template <class T> void norm_relu_pool_forward(const Call &call, int part, int parts) {
    using op = operands::NORM_RELU_POOL_FORWARD;
    const Windows g(call);
    T *const scale = scratch_of<T>(call, part);
    for_blocks<T>(g.C, [&](auto block) {
        block.store(scale, norm_scale(block, call.in<T>(op::var), call.in<T>(op::gamma), call.scalar[0]));
    });
    const Range lines = share(g.N * g.P, part, parts);
    if (g.R == 2 && g.S == 2)
        norm_relu_pool_lines<T, 2, 2>(call, g, lines, scale);
    else if (g.R == 1 && g.S == 1)
        norm_relu_pool_lines<T, 1, 1>(call, g, lines, scale);
    else
        norm_relu_pool_lines<T, 0, 0>(call, g, lines, scale);
}

// Iterates over the pixels of all images, with the window that each pixel belongs to.
class PixelCursor {
public:
    PixelCursor(const Windows &g, std::int64_t pixel)
        : g_(g), w_(pixel % g.W), h_(pixel / g.W % g.H),
          line_(pixel / (g.W * g.H) * g.P + (h_ / g.R < g.P ? h_ / g.R : g.P)), q_(w_ / g.S), r_(h_ % g.R),
          s_(w_ % g.S) {}

    // Whether a window contains the pixel, the offset of its output, and the tap of the pixel in it.
    bool is_covered() const { return q_ < g_.Q && h_ < g_.P * g_.R; }
    std::int64_t output() const { return (line_ * g_.Q + q_) * g_.C; }
    std::int64_t place() const { return r_ * g_.S + s_; }

    void advance() {
        ++w_;
        if (++s_ == g_.S) s_ = 0, ++q_;
        if (w_ < g_.W) return;
        w_ = q_ = s_ = 0;
        ++h_;
        if (++r_ == g_.R) r_ = 0, line_ += h_ <= g_.P * g_.R;
        if (h_ < g_.H) return;
        h_ = r_ = 0;
    }

private:
    const Windows &g_;
    std::int64_t w_, h_, line_, q_, r_, s_;
};

// Computes the gradient of z pixel by pixel, from the gradient of the pool's outputs.
// x (N, H, W, C), dy, taps (N, P, Q, C) or null, mean, var (C,), gamma, beta (C,) or null
template <class T, class B> class GradientOfNorm {
    using op = operands::NORM_RELU_POOL_SUMS;  // the same positions for NORM_RELU_POOL_DX

public:
    GradientOfNorm(const Call &call, const Windows &g, B block, std::int64_t pixel)
        : mean(block.load(call.in<T>(op::mean))),
          scale(norm_scale(block, call.in<T>(op::var), call.in<T>(op::gamma), call.scalar[0])), block_(block),
          beta_(block.load_or(call.in<T>(op::beta), 0)), dy_(call.in<T>(op::dy)), taps_(call.in<T>(op::taps)),
          cursor_(g, pixel) {}

    using Values = typename B::Values;
    const Values mean, scale;

    // The gradient of the next pixel, whose channels are x.
    Values next(const Values &x) {
        const Values z = block_.each(normalized<T>, x, mean, scale, beta_);
        Values dz = block_.all(0);
        if (!taps_)
            dz = block_.load(dy_ + cursor_.output());
        else if (cursor_.is_covered())
            dz = block_.each(
                [place = tap_number<T>(cursor_.place())](Vec<T> dy, Vec<T> tap) {
                    return Vec<T>{} + select<T>(IntVec<T>(tap) == place, dy, Vec<T>{});
                },
                block_.load(dy_ + cursor_.output()), block_.load(taps_ + cursor_.output()));
        cursor_.advance();
        return block_.each(relu_gradient<T>, z, dz);
    }

private:
    const B block_;
    const Values beta_;
    const T *const dy_, *const taps_;
    PixelCursor cursor_;
};

// All pixels.
template <class T> Chunks<T> pixel_chunks(const Call &call) {
    const Windows g(call);
    return {call.scratch, g.N * g.H * g.W, g.C, 2};
}
template <class T> ScratchNeeds norm_relu_pool_sums_scratch(const Call &call) {
    return pixel_chunks<T>(call).needs();
}

// Like batch_norm_sums, with the gradient that comes back through the pool and ReLU.
// x (N, H, W, C), dy, taps (N, P, Q, C) or null, mean, var (C,), gamma, beta (C,) or null
// -> dgamma, dbeta (C,)
template <class T> void norm_relu_pool_sums(const Call &call, int part, int parts) {
    using op = operands::NORM_RELU_POOL_SUMS;
    const Windows g(call);
    const T *const x = call.in<T>(op::x);
    chunk_sums<T>(pixel_chunks<T>(call), part, parts, [&](auto block, std::int64_t first) {
        return [&g, x, block, gradient = GradientOfNorm<T, decltype(block)>(call, g, block, first)](
                   std::int64_t m) mutable {
            const auto pixel = block.load(x + m * g.C);
            const auto dz = gradient.next(pixel);
            return std::pair(dz, block.each(MINUS, pixel, gradient.mean));
        };
    });
}
template <class T> void norm_relu_pool_sums_finish(const Call &call) {
    using op = operands::NORM_RELU_POOL_SUMS;
    add_norm_chunks(pixel_chunks<T>(call), call.in<T>(op::var), call.scalar[0], call.out<T>(op::dgamma),
                    call.out<T>(op::dbeta));
}

// Like batch_norm_dx, with the gradient that comes back through the pool and ReLU.
// x (N, H, W, C), dy, taps (N, P, Q, C) or null, mean, var (C,), gamma, beta (C,) or null, dgamma, dbeta (C,)
// -> dx (N, H, W, C)
template <class T> void norm_relu_pool_dx(const Call &call, int part, int parts) {
    using op = operands::NORM_RELU_POOL_DX;
    const Windows g(call);
    const T *const x = call.in<T>(op::x);
    const std::int64_t M = g.N * g.H * g.W;
    for_row_blocks<T>(M, g.C, part, parts, [&](auto block, Range rows) {
        const NormGradient<T, decltype(block)> of_norm(block, M, call.in<T>(op::mean), call.in<T>(op::var),
                                                       call.in<T>(op::gamma), T(call.scalar[0]),
                                                       call.in<T>(op::dgamma), call.in<T>(op::dbeta));
        GradientOfNorm<T, decltype(block)> gradient(call, g, block, rows.begin);
        for (std::int64_t m = rows.begin; m < rows.end; ++m) {
            const auto pixel = block.load(x + m * g.C);
            block.store(call.out<T>(op::dx) + m * g.C, of_norm(block, pixel, gradient.next(pixel)));
        }
    });
}

}  // namespace fastnn
