// Arrays of which most elements are 0, such as the gradients that come back through a max pool. Sums leave
// out the terms with such a factor: adding 0 changes nothing, provided that the other factor is finite (but
// the sign of a sum that underflowed to -0).
#pragma once

#include "simd/simd.hpp"

namespace fastnn {

// A bit for each lane that is not 0. (A nan is not.)
#if defined(__AVX512F__)
inline unsigned nonzero_lanes(Vec<float> v) { return _mm512_cmp_ps_mask(v, Vec<float>{}, _CMP_NEQ_UQ); }
inline unsigned nonzero_lanes(Vec<double> v) { return _mm512_cmp_pd_mask(v, Vec<double>{}, _CMP_NEQ_UQ); }
#elif defined(__AVX__)
inline unsigned nonzero_lanes(Vec<float> v) {
    return unsigned(_mm256_movemask_ps((__m256)(v != Vec<float>{})));
}
inline unsigned nonzero_lanes(Vec<double> v) {
    return unsigned(_mm256_movemask_pd((__m256d)(v != Vec<double>{})));
}
#elif defined(__SSE2__)
inline unsigned nonzero_lanes(Vec<float> v) { return unsigned(_mm_movemask_ps((__m128)(v != Vec<float>{}))); }
inline unsigned nonzero_lanes(Vec<double> v) {
    return unsigned(_mm_movemask_pd((__m128d)(v != Vec<double>{})));
}
#else
template <class V> INLINED inline unsigned nonzero_lanes(V v) {
    unsigned bits = 0;
    for (unsigned i = 0; i < sizeof(V) / sizeof(v[0]); ++i) bits |= unsigned(v[i] != 0) << i;
    return bits;
}
#endif

// Whether so few elements differ from 0 that finding them pays. Behind a max pool, at most a quarter do.
template <class T> bool is_sparse(const T *x, std::int64_t count) {
    std::int64_t others = 0;
    for_vectors<T>(0, count, [&](std::int64_t e, int n) {
        others += __builtin_popcount(nonzero_lanes(load_n(x + e, n)));
    });
    return 3 * others <= count;
}

template <class T> bool all_finite(const T *x, std::int64_t count) {
    const Vec<T> sum = accumulate<T>(0, count, Vec<T>{}, [=](Vec<T> sum, std::int64_t e, int n) {
        const Vec<T> v = load_n(x + e, n);
        return sum + (v - v);  // 0 or nan
    });
    return sum_lanes<T>(sum) == 0;
}

// The number of the lowest bit of a set, which is taken out.
template <class Set> INLINED inline int take_lowest(Set &bits) {
    const int lowest = __builtin_ctzll(bits);
    bits &= bits - 1;
    return lowest;
}

}  // namespace fastnn
