// Group normalisation of samples (N, S, C): S positions of C channels, in groups of neighbouring channels.
//
// The parts divide the samples. The sums over the positions of a sample are computed in chunks
// (row_sums.hpp), which are added in double, in ascending order.
#pragma once

#include "families/norm.hpp"

namespace fastnn {

// The work space of a sample: two rows of double, then two rows of T.
template <class T> struct GroupSums {
    std::int64_t S, C, groups;
    double *total;
    T *row;

    GroupSums(const GroupSizes &size, char *memory)
        : S(size.S), C(size.C), groups(size.groups), total(reinterpret_cast<double *>(memory)),
          row(reinterpret_cast<T *>(memory + 2 * C * std::int64_t(sizeof(double)))) {}

    static std::int64_t bytes(std::int64_t C) { return 2 * C * std::int64_t(sizeof(double) + sizeof(T)); }

    // total[c] = sum of the values, total[C + c] = sum of value times factor, over the positions.
    // `from(block)` returns a function that returns (value, factor) of a position.
    template <class From> void add_up(From from) const {
        for (std::int64_t c = 0; c < 2 * C; ++c) total[c] = 0;
        for (std::int64_t begin = 0; begin < S; begin += CHUNK_ROWS) {
            const std::int64_t end = begin + CHUNK_ROWS < S ? begin + CHUNK_ROWS : S;
            for_blocks<T>(C, [&](auto block) {
                auto next = from(block);
                auto sum = block.all(0), products = sum;
                for (std::int64_t s = begin; s < end; ++s) {
                    const auto [value, factor] = next(s);
                    sum = block.each(PLUS, sum, value);
                    products = block.each(FMA, value, factor, products);
                }
                block.store(row, sum);
                block.store(row + C, products);
            });
            for (std::int64_t c = 0; c < 2 * C; ++c) total[c] += row[c];
        }
    }

    // Calls body(first channel, end, mean of total, mean of total + C) for each group; the means are over all
    // elements of the group. `weight` (C,), or null for ones, multiplies the totals.
    template <class Body> void for_groups(const T *weight, Body body) const {
        const std::int64_t width = C / groups;
        const double count = double(S * width);
        for (std::int64_t first = 0; first < C; first += width) {
            double sum = 0, products = 0;
            for (std::int64_t c = first; c < first + width; ++c) {
                const double factor = weight ? weight[c] : 1;
                sum += factor * total[c];
                products += factor * total[C + c];
            }
            body(first, first + width, sum / count, products / count);
        }
    }
};

template <class T> ScratchNeeds group_norm_scratch(const Call &call) {
    return {0, 0, GroupSums<T>::bytes(call.sizes<GroupSizes>().C)};
}

// y = (x - mean) gamma / sqrt(var + epsilon) + beta, with the mean and variance of each sample and group.
// `moments` keeps the mean and 1 / sqrt(var + epsilon), once for each channel.
// x (N, S, C), gamma, beta (C,) or null -> y (N, S, C), moments (N, 2, C).  scalar[0]: epsilon
template <class T> void group_norm_forward(const Call &call, int part, int parts) {
    using op = operands::GROUP_NORM_FORWARD;
    const GroupSizes size = call.sizes<GroupSizes>();
    const std::int64_t S = size.S, C = size.C;
    const GroupSums<T> sums(size, reinterpret_cast<char *>(scratch_of<T>(call, part)));
    const T *const gamma = call.in<T>(op::gamma), *const beta = call.in<T>(op::beta);
    const Range mine = share(size.N, part, parts);
    for (std::int64_t n = mine.begin; n < mine.end; ++n) {
        const T *const x = call.in<T>(op::x) + n * S * C;
        T *const y = call.out<T>(op::y) + n * S * C;
        T *const mean = call.out<T>(op::moments) + n * 2 * C, *const inverse = mean + C;
        sums.add_up([&](auto block) {
            return [=](std::int64_t s) { return std::pair(block.load(x + s * C), block.all(0)); };
        });
        sums.for_groups(nullptr, [&](std::int64_t begin, std::int64_t end, double center, double) {
            std::fill(mean + begin, mean + end, T(center));
        });
        sums.add_up([&](auto block) {
            return [=, center = block.load(mean)](std::int64_t s) {
                const auto d = block.each(MINUS, block.load(x + s * C), center);
                return std::pair(d, d);
            };
        });
        // `rest` is the rounding error of the first mean.
        sums.for_groups(nullptr, [&](std::int64_t begin, std::int64_t end, double rest, double squares) {
            const double var = squares - rest * rest;
            std::fill(mean + begin, mean + end, T(mean[begin] + rest));
            std::fill(inverse + begin, inverse + end,
                      T(1 / std::sqrt((var < 0 ? 0 : var) + call.scalar[0])));
        });
        for_blocks<T>(C, [&](auto block) {
            const auto center = block.load(mean), shift = block.load_or(beta, 0);
            const auto scale = block.each(TIMES, block.load_or(gamma, 1), block.load(inverse));
            for (std::int64_t s = 0; s < S; ++s)
                block.store(y + s * C,
                            block.each(normalized<T>, block.load(x + s * C), center, scale, shift));
        });
    }
}

// dx = (g - mean(g) - xhat mean(g xhat)) / sqrt(var + epsilon) with g = dy gamma, xhat = (x - mean) /
// sqrt(var + epsilon), and means over each sample and group.
// x, dy (N, S, C), gamma (C,) or null, moments (N, 2, C) -> dx (N, S, C)
template <class T> void group_norm_dx(const Call &call, int part, int parts) {
    using op = operands::GROUP_NORM_DX;
    const GroupSizes size = call.sizes<GroupSizes>();
    const std::int64_t S = size.S, C = size.C;
    const GroupSums<T> sums(size, reinterpret_cast<char *>(scratch_of<T>(call, part)));
    const T *const gamma = call.in<T>(op::gamma);
    const Range mine = share(size.N, part, parts);
    for (std::int64_t n = mine.begin; n < mine.end; ++n) {
        const T *const x = call.in<T>(op::x) + n * S * C, *const dy = call.in<T>(op::dy) + n * S * C;
        const T *const mean = call.in<T>(op::moments) + n * 2 * C, *const inverse = mean + C;
        T *const dx = call.out<T>(op::dx) + n * S * C, *const a = sums.row, *const b = a + C;
        sums.add_up([&](auto block) {
            return [=, center = block.load(mean)](std::int64_t s) {
                return std::pair(block.load(dy + s * C),
                                 block.each(MINUS, block.load(x + s * C), center));
            };
        });
        sums.for_groups(gamma, [&](std::int64_t begin, std::int64_t end, double of_g, double of_product) {
            std::fill(a + begin, a + end, T(of_g));
            std::fill(b + begin, b + end, T(of_product * inverse[begin] * inverse[begin]));
        });
        for_blocks<T>(C, [&](auto block) {
            const auto center = block.load(mean), scale = block.load(inverse), weight = block.load_or(gamma, 1);
            const auto of_g = block.load(a), of_product = block.load(b);
            for (std::int64_t s = 0; s < S; ++s)
                block.store(dx + s * C, block.each(norm_gradient<T>, block.load(x + s * C),
                                                   block.each(TIMES, block.load(dy + s * C), weight), center,
                                                   scale, of_g, of_product));
        });
    }
}

template <class T> Chunks<T> position_chunks(const Call &call) {
    const GroupSizes size = call.sizes<GroupSizes>();
    return {call.scratch, size.N * size.S, size.C, 2};
}
template <class T> ScratchNeeds group_norm_dw_scratch(const Call &call) {
    return position_chunks<T>(call).needs();
}

// dgamma = sum over samples and positions of dy xhat, dbeta = sum of dy
// x, dy (N, S, C), moments (N, 2, C) -> dgamma, dbeta (C,)
template <class T> void group_norm_dw(const Call &call, int part, int parts) {
    using op = operands::GROUP_NORM_DW;
    const GroupSizes size = call.sizes<GroupSizes>();
    const T *const x = call.in<T>(op::x), *const dy = call.in<T>(op::dy),
                   *const moments = call.in<T>(op::moments);
    chunk_sums<T>(position_chunks<T>(call), part, parts, [&](auto block, std::int64_t) {
        return [=, S = size.S, C = size.C](std::int64_t m) {
            const T *const mean = moments + m / S * 2 * C;
            const auto d = block.each(MINUS, block.load(x + m * C), block.load(mean));
            return std::pair(block.load(dy + m * C), block.each(TIMES, d, block.load(mean + C)));
        };
    });
}
template <class T> void group_norm_dw_finish(const Call &call) {
    using op = operands::GROUP_NORM_DW;
    add_chunks(position_chunks<T>(call), call.out<T>(op::dgamma), call.out<T>(op::dbeta),
               [](std::int64_t) { return 1.0; });
}

}  // namespace fastnn
