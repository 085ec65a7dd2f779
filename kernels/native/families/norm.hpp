// Batch and layer normalisation of M rows of C channels.
//
// Sums over the rows are computed in chunks (row_sums.hpp), so that only one of the two passes for the
// moments reads memory; the other one reads the cache.
//
// Each formula is one inline function on vectors, which fused kernels share, so that fused and separate
// kernels agree to the last bit.
#pragma once

#include <cmath>
#include <limits>
#include <utility>

#include "gemm/row_sums.hpp"

namespace fastnn {

// --- the formulas ---

// 1 / sqrt(var + epsilon)
template <class T> inline Vec<T> inverse_deviation(Vec<T> var, T epsilon) {
    return T(1) / square_root(var + epsilon);
}

// y = (x - mean) scale + beta, scale = gamma / sqrt(var + epsilon)
template <class T> inline Vec<T> normalized(Vec<T> x, Vec<T> mean, Vec<T> scale, Vec<T> beta) {
    return fma(x - mean, scale, beta);
}

// dx = scale (dy - a - (x - mean) b): a = mean(dy), b = mean(dy (x - mean)) / (var + epsilon).
template <class T>
inline Vec<T> norm_gradient(Vec<T> x, Vec<T> dy, Vec<T> mean, Vec<T> scale, Vec<T> a, Vec<T> b) {
    return scale * fma(mean - x, b, dy - a);
}

// running = (1 - momentum) running + momentum batch
template <class T> inline Vec<T> moved(Vec<T> running, Vec<T> batch, T momentum) {
    return fma(broadcast(momentum), batch, (T(1) - momentum) * running);
}

// --- sums over rows ---

template <class T> Chunks<T> moment_chunks(const Call &call) {
    const MatrixSizes size = call.sizes<MatrixSizes>();
    return {call.scratch, size.M, size.C, 3};
}
template <class T> ScratchNeeds batch_moments_scratch(const Call &call) {
    return moment_chunks<T>(call).needs();
}

// For each chunk: a first mean m, the sum of x - m (the rounding error of m), and the sum of its squares.
// x (M, C) -> mean, var (C,)
template <class T> void batch_moments(const Call &call, int part, int parts) {
    using op = operands::BATCH_MOMENTS;
    const Chunks<T> chunks = moment_chunks<T>(call);
    const std::int64_t C = chunks.C;
    const T *const x = call.in<T>(op::x);
    const Range mine = share(chunks.count(), part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const Range rows = chunks.rows(chunk);
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
            block.store(chunks.sums(chunk, 0), mean);
            block.store(chunks.sums(chunk, 1), rest);
            block.store(chunks.sums(chunk, 2), squares);
        });
    }
}

// Chan, Golub & LeVeque 1983, equations 1.5: a chunk of n_b rows joins the n_a before it,
// mean = mean_a + d n_b / n and S = S_a + S_b + d^2 n_a n_b / n, with d = mean_b - mean_a, n = n_a + n_b.
template <class T> void batch_moments_finish(const Call &call) {
    using op = operands::BATCH_MOMENTS;
    const Chunks<T> chunks = moment_chunks<T>(call);
    const std::int64_t M = chunks.M, C = chunks.C;
    double *const mean = chunks.total(0), *const squares = chunks.total(1);
    for (std::int64_t c = 0; c < C; ++c) mean[c] = squares[c] = 0;
    for (std::int64_t chunk = 0; chunk < chunks.count(); ++chunk) {
        const Range rows = chunks.rows(chunk);
        const double before = double(rows.begin), own = double(rows.end - rows.begin), all = double(rows.end);
        const T *const m = chunks.sums(chunk, 0), *const rest = chunks.sums(chunk, 1);
        const T *const own_squares = chunks.sums(chunk, 2);
        for (std::int64_t c = 0; c < C; ++c) {
            const double more = rest[c] / own, d = (m[c] - mean[c]) + more;
            mean[c] += d * (own / all);
            squares[c] += own_squares[c] - more * rest[c] + d * d * (before * own / all);
        }
    }
    const double none = M ? 0 : std::numeric_limits<double>::quiet_NaN();  // the mean of zero rows
    for (std::int64_t c = 0; c < C; ++c) {
        call.out<T>(op::mean)[c] = T(mean[c] + none);
        call.out<T>(op::var)[c] = T((squares[c] < 0 ? 0 : squares[c]) / double(M ? M : 1) + none);
    }
}

