// Transposing, in blocks that stay in registers.
#pragma once

#include "simd.hpp"

namespace fastnn {

// a0 b0 a1 b1 ... of the lower halves (FROM = 0) or of the upper ones (FROM = LANES / 2).
template <class T, int FROM, int... I>
inline Vec<T> zip(Vec<T> a, Vec<T> b, std::integer_sequence<int, I...>) {
    return lanes<(FROM + I / 2 + I % 2 * LANES<T>)...>(a, b);
}
template <class T, int FROM> inline Vec<T> zip(Vec<T> a, Vec<T> b) {
    return zip<T, FROM>(a, b, std::make_integer_sequence<int, LANES<T>>());
}

// The transpose of LANES vectors: every round halves the distance between elements of one column.
template <class T> inline void transpose_block(Vec<T> (&block)[LANES<T>]) {
#pragma GCC unroll 4
    for (int width = 1; width < LANES<T>; width *= 2) {
        Vec<T> next[LANES<T>];
#pragma GCC unroll 8
        for (int i = 0; i < LANES<T> / 2; ++i) {
            next[2 * i] = zip<T, 0>(block[i], block[i + LANES<T> / 2]);
            next[2 * i + 1] = zip<T, LANES<T> / 2>(block[i], block[i + LANES<T> / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES<T>; ++i) block[i] = next[i];
    }
}

// to[c * to_row + r] = from[r * from_row + c] for r < rows, c < columns. With ZEROS the rows of `to` are
// filled up with zeros to whole vectors, for which there must be room.
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
