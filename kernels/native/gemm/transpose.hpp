// Transposes matrices in blocks that stay in registers.
#pragma once

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

}  // namespace fastnn