// For each chunk: the sum of the gradients and the sum of gradient times factor. `from(block, first row)`
// returns a function whose successive calls return (gradient, factor) of successive rows.
template <class T, class From>
inline void chunk_sums(const Chunks<T> &chunks, int part, int parts, From from) {
    const Range mine = share(chunks.count(), part, parts);
    for (std::int64_t chunk = mine.begin; chunk < mine.end; ++chunk) {
        const Range rows = chunks.rows(chunk);
        for_blocks<T>(chunks.C, [&](auto block) {
            auto next = from(block, rows.begin);
            auto sum = block.all(0), products = sum;
            for (std::int64_t m = rows.begin; m < rows.end; ++m) {
                const auto [gradient, factor] = next(m);
                sum = block.each(PLUS, sum, gradient);
                products = block.each(FMA, gradient, factor, products);
            }
            block.store(chunks.sums(chunk, 0), sum);
            block.store(chunks.sums(chunk, 1), products);
        });
    }
}

// dbeta = sum of the chunk sums; dgamma = scale(c) times the sum of the chunk products.
template <class T, class Scale>
inline void add_chunks(const Chunks<T> &chunks, T *dgamma, T *dbeta, Scale scale) {
    const double *const sum = chunks.add_up(0), *const products = chunks.add_up(1);
    for (std::int64_t c = 0; c < chunks.C; ++c) {
        dbeta[c] = T(sum[c]);
        dgamma[c] = T(products[c] * scale(c));
    }
}

// The same for gamma of batch normalisation, where the products were computed with x - mean.
template <class T>
inline void add_norm_chunks(const Chunks<T> &chunks, const T *var, double epsilon, T *dgamma, T *dbeta) {
    const auto inverse = [=](std::int64_t c) { return 1 / std::sqrt(double(var[c]) + epsilon); };
    add_chunks(chunks, dgamma, dbeta, inverse);
}

template <class T> Chunks<T> gradient_chunks(const Call &call) {
    const MatrixSizes size = call.sizes<MatrixSizes>();
    return {call.scratch, size.M, size.C, 2};
}
template <class T> ScratchNeeds chunk_sums_scratch(const Call &call) {
    return gradient_chunks<T>(call).needs();
}

// --- batch normalisation ---

// Moves a running moment of C channels towards that of the batch; `before` keeps the old values.
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
    using op = operands::RUNNING_MOMENTS;
    if (part != 0) return;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const double count = double(call.sizes<MatrixSizes>().M);
    const T momentum = T(call.scalar[0]), unbiased = T(count / (count - 1));
    T *const before = call.out<T>(op::before);
    move_running(call.in<T>(op::mean), C, momentum, T(1), call.out<T>(op::running_mean), before);
    move_running(call.in<T>(op::var), C, momentum, unbiased, call.out<T>(op::running_var), before + C);
}

// y = (x - mean) gamma / sqrt(var + epsilon) + beta
// x (M, C), mean, var (C,), gamma, beta (C,) or null -> y (M, C).  scalar[0]: epsilon
template <class T> void batch_norm_forward(const Call &call, int part, int parts) {
    using op = operands::BATCH_NORM_FORWARD;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const T epsilon = T(call.scalar[0]);
    for_row_blocks<T>(call.sizes<MatrixSizes>().M, C, part, parts, [&](auto block, Range rows) {
        const auto mean = block.load(call.in<T>(op::mean)), beta = block.load_or(call.in<T>(op::beta), 0);
        const auto inverse = block.each([=](auto var) { return inverse_deviation<T>(var, epsilon); },
                                        block.load(call.in<T>(op::var)));
        const auto scale = block.each(TIMES, block.load_or(call.in<T>(op::gamma), 1), inverse);
        for (std::int64_t m = rows.begin; m < rows.end; ++m)
            block.store(call.out<T>(op::y) + m * C,
                        block.each(normalized<T>, block.load(call.in<T>(op::x) + m * C), mean, scale, beta));
    });
}

