// Vectors of the instruction set that this file is compiled for, by GCC and Clang vector extensions.
//
// Only the isa_*.cpp files include this. The width is a compile-time property of the build: 64-byte
// vectors in an AVX2 build spill everything and run at a tenth of the speed.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__FMA__)
#include <immintrin.h>
#endif

namespace fastnn {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
    typedef float type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef float unaligned __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
};
template <> struct VectorOf<double> {
    typedef double type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef double unaligned __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(8)));
};

template <class T> using Vec = typename VectorOf<T>::type;

// Elements of a vector.
template <class T> constexpr int LANES = VECTOR_BYTES / int(sizeof(T));

template <class T> inline Vec<T> load(const T *p) {
    return *reinterpret_cast<const typename VectorOf<T>::unaligned *>(p);
}

template <class T> inline void store(T *p, Vec<T> v) {
    *reinterpret_cast<typename VectorOf<T>::unaligned *>(p) = v;
}

// x - 0 is x for every x; x + 0 would turn -0 into +0.
template <class T> inline Vec<T> broadcast(T x) { return x - Vec<T>{}; }

// The first n elements, 0 <= n <= LANES, of memory that may end right behind them; the others are 0.
template <class T> inline Vec<T> load_first(const T *p, int n) {
    Vec<T> v{};
    std::memcpy(&v, p, std::size_t(n) * sizeof(T));
    return v;
}

template <class T> inline void store_first(T *p, Vec<T> v, int n) {
    std::memcpy(p, &v, std::size_t(n) * sizeof(T));
}

// a * b + c, in one rounding where the instruction set has it. Written out, because the compiler is told
// not to contract by itself: it would do so differently in different kernels.
#if defined(__AVX512F__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
#else
template <class V> inline V fma(V a, V b, V c) { return a * b + c; }
#endif

}  // namespace fastnn
