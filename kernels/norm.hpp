// Batch and layer normalisation. size[0] is M, the number of rows, size[1] the number C of their channels.
//
// Sums over the rows are made chunk by chunk: CHUNK_ROWS rows, whatever the number of threads, whose sums go
// to the shared scratch memory; when all are there, one thread adds them up in double, in their order.
// A chunk is worked through in blocks of a few vectors of channels, whose rows stay in the L1 cache: of the
// two passes that the moments need, one reads memory.
//
// Each formula is one inline function on vectors, which fused kernels share, so that fused and separate
// kernels agree to the last bit.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "call.hpp"
#include "simd.hpp"

namespace fastnn {

constexpr std::int64_t CHUNK_ROWS = 64;  // of 256 bytes, which a block has at most: 16 KiB
constexpr int CHANNEL_VECTORS = 4;       // of a block

inline constexpr auto PLUS = [](auto a, auto b) { return a + b; };
inline constexpr auto MINUS = [](auto a, auto b) { return a - b; };
inline constexpr auto TIMES = [](auto a, auto b) { return a * b; };
inline constexpr auto FMA = [](auto a, auto b, auto c) { return fma(a, b, c); };

// --- the formulas ---

// 1 / sqrt(var + epsilon)
template <class T> inline Vec<T> inverse_deviation(Vec<T> var, T epsilon) {
    return T(1) / square_root(var + epsilon);
}

// y = (x - mean) scale + beta, scale = gamma / sqrt(var + epsilon)
template <class T> inline Vec<T> normalized(Vec<T> x, Vec<T> mean, Vec<T> scale, Vec<T> beta) {
    return fma(x - mean, scale, beta);
}

// dx = scale (dy - a - (x - mean) b): a is the mean of dy, b that of dy (x - mean) / (var + epsilon).
template <class T>
inline Vec<T> norm_gradient(Vec<T> x, Vec<T> dy, Vec<T> mean, Vec<T> scale, Vec<T> a, Vec<T> b) {
    return scale * fma(mean - x, b, dy - a);
}

// running = (1 - momentum) running + momentum batch
template <class T> inline Vec<T> moved(Vec<T> running, Vec<T> batch, T momentum) {
    return fma(broadcast(momentum), batch, (T(1) - momentum) * running);
}

// --- rows and blocks of channels ---

// V neighbouring vectors of channels, from `begin` on; the last one has `last` lanes, or all if the block is
// WHOLE.
template <class T, int V, bool WHOLE> struct Block {
    std::int64_t begin;
    int last;

    struct Values {
        Vec<T> vector[V];
    };

    // A vector for each of the block's, from the ones of `values`.
    template <class F, class... A> static Values each(F f, const A &...values) {
        Values result;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) result.vector[v] = f(values.vector[v]...);
        return result;
    }
    static Values all(T value) {
        return each([=](Vec<T> zero) { return zero + value; }, Values{});
    }

    // The channels of this block in a row.
    Values load(const T *row) const {
        Values result;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) result.vector[v] = load_n(row + begin + v * LANES<T>, lanes(v));
        return result;
    }
    // The same, or `absent` for all of them where there is no row.
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

inline std::int64_t chunk_count(std::int64_t M) { return (M + CHUNK_ROWS - 1) / CHUNK_ROWS; }

inline Range rows_of_chunk(std::int64_t M, std::int64_t chunk) {
    const std::int64_t begin = chunk * CHUNK_ROWS;
    return {begin, begin + CHUNK_ROWS < M ? begin + CHUNK_ROWS : M};
}

// Calls body(block, rows) for all blocks of the rows that a part owns, a few rows at a time.
template <class T, class Body> inline void for_row_blocks(const Call &call, int part, int parts, Body body) {
    const Range mine = share(call.size[0], part, parts);
    for (std::int64_t begin = mine.begin; begin < mine.end; begin += CHUNK_ROWS) {
        const Range rows{begin, begin + CHUNK_ROWS < mine.end ? begin + CHUNK_ROWS : mine.end};
        for_blocks<T>(call.size[1], [&](auto block) { body(block, rows); });
    }
}

// --- sums over rows, chunk by chunk ---

// What the parts leave behind: `kinds` rows of C sums for each chunk. Before them two rows of double, where
// they are added up.
template <class T> inline ScratchNeeds chunk_scratch(const Call &call, std::int64_t kinds) {
    const std::int64_t row = call.size[1] * std::int64_t(sizeof(T));
    return {0, 2 * whole_lines(call.size[1] * 8) + chunk_count(call.size[0]) * kinds * row, 0};
}
inline double *totals(const Call &call, int which) {
    return reinterpret_cast<double *>(call.scratch + which * whole_lines(call.size[1] * 8));
}
template <class T> inline T *chunk_row(const Call &call, std::int64_t row) {
    char *const rows = call.scratch + 2 * whole_lines(call.size[1] * 8);
    return reinterpret_cast<T *>(rows) + row * call.size[1];
}