// dgamma = sum_m dy (x - mean) / sqrt(var + epsilon), dbeta = sum_m dy
// x, dy (M, C), mean, var (C,) -> dgamma, dbeta (C,).  scalar[0]: epsilon
template <class T> void batch_norm_sums(const Call &call, int part, int parts) {
    using op = operands::BATCH_NORM_SUMS;
    const T *const x = call.in<T>(op::x), *const dy = call.in<T>(op::dy);
    chunk_sums<T>(gradient_chunks<T>(call), part, parts, [&](auto block, std::int64_t) {
        return [=, C = call.sizes<MatrixSizes>().C, mean = block.load(call.in<T>(op::mean))](std::int64_t m) {
            return std::pair(block.load(dy + m * C), block.each(MINUS, block.load(x + m * C), mean));
        };
    });
}
template <class T> void batch_norm_sums_finish(const Call &call) {
    using op = operands::BATCH_NORM_SUMS;
    add_norm_chunks(gradient_chunks<T>(call), call.in<T>(op::var), call.scalar[0], call.out<T>(op::dgamma),
                    call.out<T>(op::dbeta));
}

// scale, a and b of norm_gradient for a block.
template <class T, class B> struct NormGradient {
    using Values = typename B::Values;
    Values mean, scale, a, b;

    // M rows; mean, var (C,), gamma, dgamma, dbeta (C,) or null
    NormGradient(B block, std::int64_t M, const T *of_batch, const T *var, const T *gamma, T epsilon,
                 const T *dgamma, const T *dbeta)
        : mean(block.load(of_batch)) {
        const Values inverse =
            block.each([=](auto v) { return inverse_deviation<T>(v, epsilon); }, block.load(var));
        const Values per_row = block.all(T(1 / double(M)));
        scale = block.each(TIMES, block.load_or(gamma, 1), inverse);
        a = block.each(TIMES, block.load_or(dbeta, 0), per_row);
        b = block.each(TIMES, block.each(TIMES, block.load_or(dgamma, 0), per_row), inverse);
    }
    Values operator()(B block, const Values &x, const Values &dy) const {
        return block.each(norm_gradient<T>, x, dy, mean, scale, a, b);
    }
};

// dx = gamma rstd (dy - dbeta / M - xhat dgamma / M), rstd = 1 / sqrt(var + epsilon), xhat = (x - mean) rstd;
// without dgamma and dbeta the moments do not depend on x, and only the first term remains.
// x, dy (M, C), mean, var (C,), gamma, dgamma, dbeta (C,) or null -> dx (M, C).  scalar[0]: epsilon
template <class T> void batch_norm_dx(const Call &call, int part, int parts) {
    using op = operands::BATCH_NORM_DX;
    const MatrixSizes size = call.sizes<MatrixSizes>();
    const std::int64_t M = size.M, C = size.C;
    const T *const x = call.in<T>(op::x), *const dy = call.in<T>(op::dy);
    for_row_blocks<T>(M, C, part, parts, [&](auto block, Range rows) {
        const NormGradient<T, decltype(block)> gradient(block, M, call.in<T>(op::mean), call.in<T>(op::var),
                                                        call.in<T>(op::gamma), T(call.scalar[0]),
                                                        call.in<T>(op::dgamma), call.in<T>(op::dbeta));
        for (std::int64_t m = rows.begin; m < rows.end; ++m)
            block.store(call.out<T>(op::dx) + m * C,
                        gradient(block, block.load(x + m * C), block.load(dy + m * C)));
    });
}

// --- layer normalisation ---

// The sum of f(e, n) over the vectors of a row.
template <class T, class F> inline T sum_row(std::int64_t C, F f) {
    return sum_lanes<T>(accumulate<T>(0, C, Vec<T>{}, [=](Vec<T> sum, std::int64_t e, int n) {
        return sum + keep_first<T>(f(e, n), n, T(0));
    }));
}

