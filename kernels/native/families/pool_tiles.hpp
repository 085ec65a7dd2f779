// Rows of pixels that are tiled by pooling windows, in whole vectors whatever the number of channels. Each
// pixel belongs to one window, and a row of windows to whole rows of pixels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "simd/simd.hpp"

namespace fastnn {

// Calls body(c) for the vectors of C >= LANES channels; the last two may overlap.
template <class T, class Body> INLINED inline void for_overlapping_vectors(std::int64_t C, Body body) {
    for (std::int64_t c = 0; c + LANES<T> < C; c += LANES<T>) body(c);
    body(C - LANES<T>);
}

// Where a row of dx finds its elements in a row of dy, for C < LANES channels: element (q S + s) C + c takes
// q C + c. The elements of dy for a vector of dx are neighbours, at most LANES of them, so a load and a
// shuffle fetch them. The shuffles repeat after some vectors.
template <class T> class TileRow {
public:
    static bool fits(std::int64_t S, std::int64_t C) { return C < LANES<T> && period_of(S, C) <= MOST; }

    // Q windows of S pixels of C channels; fits(S, C).
    TileRow(std::int64_t Q, std::int64_t S, std::int64_t C)
        : inputs_(Q * S * C), outputs_(Q * C), period_(period_of(S, C)), advance_(period_ * LANES<T> / S) {
        std::int64_t q = 0, s = 0, c = 0;
        for (std::int64_t k = 0; k < period_; ++k) {
            std::int64_t output[LANES<T>];
            for (int i = 0; i < LANES<T>; ++i) {
                output[i] = q * C + c;
                pieces_[k].column[i] = s;
                if (++c == C) c = 0, ++s;
                if (s == S) s = 0, ++q;
            }
            const auto [first, last] = std::minmax_element(output, output + LANES<T>);
            pieces_[k].first = *first;
            pieces_[k].count = int(*last - *first + 1);
            for (int i = 0; i < LANES<T>; ++i) pieces_[k].lane[i] = output[i] - *first;
        }
    }

    // Calls body(e, n, column, spread) for each vector of a row of dx: n elements from e on, in the columns
    // `column` of their windows; spread(row) returns the elements of a row of dy for them.
    template <class Body> INLINED void for_vectors(Body body) const {
        std::int64_t at = 0, k = 0, e = 0;
        for (; e + LANES<T> <= inputs_; e += LANES<T>) {
            visit(body, pieces_[k], e, LANES<T>, at, pieces_[k].count);
            if (++k == period_) k = 0, at += advance_;
        }
        if (e == inputs_) return;
        const std::int64_t left = outputs_ - at - pieces_[k].first;
        visit(body, pieces_[k], e, int(inputs_ - e), at, int(std::min<std::int64_t>(left, pieces_[k].count)));
    }

private:
    static constexpr std::int64_t MOST = 64;

    struct Piece {
        IntVec<T> lane, column;
        std::int64_t first;
        int count;
    };

    template <class Body>
    static INLINED void visit(Body body, const Piece &piece, std::int64_t e, int n, std::int64_t at, int count) {
        body(e, n, piece.column, [&](const T *row) INLINED {
            return shuffled<T>(load_first(row + at + piece.first, count), piece.lane);
        });
    }

    static std::int64_t period_of(std::int64_t S, std::int64_t C) {
        return S * C / std::gcd(S * C, std::int64_t(LANES<T>));
    }

    const std::int64_t inputs_, outputs_, period_, advance_;
    Piece pieces_[MOST];
};

}  // namespace fastnn
