// Transposes matrices in blocks that stay in registers.
#pragma once

#include <algorithm>

#include "simd/simd.hpp"

namespace fastnn {

// Elements in 16 bytes, the unit within which one shuffle instruction moves elements.
template <class T> constexpr int QUAD = 16 / int(sizeof(T));

// Interleaves the lower (FROM = 0) or upper (FROM = QUAD / 2) halves of each 16 bytes of a and b: a0 b0 a1 b1
// ...
template <class T, int FROM, int... I>
inline Vec<T> zip(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    return lanes<(I / QUAD<T> * QUAD<T> + FROM + I % QUAD<T> / 2 + I % 2 * LANES<T>)...>(a, b);
}

// Exchanges the elements right of the diagonal in a with those left of it in b: `WIDTH` of every 2 * WIDTH
// elements.
template <class T, int WIDTH, int... I>
INLINED inline void exchange(Vec<T> &a, Vec<T> &b, std::integer_sequence<int, I...>) {
    const Vec<T> left = lanes<(I & WIDTH ? LANES<T> + I - WIDTH : I)...>(a, b);
    b = lanes<(I & WIDTH ? LANES<T> + I : I + WIDTH)...>(a, b);
    a = left;
}

// Exchanges blocks of WIDTH x WIDTH elements, then blocks of twice that width, and so on.
template <class T, int WIDTH> INLINED inline void exchange_blocks(Vec<T> (&block)[LANES<T>]) {
    if constexpr (WIDTH < LANES<T>) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES<T>; ++i)
            if (!(i & WIDTH))
                exchange<T, WIDTH>(block[i], block[i + WIDTH], std::make_integer_sequence<int, LANES<T>>());
        exchange_blocks<T, 2 * WIDTH>(block);
    }
}

// Transposes LANES vectors: first within squares of 16 bytes, where each round halves the distance between
// the elements of a column, then the matrix of these squares.
template <class T> INLINED inline void transpose_block(Vec<T> (&block)[LANES<T>]) {
    constexpr auto all = std::make_integer_sequence<int, LANES<T>>();
#pragma GCC unroll 8
    for (int first = 0; first < LANES<T>; first += QUAD<T>) {
        Vec<T> *const square = block + first;
#pragma GCC unroll 2
        for (int width = 1; width < QUAD<T>; width *= 2) {
            Vec<T> next[QUAD<T>];
#pragma GCC unroll 2
            for (int i = 0; i < QUAD<T> / 2; ++i) {
                next[2 * i] = zip<T, 0>(square[i], square[i + QUAD<T> / 2], all);
                next[2 * i + 1] = zip<T, QUAD<T> / 2>(square[i], square[i + QUAD<T> / 2], all);
            }
#pragma GCC unroll 4
            for (int i = 0; i < QUAD<T>; ++i) square[i] = next[i];
        }
    }
    exchange_blocks<T, QUAD<T>>(block);
}

// to[c * to_row + r] = from[r * from_row + c] for r < rows, c < columns. With ZEROS, the rows of `to` are
// padded with zeros to whole vectors, for which there must be memory.
template <class T, bool ZEROS>
inline void transpose(const T *from, std::int64_t from_row, std::int64_t rows, std::int64_t columns, T *to,
                      std::int64_t to_row) {
    for_vectors<T>(0, rows, [=](std::int64_t r, int height) {
        for_vectors<T>(0, columns, [=](std::int64_t c, int width) {
            Vec<T> block[LANES<T>];
#pragma GCC unroll 16
            for (int i = 0; i < LANES<T>; ++i)
                block[i] = i < height ? load_n(from + (r + i) * from_row + c, width) : Vec<T>{};
            transpose_block<T>(block);
#pragma GCC unroll 16
            for (int i = 0; i < LANES<T>; ++i)
                if (i < width) store_n(to + (c + i) * to_row + r, block[i], ZEROS ? LANES<T> : height);
        });
    });
}

// 16 bytes of elements at any address.
template <class T> struct QuadOf {
    typedef T type __attribute__((vector_size(16), may_alias, aligned(sizeof(T))));
};
template <class T> using Quad = typename QuadOf<T>::type;

// Transposes a square of QUAD x QUAD elements.
INLINED inline void transpose_quads(Quad<float> (&row)[4]) {
    const auto low = [](auto a, auto b) { return lanes<0, 4, 1, 5>(a, b); };
    const auto high = [](auto a, auto b) { return lanes<2, 6, 3, 7>(a, b); };
    const auto first = low(row[0], row[2]), second = high(row[0], row[2]);
    const auto third = low(row[1], row[3]), fourth = high(row[1], row[3]);
    row[0] = low(first, third), row[1] = high(first, third);
    row[2] = low(second, fourth), row[3] = high(second, fourth);
}
INLINED inline void transpose_quads(Quad<double> (&row)[2]) {
    const auto first = lanes<0, 2>(row[0], row[1]);
    row[1] = lanes<1, 3>(row[0], row[1]);
    row[0] = first;
}