template <class T> ScratchNeeds batch_moments_scratch(const Call &call) { return chunk_scratch<T>(call, 3); }

// Of each chunk a first mean m, the sum of x - m, which is what rounding has left, and that of its squares.
// x (M, C) -> mean, var (C,)
template <class T> void batch_moments(const Call &call, int part, int parts) {
    const std::int64_t M = call.size[0], C = call.size[1];
    const T *const x = call.in<T>(0);
    const Range mine = share(chunk_count(M), part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const Range rows = rows_of_chunk(M, chunk);
        const T count = T(rows.end - rows.begin);
        for_blocks<T>(C, [&](auto block) {
            auto mean = block.all(0), rest = mean, squares = mean;
            for (std::int64_t m = rows.begin; m < rows.end; ++m)
                mean = block.each(PLUS, mean, block.load(x + m * C));
            mean = block.each([=](auto sum) { return sum / count; }, mean);
            for (std::int64_t m = rows.begin; m < rows.end; ++m) {
                const auto d = block.each(MINUS, block.load(x + m * C), mean);
                rest = block.each(PLUS, rest, d);
                squares = block.each(FMA, d, d, squares);
            }
            block.store(chunk_row<T>(call, 3 * chunk), mean);
            block.store(chunk_row<T>(call, 3 * chunk + 1), rest);
            block.store(chunk_row<T>(call, 3 * chunk + 2), squares);
        });
    }
}

// Chan, Golub & LeVeque 1983, equations 1.5: a chunk of n_b rows joins the n_a before it,
// mean = mean_a + d n_b / n and S = S_a + S_b + d^2 n_a n_b / n, with d = mean_b - mean_a, n = n_a + n_b.
template <class T> void batch_moments_finish(const Call &call) {
    const std::int64_t M = call.size[0], C = call.size[1];
    double *const mean = totals(call, 0), *const squares = totals(call, 1);
    for (std::int64_t c = 0; c < C; ++c) mean[c] = squares[c] = 0;
    for (std::int64_t chunk = 0; chunk < chunk_count(M); ++chunk) {
        const Range rows = rows_of_chunk(M, chunk);
        const double before = double(rows.begin), own = double(rows.end - rows.begin), all = double(rows.end);
        const T *const m = chunk_row<T>(call, 3 * chunk), *const rest = m + C, *const own_squares = rest + C;
        for (std::int64_t c = 0; c < C; ++c) {
            const double more = rest[c] / own, d = (m[c] - mean[c]) + more;
            mean[c] += d * (own / all);
            squares[c] += own_squares[c] - more * rest[c] + d * d * (before * own / all);
        }
    }
    const double none = M ? 0 : std::numeric_limits<double>::quiet_NaN();  // the mean of nothing
    for (std::int64_t c = 0; c < C; ++c) {
        call.out<T>(1)[c] = T(mean[c] + none);
        call.out<T>(2)[c] = T((squares[c] < 0 ? 0 : squares[c]) / double(M ? M : 1) + none);
    }
}

template <class T> ScratchNeeds chunk_sums_scratch(const Call &call) { return chunk_scratch<T>(call, 2); }

// Of each chunk the sum of dy, and that of dy f(m, x): `of_block(block)` is the f for a block, of row m.
// x, dy (M, C)
template <class T, class OfBlock>
inline void chunk_sums(const Call &call, int part, int parts, OfBlock of_block) {
    const std::int64_t M = call.size[0], C = call.size[1];
    const T *const x = call.in<T>(0), *const dy = call.in<T>(1);
    const Range mine = share(chunk_count(M), part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const Range rows = rows_of_chunk(M, chunk);
        for_blocks<T>(C, [&](auto block) {
            const auto f = of_block(block);
            auto sum = block.all(0), products = sum;
            for (std::int64_t m = rows.begin; m < rows.end; ++m) {
                const auto g = block.load(dy + m * C), factor = f(m, block.load(x + m * C));
                sum = block.each(PLUS, sum, g);
                products = block.each(FMA, g, factor, products);
            }
            block.store(chunk_row<T>(call, 2 * chunk), sum);
            block.store(chunk_row<T>(call, 2 * chunk + 1), products);
        });
    }
}