// y = (x - mean) gamma / sqrt(var + epsilon) + beta, with the mean and variance of each row. `moments` keeps
// the mean and 1 / sqrt(var + epsilon). x (M, C), gamma, beta (C,) or null -> y (M, C), moments (M, 2).
// scalar[0]: epsilon
template <class T> void layer_norm_forward(const Call &call, int part, int parts) {
    using op = operands::LAYER_NORM_FORWARD;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const T *const gamma = call.in<T>(op::gamma), *const beta = call.in<T>(op::beta);
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *const x = call.in<T>(op::x) + m * C;
        T *const y = call.out<T>(op::y) + m * C;
        const T first = sum_row<T>(C, [=](std::int64_t e, int n) { return load_n(x + e, n); }) / T(C);
        // The rounding error of the mean.
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
        call.out<T>(op::moments)[2 * m] = mean[0];
        call.out<T>(op::moments)[2 * m + 1] = inverse[0];
    }
}

// dx = (dy gamma - mean_c(dy gamma) - xhat mean_c(dy gamma xhat)) / sqrt(var + epsilon), xhat as in y = xhat
// gamma + beta.
// x, dy (M, C), gamma (C,) or null, moments (M, 2) -> dx (M, C)
template <class T> void layer_norm_dx(const Call &call, int part, int parts) {
    using op = operands::LAYER_NORM_DX;
    const std::int64_t C = call.sizes<MatrixSizes>().C;
    const T *const gamma = call.in<T>(op::gamma);
    const Range rows = share(call.sizes<MatrixSizes>().M, part, parts);
    for (std::int64_t m = rows.begin; m < rows.end; ++m) {
        const T *const x = call.in<T>(op::x) + m * C, *const dy = call.in<T>(op::dy) + m * C;
        const T mean = call.in<T>(op::moments)[2 * m], inverse = call.in<T>(op::moments)[2 * m + 1];
        const auto g = [=](std::int64_t e, int n) {
            return gamma ? load_n(dy + e, n) * load_n(gamma + e, n) : load_n(dy + e, n);
        };
        const T a = sum_row<T>(C, g) / T(C);
        const T products =
            sum_row<T>(C, [=](std::int64_t e, int n) { return g(e, n) * (load_n(x + e, n) - mean); });
        const T b = products / T(C) * inverse * inverse;
        T *const dx = call.out<T>(op::dx) + m * C;
        for_vectors<T>(0, C, [=](std::int64_t e, int n) {
            store_n(dx + e,
                    norm_gradient<T>(load_n(x + e, n), g(e, n), broadcast(mean), broadcast(inverse),
                                     broadcast(a), broadcast(b)),
                    n);
        });
    }
}

// dgamma = sum_m dy xhat, dbeta = sum_m dy
// x, dy (M, C), moments (M, 2) -> dgamma, dbeta (C,)
template <class T> void layer_norm_dw(const Call &call, int part, int parts) {
    using op = operands::LAYER_NORM_DW;
    const T *const x = call.in<T>(op::x), *const dy = call.in<T>(op::dy),
                   *const moments = call.in<T>(op::moments);
    chunk_sums<T>(gradient_chunks<T>(call), part, parts, [&](auto block, std::int64_t) {
        return [=, C = call.sizes<MatrixSizes>().C](std::int64_t m) {
            const T mean = moments[2 * m], inverse = moments[2 * m + 1];
            return std::pair(block.load(dy + m * C),
                             block.each([=](auto v) { return (v - mean) * inverse; }, block.load(x + m * C)));
        };
    });
}
template <class T> void layer_norm_dw_finish(const Call &call) {
    using op = operands::LAYER_NORM_DW;
    add_chunks(gradient_chunks<T>(call), call.out<T>(op::dgamma), call.out<T>(op::dbeta),
               [](std::int64_t) { return 1.0; });
}

}  // namespace fastnn
