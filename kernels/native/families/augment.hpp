// Gathers images with random affine and elastic transforms. augment_ref.py specifies the kernels.
//
// Each image is copied into a padded frame, and coordinates are clamped to it. So no output pixel needs a
// branch, whatever the matrix: the four neighbours are gathered for a vector of pixels at a time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "plan/call.hpp"
#include "families/random.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// Random words reserved for the matrix of each image. The words for displacements start at FIELD_WORDS.
constexpr std::uint64_t MATRIX_WORDS = 16, FIELD_WORDS = std::uint64_t(1) << 62;

// bits, ranges (10,) -> matrix (M, 6)
inline void random_affine(const Call &call, int part, int parts) {
    using op = operands::RANDOM_AFFINE;
    const std::uint64_t bits = *call.in<std::uint64_t>(op::bits);
    const double *const range = call.in<double>(op::ranges);
    const ImageSizes size = call.sizes<ImageSizes>();
    const double middle = double(size.H - 1) / 2, centre = double(size.W - 1) / 2;
    const Range mine = share(size.M, part, parts);
    for (std::int64_t m = mine.begin; m < mine.end; ++m) {
        double u[9];
        for (std::uint64_t k = 0; k < 9; ++k)
            u[k] = double(mix(bits + GOLDEN * (MATRIX_WORDS * std::uint64_t(m) + k + 1)) >> 11) * 0x1p-53;
        const double turn = (2 * u[0] - 1) * range[0], slant = std::tan((2 * u[1] - 1) * range[1]);
        const double scale = range[2] + u[2] * (range[3] - range[2]);
        const auto moved = [&](int axis) {
            const double whole = range[6 + axis];
            const double drawn = std::floor(u[5 + axis] * (2 * whole + 1)) - whole;
            return (2 * u[3 + axis] - 1) * range[4 + axis] + drawn;
        };
        const double h = middle + moved(0), w = centre + moved(1);
        const double upward = u[7] < range[8] ? -1 : 1, leftward = u[8] < range[9] ? -1 : 1;
        const double cos = std::cos(turn) / scale, sin = std::sin(turn) / scale;
        double *const to = call.out<double>(op::matrix) + 6 * m;
        to[0] = upward * cos, to[1] = upward * sin;
        to[2] = middle - to[0] * h - to[1] * w;
        to[3] = leftward * (-sin - slant * cos), to[4] = leftward * (cos - slant * sin);
        to[5] = centre - to[3] * h - to[4] * w;
    }
}

// Filters the noise of an image, first along columns, then along rows that are padded with zeros.
template <class T> struct Smoothing {
    std::int64_t H, W, reach;

    explicit Smoothing(const Call &call)
        : H(call.sizes<ImageSizes>().H), W(call.sizes<ImageSizes>().W),
          reach(std::int64_t(3 * call.scalar[1])) {}

    std::int64_t row() const { return W + 2 * reach + LANES<T>; }
    std::int64_t weights() const { return 2 * reach + 1; }
    std::int64_t elements() const { return weights() + 2 * H * W + row(); }

    // x (H, W) -> out (H, W), `line` of row() zeros
    void smooth(const T *x, const T *weight, T factor, T *line, T *out) const {
        for (std::int64_t i = 0; i < H; ++i) {
            const std::int64_t above = i < reach ? -i : -reach, below = H - 1 - i < reach ? H - 1 - i : reach;
            for_vectors<T>(0, W, [&](std::int64_t j, int n) {
                Vec<T> sum{};
                for (std::int64_t t = above; t <= below; ++t)
                    sum = fma(broadcast(weight[t + reach]), load_n(x + (i + t) * W + j, n), sum);
                store_n(line + reach + j, sum, n);
            });
            for_vectors<T>(0, W, [&](std::int64_t j, int n) {
                Vec<T> sum{};
                for (std::int64_t t = 0; t <= 2 * reach; ++t)
                    sum = fma(broadcast(weight[t]), load(line + j + t), sum);
                store_n(out + i * W + j, factor * sum, n);
            });
        }
    }
};

template <class T> ScratchNeeds displacement_scratch(const Call &call) {
    return {0, 0, Smoothing<T>(call).elements() * std::int64_t(sizeof(T))};
}