// dbeta = the sum of the chunks' sums of dy, dgamma = that of their products with dy, times scale(c).
template <class T, class Scale> inline void add_chunks(const Call &call, T *dgamma, T *dbeta, Scale scale) {
    const std::int64_t C = call.size[1];
    double *const sum = totals(call, 0), *const products = totals(call, 1);
    for (std::int64_t c = 0; c < C; ++c) sum[c] = products[c] = 0;
    for (std::int64_t chunk = 0; chunk < chunk_count(call.size[0]); ++chunk) {
        const T *const own = chunk_row<T>(call, 2 * chunk), *const own_products = own + C;
        for (std::int64_t c = 0; c < C; ++c) {
            sum[c] += own[c];
            products[c] += own_products[c];
        }
    }
    for (std::int64_t c = 0; c < C; ++c) {
        dbeta[c] = T(sum[c]);
        dgamma[c] = T(products[c] * scale(c));
    }
}

// --- batch normalisation ---

// A running moment of C channels moves towards that of the batch; `before` keeps what it was.
template <class T>
inline void move_running(const T *batch, std::int64_t C, T momentum, T factor, T *running, T *before) {
    for_vectors<T>(0, C, [=](std::int64_t c, int n) {
        const Vec<T> old = load_n(running + c, n);
        store_n(before + c, old, n);
        store_n(running + c, moved<T>(old, load_n(batch + c, n) * factor, momentum), n);
    });
}

// mean, var (C,) of size[0] rows; running_mean, running_var (C,) changed; before (2, C).  scalar[0]: momentum
template <class T> void running_moments(const Call &call, int part, int) {
    if (part != 0) return;
    const std::int64_t C = call.size[1];
    const double count = double(call.size[0]);
    const T momentum = T(call.scalar[0]), unbiased = T(count / (count - 1));
    T *const before = call.out<T>(4);
    move_running(call.in<T>(0), C, momentum, T(1), call.out<T>(2), before);
    move_running(call.in<T>(1), C, momentum, unbiased, call.out<T>(3), before + C);
}

// y = (x - mean) gamma / sqrt(var + epsilon) + beta
// x (M, C), mean, var (C,), gamma, beta (C,) or null -> y (M, C).  scalar[0]: epsilon
template <class T> void batch_norm_forward(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T epsilon = T(call.scalar[0]);
    for_row_blocks<T>(call, part, parts, [&](auto block, Range rows) {
        const auto mean = block.load(call.in<T>(1)), beta = block.load_or(call.in<T>(4), 0);
        const auto inverse = block.each([=](auto var) { return inverse_deviation<T>(var, epsilon); },
                                        block.load(call.in<T>(2)));
        const auto scale = block.each(TIMES, block.load_or(call.in<T>(3), 1), inverse);
        for (std::int64_t m = rows.begin; m < rows.end; ++m)
            block.store(call.out<T>(5) + m * C,
                        block.each(normalized<T>, block.load(call.in<T>(0) + m * C), mean, scale, beta));
    });
}

// dgamma = sum_m dy (x - mean) / sqrt(var + epsilon), dbeta = sum_m dy
// x, dy (M, C), mean, var (C,) -> dgamma, dbeta (C,).  scalar[0]: epsilon
template <class T> void batch_norm_sums(const Call &call, int part, int parts) {
    chunk_sums<T>(call, part, parts, [&](auto block) {
        return [block, mean = block.load(call.in<T>(2))](std::int64_t, const auto &x) {
            return block.each(MINUS, x, mean);
        };
    });
}
template <class T> void batch_norm_sums_finish(const Call &call) {
    add_chunks(call, call.out<T>(4), call.out<T>(5), [var = call.in<T>(3), epsilon = call.scalar[0]](auto c) {
        return 1 / std::sqrt(double(var[c]) + epsilon);
    });
}

// dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), rstd = 1 / sqrt(var + epsilon), xhat = (x - mean) rstd;
// without dgamma and dbeta the moments do not depend on x, and only the first term is left.
// x, dy (M, C), mean, var (C,), gamma, dgamma, dbeta (C,) or null -> dx (M, C).  scalar[0]: epsilon
template <class T> void batch_norm_dx(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T epsilon = T(call.scalar[0]);
    for_row_blocks<T>(call, part, parts, [&](auto block, Range rows) {
        const auto mean = block.load(call.in<T>(2));
        const auto inverse = block.each([=](auto var) { return inverse_deviation<T>(var, epsilon); },
                                        block.load(call.in<T>(3)));
        const auto scale = block.each(TIMES, block.load_or(call.in<T>(4), 1), inverse);
        const auto per_row = block.all(T(1 / double(call.size[0])));
        const auto a = block.each(TIMES, block.load_or(call.in<T>(6), 0), per_row);
        const auto b = block.each(
            TIMES, block.each(TIMES, block.load_or(call.in<T>(5), 0), per_row), inverse);
        for (std::int64_t m = rows.begin; m < rows.end; ++m)
            block.store(call.out<T>(7) + m * C,
                        block.each(norm_gradient<T>, block.load(call.in<T>(0) + m * C),
                                   block.load(call.in<T>(1) + m * C), mean, scale, a, b));
    });
}

