// Fetches cache lines that are needed later, ahead of time.
#pragma once

#include <cstdint>

#include "simd/simd.hpp"

namespace fastnn {

// Into L2. On its way to L1, a line would occupy one of the few buffers of L1 for as long as the memory takes
// (dense_dw of 48000x784x10 on Zen 4: 16.7 -> 7.5 ms).
template <class T> INLINED inline void fetch_ahead(const T *place) { __builtin_prefetch(place, 0, 2); }

// The same for `count` elements. Inlined, as its caller must be: GCC drops calls of functions that only
// fetch.
template <class T> INLINED inline void fetch_ahead(const T *array, std::int64_t count) {
    constexpr std::int64_t LINE = 64 / sizeof(T);
    for (std::int64_t e = 0; e < count; e += LINE) fetch_ahead(array + e);
}

}  // namespace fastnn