// bits -> field (M, 2, H, W); scalar = alpha, sigma
template <class T> void displacement(const Call &call, int part, int parts) {
    using op = operands::DISPLACEMENT;
    const Smoothing<T> smoothing(call);
    const std::uint64_t bits = *call.in<std::uint64_t>(op::bits);
    const std::int64_t pixels = smoothing.H * smoothing.W, reach = smoothing.reach;
    const double alpha = call.scalar[0], sigma = call.scalar[1];
    T *const down = scratch_of<T>(call, part), *const right = down + pixels, *const line = right + pixels;
    T *const weight = line + smoothing.row();
    std::memset(line, 0, std::size_t(smoothing.row()) * sizeof(T));
    const auto bell = [=](std::int64_t t) {
        const double z = double(t) / sigma;
        return std::exp(-0.5 * z * z);
    };
    double total = 0;
    for (std::int64_t t = -reach; t <= reach; ++t) total += bell(t);
    for (std::int64_t t = -reach; t <= reach; ++t) weight[t + reach] = T(bell(t) / total);

    const Range images = share(call.sizes<ImageSizes>().M, part, parts);
    for (std::int64_t m = images.begin; m < images.end; ++m) {
        const std::uint64_t first = FIELD_WORDS + std::uint64_t(m * pixels) + 1;
        for (std::int64_t p = 0; p < pixels; ++p) {
            const std::uint64_t word = mix(bits + GOLDEN * (first + std::uint64_t(p)));
            down[p] = T(double(word & 0xFFFFFFFFu) * 0x1p-31 - 1);
            right[p] = T(double(word >> 32) * 0x1p-31 - 1);
        }
        T *const field = call.out<T>(op::field) + 2 * m * pixels;
        smoothing.smooth(down, weight, T(alpha), line, field);
        smoothing.smooth(right, weight, T(alpha), line, field + pixels);
    }
}

// The four neighbours of a vector of positions: upper left and right, lower left and right.
template <class T> struct Neighbours {
    Vec<T> a, b, c, d;
};

// An image (H, W, C), padded by one pixel above and on the left and by two below and on the right, from which
// neighbours are gathered. This version holds floats, which are scaled in advance.
template <class T, class S> struct Framed {
    std::int64_t H, W, C;
    double scale, fill;
    T *canvas;

    static std::int64_t bytes(std::int64_t H, std::int64_t W, std::int64_t C) {
        return (H + 3) * (W + 3) * C * std::int64_t(sizeof(T));
    }
    std::int64_t row() const { return (W + 3) * C; }

    void draw_frame() const {
        for (std::int64_t e = 0; e < (H + 3) * row(); ++e) canvas[e] = T(fill * scale);
    }
    void draw(const S *image) const {
        for (std::int64_t i = 0; i < H; ++i)
            for (std::int64_t e = 0; e < W * C; ++e)
                canvas[(i + 1) * row() + C + e] = T(double(image[i * W * C + e]) * scale);
    }
    Neighbours<T> at(IntVec<T> place, std::int64_t channel) const {
        const T *const here = canvas + channel, *const below = here + row();
        return {look_up(here, place), look_up(here + C, place), look_up(below, place),
                look_up(below + C, place)};
    }
    Vec<T> scaled(Vec<T> value) const { return value; }
};

// The four neighbours of a byte image fit into one word, which takes a single gather (a gather of 16 floats
// takes about 24 cycles on Zen 4). They are scaled after the interpolation.
template <class T> struct Framed<T, std::uint8_t> {
    typedef std::decay_t<decltype(Bits<T>{}[0])> Word;
    std::int64_t H, W, C;
    double scale, fill;
    Word *words;

    Framed(std::int64_t H, std::int64_t W, std::int64_t C, double scale, double fill, T *memory)
        : H(H), W(W), C(C), scale(scale), fill(fill), words(reinterpret_cast<Word *>(memory)) {}

    static std::int64_t bytes(std::int64_t H, std::int64_t W, std::int64_t C) {
        return (H + 3) * (W + 3) * C * std::int64_t(sizeof(Word) + 1);
    }
    std::int64_t row() const { return (W + 3) * C; }
    std::uint8_t *pixels() const { return reinterpret_cast<std::uint8_t *>(words + (H + 3) * row()); }

    void draw_frame() const { std::memset(pixels(), int(fill), std::size_t((H + 3) * row())); }
    void draw(const std::uint8_t *image) const {
        for (std::int64_t i = 0; i < H; ++i)
            std::memcpy(pixels() + (i + 1) * row() + C, image + i * W * C, std::size_t(W * C));
        // All rows but the last in one loop, since rows of 29 pixels would hardly fill vectors. (The words at
        // the end of a row are never read.)
        const std::int64_t count = (H + 2) * row() - C;
        const std::uint8_t *const __restrict above_left = pixels(), *const __restrict above = above_left + C;
        const std::uint8_t *const __restrict left = above_left + row(), *const __restrict below = left + C;
        Word *const __restrict word = words;
        for (std::int64_t e = 0; e < count; ++e)
            word[e] = above_left[e] | std::uint32_t(above[e]) << 8 | std::uint32_t(left[e]) << 16 |
                      std::uint32_t(below[e]) << 24;
    }
    Neighbours<T> at(IntVec<T> place, std::int64_t channel) const {
        const T *const table = reinterpret_cast<const T *>(words + channel);
        const Bits<T> word = (Bits<T>)look_up(table, place), byte = Bits<T>{} + 255;
        const auto number = [](Bits<T> b) { return __builtin_convertvector((IntVec<T>)b, Vec<T>); };
        return {number(word & byte), number(word >> 8 & byte), number(word >> 16 & byte), number(word >> 24)};
    }
    Vec<T> scaled(Vec<T> value) const { return times_in_double(value, scale); }  // as `gather` does
};