// Merges N vectors one by one into the vector whose lane I is lane source(I) % LANES of vector
// source(I) / LANES. The lanes that come from a later vector are arbitrary until then.
template <class T, class Source, int K, int... I>
INLINED inline Vec<T> merge(Vec<T> merged, const Vec<T> *vectors, std::integer_sequence<int, I...>) {
    constexpr int L = LANES<T>;
    return lanes<(Source::of(I) / L == K ? L + Source::of(I) % L : K == 1 ? Source::of(I) % L : I)...>(
        merged, vectors[K]);
}
template <class T, class Source, int N, int K = 1>
INLINED inline Vec<T> gather_lanes(Vec<T> merged, const Vec<T> *vectors) {
    if constexpr (K == N)
        return merged;
    else
        return gather_lanes<T, Source, N, K + 1>(
            merge<T, Source, K>(merged, vectors, std::make_integer_sequence<int, LANES<T>>()), vectors);
}

// Where elements come from when N channels, in units of UNIT elements, are joined to pixels: vector J of the
// result; and when they are split: channel J.
template <class T, int N, int UNIT, int J> struct Joined {
    static constexpr int of(int lane) {
        const int unit = (J * LANES<T> + lane) / UNIT;
        return unit % N * LANES<T> + unit / N * UNIT + lane % UNIT;
    }
};
template <class T, int N, int UNIT, int J> struct Split {
    static constexpr int of(int lane) { return (lane / UNIT * N + J) * UNIT + lane % UNIT; }
};
template <class T, int N, int UNIT, template <class, int, int, int> class Source, int... J>
INLINED inline void rearrange(Vec<T> (&v)[N], std::integer_sequence<int, J...>) {
    const Vec<T> all[N] = {gather_lanes<T, Source<T, N, UNIT, J>, N>(v[0], v)...};
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) v[j] = all[j];
}

// LANES pixels of N channels: from a vector of each channel to the vectors of their pixels.
template <class T, int N> INLINED inline void join_vectors(Vec<T> (&v)[N]) {
    if constexpr (N % 2 || N == 2) {
        rearrange<T, N, 1, Joined>(v, std::make_integer_sequence<int, N>());
    } else {  // pairs of channels first, which takes fewer steps than N (N - 1)
        Vec<T> low[N / 2], high[N / 2];
#pragma GCC unroll 4
        for (int k = 0; k < N / 2; ++k) {
            Vec<T> pair[2] = {v[2 * k], v[2 * k + 1]};
            join_vectors<T, 2>(pair);
            low[k] = pair[0], high[k] = pair[1];
        }
        rearrange<T, N / 2, 2, Joined>(low, std::make_integer_sequence<int, N / 2>());
        rearrange<T, N / 2, 2, Joined>(high, std::make_integer_sequence<int, N / 2>());
#pragma GCC unroll 4
        for (int k = 0; k < N / 2; ++k) v[k] = low[k], v[N / 2 + k] = high[k];
    }
}
// The inverse.
template <class T, int N> INLINED inline void split_vectors(Vec<T> (&v)[N]) {
    if constexpr (N % 2 || N == 2) {
        rearrange<T, N, 1, Split>(v, std::make_integer_sequence<int, N>());
    } else {
        Vec<T> low[N / 2], high[N / 2];
#pragma GCC unroll 4
        for (int k = 0; k < N / 2; ++k) low[k] = v[k], high[k] = v[N / 2 + k];
        rearrange<T, N / 2, 2, Split>(low, std::make_integer_sequence<int, N / 2>());
        rearrange<T, N / 2, 2, Split>(high, std::make_integer_sequence<int, N / 2>());
#pragma GCC unroll 4
        for (int k = 0; k < N / 2; ++k) {
            Vec<T> pair[2] = {low[k], high[k]};
            split_vectors<T, 2>(pair);
            v[2 * k] = pair[0], v[2 * k + 1] = pair[1];
        }
    }
}

// split_channels for channels that do not fill vectors, or pixels that are not contiguous.
template <class T>
inline void split_squares(const T *pixels, std::int64_t step, std::int64_t count, std::int64_t channels,
                          T *planes, std::int64_t apart) {
    constexpr int SIDE = QUAD<T>;
    if (count < SIDE || channels == 1) {  // 16 bytes of a single channel reach beyond the next pixel
        for (std::int64_t i = 0; i < count; ++i)
            for (std::int64_t c = 0; c < channels; ++c) planes[c * apart + i] = pixels[i * step + c];
        return;
    }
    for (std::int64_t c = 0; c < channels; c += SIDE) {
        const int planes_here = int(std::min<std::int64_t>(SIDE, channels - c));
        T *const to = planes + c * apart;
        const auto write = [=](Quad<T>(&square)[SIDE], std::int64_t i) {
            transpose_quads(square);
            for (int k = 0; k < SIDE; ++k)
                if (k < planes_here) *reinterpret_cast<Quad<T> *>(to + k * apart + i) = square[k];
        };
        Quad<T> square[SIDE];
        // Squares may read elements behind their last pixel, except for the last one, which may overlap
        // others.
        std::int64_t i = 0;
        for (; i + SIDE < count; i += SIDE) {
            for (int k = 0; k < SIDE; ++k)
                square[k] = *reinterpret_cast<const Quad<T> *>(pixels + (i + k) * step + c);
            write(square, i);
        }
        i = count - SIDE;
        for (int k = 0; k < SIDE - 1; ++k)
            square[k] = *reinterpret_cast<const Quad<T> *>(pixels + (i + k) * step + c);
        T last[SIDE] = {};
        for (int k = 0; k < SIDE; ++k)
            if (k < planes_here) last[k] = pixels[(i + SIDE - 1) * step + c + k];
        square[SIDE - 1] = *reinterpret_cast<const Quad<T> *>(last);
        write(square, i);
    }
}