// --- layer normalisation ---

// The sum of f(e, n) over the vectors of a row.
template <class T, class F> inline T sum_row(std::int64_t C, F f) {
    return sum_lanes<T>(accumulate<T>(0, C, Vec<T>{}, [=](Vec<T> sum, std::int64_t e, int n) {
        return sum + keep_first<T>(f(e, n), n, T(0));
    }));
}

// y = (x - mean) gamma / sqrt(var + epsilon) + beta, with the moments of each row, of which the mean and
// 1 / sqrt(var + epsilon) are kept.
// x (M, C), gamma, beta (C,) or null -> y (M, C), moments (M, 2).  scalar[0]: epsilon
template <class T> void layer_norm_forward(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T *const gamma = call.in<T>(1), *const beta = call.in<T>(2);
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *const x = call.in<T>(0) + m * C;
        T *const y = call.out<T>(3) + m * C;
        const T first = sum_row<T>(C, [=](std::int64_t e, int n) { return load_n(x + e, n); }) / T(C);
        // What rounding has left of the mean.
        const T rest = sum_row<T>(C, [=](std::int64_t e, int n) { return load_n(x + e, n) - first; }) / T(C);
        const T squares = sum_row<T>(C, [=](std::int64_t e, int n) {
            const Vec<T> d = load_n(x + e, n) - first;
            return d * d;
        });
        const T var = squares / T(C) - rest * rest;
        const Vec<T> mean = broadcast(T(first + rest));
        const Vec<T> inverse = inverse_deviation<T>(broadcast(var < 0 ? T(0) : var), T(call.scalar[0]));
        for_vectors<T>(0, C, [=](std::int64_t e, int n) {
            const Vec<T> scale = gamma ? load_n(gamma + e, n) * inverse : inverse;
            const Vec<T> shift = beta ? load_n(beta + e, n) : Vec<T>{};
            store_n(y + e, normalized<T>(load_n(x + e, n), mean, scale, shift), n);
        });
        call.out<T>(4)[2 * m] = mean[0];
        call.out<T>(4)[2 * m + 1] = inverse[0];
    }
}

// dx = (dy gamma - mean_c(dy gamma) - xhat mean_c(dy gamma xhat)) / sqrt(var + epsilon), xhat as in y = xhat
// gamma + beta.
// x, dy (M, C), gamma (C,) or null, moments (M, 2) -> dx (M, C)
template <class T> void layer_norm_dx(const Call &call, int part, int parts) {
    const std::int64_t C = call.size[1];
    const T *const gamma = call.in<T>(2);
    const Range rows = share(call.size[0], part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *const x = call.in<T>(0) + m * C, *const dy = call.in<T>(1) + m * C;
        const T mean = call.in<T>(3)[2 * m], inverse = call.in<T>(3)[2 * m + 1];
        const auto g = [=](std::int64_t e, int n) {
            return gamma ? load_n(dy + e, n) * load_n(gamma + e, n) : load_n(dy + e, n);
        };
        const T a = sum_row<T>(C, g) / T(C);
        const T products =
            sum_row<T>(C, [=](std::int64_t e, int n) { return g(e, n) * (load_n(x + e, n) - mean); });
        const T b = products / T(C) * inverse * inverse;
        T *const dx = call.out<T>(4) + m * C;
        for_vectors<T>(0, C, [=](std::int64_t e, int n) {
            store_n(dx + e, norm_gradient<T>(load_n(x + e, n), g(e, n), broadcast(mean), broadcast(inverse),
                                             broadcast(a), broadcast(b)), n);
        });
    }
}

// dgamma = sum_m dy xhat, dbeta = sum_m dy
// x, dy (M, C), moments (M, 2) -> dgamma, dbeta (C,)
template <class T> void layer_norm_dw(const Call &call, int part, int parts) {
    chunk_sums<T>(call, part, parts, [moments = call.in<T>(2)](auto block) {
        return [=](std::int64_t m, const auto &x) {
            const T mean = moments[2 * m], inverse = moments[2 * m + 1];
            return block.each([=](auto v) { return (v - mean) * inverse; }, x);
        };
    });
}
template <class T> void layer_norm_dw_finish(const Call &call) {
    add_chunks(call, call.out<T>(3), call.out<T>(4), [](std::int64_t) { return 1.0; });
}

}  // namespace fastnn
