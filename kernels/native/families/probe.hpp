// Measures the limits of this machine, to which all percentages refer: the FMA peak and the memory bandwidth.
#pragma once

#include "plan/call.hpp"
#include "gemm/gemm.hpp"
#include "simd/simd.hpp"

namespace fastnn {

// A compiler barrier: the compiler must assume that memory has changed.
inline void forget_memory() { asm volatile("" ::: "memory"); }

// The number of independent accumulators, as in the register tile of the matrix product.
constexpr int PROBE_CHAINS = TILE_COLUMNS * tile_rows(TILE_COLUMNS);

// Runs `rounds` rounds of independent chains of fused multiply-adds; every part runs all rounds. A result
// goes to x, so that the compiler cannot remove the loop.
template <class T> void probe_fma(const Call &call, int, int) {
    constexpr int CHAINS = PROBE_CHAINS;
    Vec<T> chain[CHAINS];
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; ++i) chain[i] = broadcast(T(i));
    const Vec<T> factor = broadcast(T(0.999)), term = broadcast(T(0.001));
    for (std::int64_t round = 0; round < call.sizes<ProbeSizes>().rounds; ++round) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; ++i) chain[i] = fma(chain[i], factor, term);
    }
    Vec<T> sum{};
#pragma GCC unroll 32
    for (int i = 0; i < CHAINS; ++i) sum += chain[i];
    if (sum[0] == T(-1)) *call.out<T>(operands::PROBE_FMA::x) = sum[0];
}

// FLOP of one round of probe_fma on one thread.
template <class T> constexpr double PROBE_FLOP = 2.0 * PROBE_CHAINS * LANES<T>;

// Reads `count` elements, divided among the parts, `rounds` times.
template <class T> void probe_read(const Call &call, int part, int parts) {
    constexpr int AT_ONCE = 8;
    const Range range = share(call.sizes<ProbeSizes>().count, part, parts, AT_ONCE * LANES<T>);
    const T *x = call.out<T>(operands::PROBE_READ::x);
    Vec<T> sum[AT_ONCE] = {};
    for (std::int64_t round = 0; round < call.sizes<ProbeSizes>().rounds; ++round) {
        for (std::int64_t e = range.begin; e + AT_ONCE * LANES<T> <= range.end; e += AT_ONCE * LANES<T>) {
#pragma GCC unroll 8
            for (int i = 0; i < AT_ONCE; ++i) sum[i] += load(x + e + i * LANES<T>);
        }
        forget_memory();
    }
    for (int i = 1; i < AT_ONCE; ++i) sum[0] += sum[i];
    if (sum[0][0] == T(-1)) *call.out<T>(operands::PROBE_READ::x) = T(0);
}

// Reads, changes and writes back `count` elements, divided among the parts, `rounds` times.
template <class T> void probe_update(const Call &call, int part, int parts) {
    const Range range = share(call.sizes<ProbeSizes>().count, part, parts, LANES<T>);
    T *x = call.out<T>(operands::PROBE_UPDATE::x);
    for (std::int64_t round = 0; round < call.sizes<ProbeSizes>().rounds; ++round) {
        for_vectors<T>(range.begin, range.end,
                       [=](std::int64_t e, int n) { store_n(x + e, -load_n(x + e, n), n); });
        forget_memory();
    }
}

}  // namespace fastnn