// join_channels likewise.
template <class T>
inline void join_squares(const T *planes, std::int64_t apart, std::int64_t count, std::int64_t channels,
                         T *pixels) {
    constexpr int SIDE = QUAD<T>;
    if (count < SIDE || channels == 1) {  // 16 bytes of a single channel reach beyond the next pixel
        for (std::int64_t i = 0; i < count; ++i)
            for (std::int64_t c = 0; c < channels; ++c) pixels[i * channels + c] = planes[c * apart + i];
        return;
    }
    // Stores of the last channels reach into the next pixel, so its first channels follow later.
    for (std::int64_t c = (channels - 1) / SIDE * SIDE; c >= 0; c -= SIDE) {
        const int valid = int(std::min<std::int64_t>(SIDE, channels - c));
        const T *from[SIDE];
        for (int k = 0; k < SIDE; ++k) from[k] = planes + (c + (k < valid ? k : 0)) * apart;
        const auto read = [&](Quad<T>(&square)[SIDE], std::int64_t i) {
            for (int k = 0; k < SIDE; ++k) square[k] = *reinterpret_cast<const Quad<T> *>(from[k] + i);
            transpose_quads(square);
        };
        Quad<T> square[SIDE];
        std::int64_t i = 0;
        for (; i + SIDE < count; i += SIDE) {
            read(square, i);
            for (int k = 0; k < SIDE; ++k)
                *reinterpret_cast<Quad<T> *>(pixels + (i + k) * channels + c) = square[k];
        }
        i = count - SIDE;
        read(square, i);
        for (int k = 0; k < SIDE - 1; ++k)
            *reinterpret_cast<Quad<T> *>(pixels + (i + k) * channels + c) = square[k];
        for (int k = 0; k < SIDE; ++k)
            if (k < valid) pixels[(i + SIDE - 1) * channels + c + k] = square[SIDE - 1][k];
    }
}

// The pixels that are split and joined by whole vectors. With more channels or few pixels, squares are as
// fast (AVX-512, 576 pixels of 6 channels: 0.36 -> 0.22 us; of 8: 0.31, 0.32).
constexpr int MOST_JOINED = 6;
template <class T> inline std::int64_t in_whole_vectors(std::int64_t count, std::int64_t channels) {
    return channels <= MOST_JOINED && count >= 4 * LANES<T> ? count / LANES<T> * LANES<T> : 0;
}

// planes[c * apart + i] = pixels[i * step + c] for i < count, c < channels: the channels of neighbouring
// pixels, each contiguous. For few channels: `transpose` would fill its large blocks only partly.
template <class T>
inline void split_channels(const T *pixels, std::int64_t step, std::int64_t count, std::int64_t channels,
                           T *planes, std::int64_t apart) {
    const std::int64_t whole = step == channels ? in_whole_vectors<T>(count, channels) : 0;
    with_constant<MOST_JOINED>(whole ? channels : 0, [=](auto constant) {
        constexpr int N = constant;
        for (std::int64_t i = 0; i < whole; i += LANES<T>) {
            Vec<T> v[N];
#pragma GCC unroll 8
            for (int k = 0; k < N; ++k) v[k] = load(pixels + i * N + k * LANES<T>);
            split_vectors<T, N>(v);
#pragma GCC unroll 8
            for (int k = 0; k < N; ++k) store(planes + k * apart + i, v[k]);
        }
    });
    split_squares(pixels + whole * step, step, count - whole, channels, planes + whole, apart);
}

// The inverse, to neighbouring pixels: pixels[i * channels + c] = planes[c * apart + i].
template <class T>
inline void join_channels(const T *planes, std::int64_t apart, std::int64_t count, std::int64_t channels,
                          T *pixels) {
    const std::int64_t whole = in_whole_vectors<T>(count, channels);
    with_constant<MOST_JOINED>(whole ? channels : 0, [=](auto constant) {
        constexpr int N = constant;
        for (std::int64_t i = 0; i < whole; i += LANES<T>) {
            Vec<T> v[N];
#pragma GCC unroll 8
            for (int k = 0; k < N; ++k) v[k] = load(planes + k * apart + i);
            join_vectors<T, N>(v);
#pragma GCC unroll 8
            for (int k = 0; k < N; ++k) store(pixels + i * N + k * LANES<T>, v[k]);
        }
    });
    join_squares(planes + whole, apart, count - whole, channels, pixels + whole * channels);
}

}  // namespace fastnn
