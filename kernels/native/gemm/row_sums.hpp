// Computes sums over the rows of a matrix (M, C) in chunks of CHUNK_ROWS rows, whatever the number of
// threads. The sums of each chunk go to the shared scratch memory; then one thread adds them in double, in
// ascending order. A chunk is processed in blocks of a few vectors of channels, so that its rows stay in the
// L1 cache.
#pragma once

#include "plan/algorithms.hpp"
#include "plan/call.hpp"
#include "simd/simd.hpp"

namespace fastnn {

constexpr int CHANNEL_VECTORS = 4;  // of a block

inline constexpr auto PLUS = [](auto a, auto b) { return a + b; };
inline constexpr auto MINUS = [](auto a, auto b) { return a - b; };
inline constexpr auto TIMES = [](auto a, auto b) { return a * b; };
inline constexpr auto FMA = [](auto a, auto b, auto c) { return fma(a, b, c); };

// V neighbouring vectors of channels that start at `begin`; the last one has `last` lanes, or all of them if
// the block is WHOLE.
template <class T, int V, bool WHOLE> struct Block {
    std::int64_t begin;
    int last;

    struct Values {
        Vec<T> vector[V];
    };

    // Loads the vectors of `values` that belong to this block.
    template <class F, class... A> static Values each(F f, const A &...values) {
        Values result;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) result.vector[v] = f(values.vector[v]...);
        return result;
    }
    static Values all(T value) {
        return each([=](Vec<T> zero) { return zero + value; }, Values{});
    }

    // Loads the channels of this block from a row.
    Values load(const T *row) const {
        Values result;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) result.vector[v] = load_n(row + begin + v * LANES<T>, lanes(v));
        return result;
    }
    // Loads the channels of this block from a row, or `absent` for each if the row is null.
    Values load_or(const T *row, T absent) const { return row ? load(row) : all(absent); }
    void store(T *row, const Values &values) const {
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store_n(row + begin + v * LANES<T>, values.vector[v], lanes(v));
    }

private:
    int lanes(int v) const { return WHOLE || v + 1 < V ? LANES<T> : last; }
};

// Calls body(block) for all blocks of C channels.
template <class T, class Body> inline void for_blocks(std::int64_t C, Body body) {
    constexpr std::int64_t width = CHANNEL_VECTORS * LANES<T>;
    std::int64_t c = 0;
    for (; c + width <= C; c += width) body(Block<T, CHANNEL_VECTORS, true>{c, LANES<T>});
    if (c == C) return;
    const int vectors = int((C - c + LANES<T> - 1) / LANES<T>), last = int(C - c) - (vectors - 1) * LANES<T>;
    switch (vectors) {
        case 1: return body(Block<T, 1, false>{c, last});
        case 2: return body(Block<T, 2, false>{c, last});
        case 3: return body(Block<T, 3, false>{c, last});
        default: return body(Block<T, CHANNEL_VECTORS, false>{c, last});
    }
}

// Calls body(block, rows) for all blocks of the rows of one part, a few rows at a time.
template <class T, class Body>
inline void for_row_blocks(std::int64_t M, std::int64_t C, int part, int parts, Body body) {
    const Range mine = share(M, part, parts);
    for (std::int64_t begin = mine.begin; begin < mine.end; begin += CHUNK_ROWS) {
        const Range rows{begin, begin + CHUNK_ROWS < mine.end ? begin + CHUNK_ROWS : mine.end};
        for_blocks<T>(C, [&](auto block) { body(block, rows); });
    }
}

// The scratch memory of the parts for M rows of C channels: two rows of double for the totals, then the sums
// of each chunk.
template <class T> struct Chunks {
    char *scratch;
    std::int64_t M, C, kinds;

    ScratchNeeds needs() const {
        return {0, 2 * total_bytes() + count() * kinds * C * std::int64_t(sizeof(T)), 0};
    }
    std::int64_t count() const { return (M + CHUNK_ROWS - 1) / CHUNK_ROWS; }
    Range rows(std::int64_t chunk) const {
        const std::int64_t begin = chunk * CHUNK_ROWS;
        return {begin, begin + CHUNK_ROWS < M ? begin + CHUNK_ROWS : M};
    }
    T *sums(std::int64_t chunk, int kind) const {
        return reinterpret_cast<T *>(scratch + 2 * total_bytes()) + (chunk * kinds + kind) * C;
    }
    // Adds the sums of this kind over all chunks into `total(kind)`.
    double *add_up(int kind) const {
        double *const sum = total(kind);
        for (std::int64_t c = 0; c < C; ++c) sum[c] = 0;
        for (std::int64_t chunk = 0; chunk < count(); ++chunk)
            for (std::int64_t c = 0; c < C; ++c) sum[c] += sums(chunk, kind)[c];
        return sum;
    }
    double *total(int which) const { return reinterpret_cast<double *>(scratch + which * total_bytes()); }

private:
    std::int64_t total_bytes() const { return whole_lines(C * std::int64_t(sizeof(double))); }
};

}  // namespace fastnn