template <class T, class S> ScratchNeeds warp_scratch(const Call &call) {
    const WarpSizes size = call.sizes<WarpSizes>();
    return {0, 0, Framed<T, S>::bytes(size.H, size.W, size.C)};
}

// The coordinates of a vector of pixels along one axis: the pixel of the frame, and the fraction beyond it.
template <class T> struct Place {
    IntVec<T> pixel;
    Vec<T> beyond;

    // For an image of `size` pixels along this axis, at `place` counted from the start of the frame.
    Place(Vec<T> place, std::int64_t size) {
        const Vec<T> first{}, last = broadcast(T(size + 1));
        place = select<T>(place > first, place, first);  // a nan becomes 0
        place = select<T>(place < last, place, last);
        pixel = __builtin_convertvector(place, IntVec<T>);
        beyond = place - __builtin_convertvector(pixel, Vec<T>);
    }
};

// source (N, H, W, C), index (M,), matrix (M, 6), field (M, 2, H, W) or null -> out (M, H, W, C), nan for an
// index out of range; scalar = scale, fill
template <class T, class S> void warp(const Call &call, int part, int parts) {
    using op = operands::WARP_BYTES;
    const WarpSizes size = call.sizes<WarpSizes>();
    const std::int64_t H = size.H, W = size.W, C = size.C;
    const Framed<T, S> frame{H, W, C, call.scalar[0], call.scalar[1], scratch_of<T>(call, part)};
    frame.draw_frame();
    const Range images = share(size.M, part, parts);
    for (std::int64_t m = images.begin; m < images.end; ++m) {
        T *const image = call.out<T>(op::out) + m * H * W * C;
        const std::int64_t number = index_at(call.in<std::int64_t>(op::index), m, size.images);
        if (number < 0) {
            std::fill_n(image, H * W * C, std::numeric_limits<T>::quiet_NaN());
            continue;
        }
        frame.draw(call.in<S>(op::source) + number * H * W * C);
        const double *const matrix = call.in<double>(op::matrix) + 6 * m;
        const T *const field = call.in<T>(op::field) ? call.in<T>(op::field) + 2 * m * H * W : nullptr;
        for (std::int64_t i = 0; i < H; ++i) {
            const Vec<T> row = broadcast(T(matrix[0] * double(i) + matrix[2] + 1));
            const Vec<T> column = broadcast(T(matrix[3] * double(i) + matrix[5] + 1));
            for_vectors<T>(0, W, [&](std::int64_t j, int n) {
                const Vec<T> along = __builtin_convertvector(lane_numbers<T>(), Vec<T>) + broadcast(T(j));
                Vec<T> h = fma(broadcast(T(matrix[1])), along, row);
                Vec<T> w = fma(broadcast(T(matrix[4])), along, column);
                if (field) {
                    h += load_n(field + i * W + j, n);
                    w += load_n(field + (H + i) * W + j, n);
                }
                const Place<T> down(h, H), right(w, W);
                typedef std::decay_t<decltype(down.pixel[0])> Index;
                const IntVec<T> place = (down.pixel * Index(W + 3) + right.pixel) * Index(C);
                for (std::int64_t c = 0; c < C; ++c) {
                    const Neighbours<T> near = frame.at(place, c);
                    const Vec<T> upper = fma(right.beyond, near.b - near.a, near.a);
                    const Vec<T> lower = fma(right.beyond, near.d - near.c, near.c);
                    const Vec<T> value = frame.scaled(fma(down.beyond, lower - upper, upper));
                    T *const to = image + (i * W + j) * C + c;
                    if (C == 1) {
                        store_n(to, value, n);
                    } else {
                        T lane[LANES<T>];
                        store(lane, value);
                        for (int l = 0; l < n; ++l) to[l * C] = lane[l];
                    }
                }
            });
        }
    }
}

}  // namespace fastnn
