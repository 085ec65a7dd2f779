// Counter-based random bits (SplitMix64, Steele, Lea & Flood 2014) and dropout.
#pragma once

#include <algorithm>

#include "plan/call.hpp"

namespace fastnn {

constexpr std::uint64_t GOLDEN = 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio, SplitMix64's increment

// A bijection of 64-bit words whose output bits all depend on all input bits.
inline std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// bits = mix(key + GOLDEN mix(count)), count += 1.  state (key, count), bits
inline void random_next(const Call &call, int part, int) {
    using op = operands::RANDOM_NEXT;
    if (part != 0) return;
    std::uint64_t *const state = call.out<std::uint64_t>(op::state);
    *call.out<std::uint64_t>(op::bits) = mix(state[0] + GOLDEN * mix(state[1]));
    ++state[1];
}

// The words of random bits that are drawn together, a vector of them at a time.
constexpr std::int64_t WORDS_TOGETHER = 32;

// y_e = x_e * (1 / (1 - rate) if u_e >= rate else 0); two elements share a word of random bits
template <class T> void dropout(const Call &call, int part, int parts) {
    using op = operands::DROPOUT;
    const std::uint64_t key = *call.in<std::uint64_t>(op::bits);
    const double rate = call.scalar[0];
    const T scale = rate < 1 ? T(1 / (1 - rate)) : T(0);
    // With rate 1 the bits do not matter.
    const std::uint32_t threshold = rate < 1 ? std::uint32_t(rate * 4294967296.0) : 0;
    const Range range = share(call.sizes<Elements>().count, part, parts, 2);
    for (std::int64_t e = range.begin; e < range.end; e += 2 * WORDS_TOGETHER) {
        std::uint32_t half[2 * WORDS_TOGETHER];
        for (std::int64_t i = 0; i < WORDS_TOGETHER; ++i) {
            const std::uint64_t word = mix(key + GOLDEN * std::uint64_t(e / 2 + i + 1));
            half[2 * i] = std::uint32_t(word);
            half[2 * i + 1] = std::uint32_t(word >> 32);
        }
        const T *x = call.in<T>(op::x) + e;
        T *y = call.out<T>(op::y) + e;
        const std::int64_t count = std::min(range.end - e, 2 * WORDS_TOGETHER);
        for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] * (half[i] >= threshold ? scale : T(0));
    }
}

}  // namespace fastnn
