// SIMD vectors of the instruction set that this file is compiled for, by GCC and Clang vector extensions.
//
// Only the isa_*.cpp files include this header. The vector width is a compile-time constant of the build:
// 64-byte vectors in an AVX2 build are spilled to memory and run at a tenth of the speed.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

// NEON with fused multiply-add and 32 registers, which every processor for aarch64 has. (The portable build
// leaves it to the compiler, as on other machines.)
#if defined(__aarch64__) && !defined(FASTNN_PORTABLE)
#define FASTNN_NEON
#include <arm_neon.h>
#endif

// For functions that GCC would otherwise not inline when they are used often: their vectors would be passed
// through memory, and a constant n would not be a constant inside of them.
#define INLINED __attribute__((always_inline))

namespace fastnn {

// Whether fma rounds once, and whether there are 32 vector registers rather than 16.
#if defined(__FMA__) || defined(FASTNN_NEON)
constexpr bool FUSED = true;
#else
constexpr bool FUSED = false;
#endif
#if defined(__AVX512F__) || defined(FASTNN_NEON)
constexpr bool MANY_REGISTERS = true;
#else
constexpr bool MANY_REGISTERS = false;
#endif

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif

template <class T> struct VectorOf;
template <> struct VectorOf<float> {
    typedef std::int32_t integer __attribute__((vector_size(VECTOR_BYTES)));
    typedef std::uint32_t bits __attribute__((vector_size(VECTOR_BYTES)));
    typedef float type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef float unaligned __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(4)));
};
template <> struct VectorOf<double> {
    typedef std::int64_t integer __attribute__((vector_size(VECTOR_BYTES)));
    typedef std::uint64_t bits __attribute__((vector_size(VECTOR_BYTES)));
    typedef double type __attribute__((vector_size(VECTOR_BYTES), may_alias));
    typedef double unaligned __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(8)));
};

template <class T> using Vec = typename VectorOf<T>::type;
template <class T> using IntVec = typename VectorOf<T>::integer;  // of the same width, for masks
template <class T> using Bits = typename VectorOf<T>::bits;       // the same; may overflow and be shifted

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

// Elementwise mask ? yes : no, for the result of a comparison.
template <class T, class Mask> inline Vec<T> select(Mask mask, Vec<T> yes, Vec<T> no) {
    return mask ? yes : no;
}

// 0, 1, 2, ...
template <class T> inline IntVec<T> lane_numbers() {
    IntVec<T> lane{};
#pragma GCC unroll 16
    for (int i = 0; i < LANES<T>; ++i) lane[i] = i;
    return lane;
}

// Whether loading the first elements of a vector is as fast as loading a whole one.
#if defined(__AVX2__)
constexpr bool MASKED_LOADS = true;
#else
constexpr bool MASKED_LOADS = false;
#endif

// Loads the first n elements, 0 <= n <= LANES, of memory that may end right after them; the others are 0.
#if defined(__AVX512F__)
inline Vec<float> load_first(const float *p, int n) { return _mm512_maskz_loadu_ps((1u << n) - 1, p); }
inline Vec<double> load_first(const double *p, int n) { return _mm512_maskz_loadu_pd((1u << n) - 1, p); }
inline void store_first(float *p, Vec<float> v, int n) { _mm512_mask_storeu_ps(p, (1u << n) - 1, v); }
inline void store_first(double *p, Vec<double> v, int n) { _mm512_mask_storeu_pd(p, (1u << n) - 1, v); }
#elif defined(__AVX2__)
inline Vec<float> load_first(const float *p, int n) {
    return _mm256_maskload_ps(p, (__m256i)(lane_numbers<float>() < n));
}
inline Vec<double> load_first(const double *p, int n) {
    return _mm256_maskload_pd(p, (__m256i)(lane_numbers<double>() < n));
}
// Stores piece by piece, because masked stores are slow on AMD processors and later loads from the same line
// wait for them (convolution of LeNet to 6 channels on Zen 3: 0.19 -> 0.15 ms).
inline void store_first(float *p, Vec<float> v, int n) {
    if (n == 8) return store(p, v);
    __m128 rest = _mm256_castps256_ps128((__m256)v);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps((__m256)v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi(reinterpret_cast<__m64 *>(p), rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
}
inline void store_first(double *p, Vec<double> v, int n) {
    if (n == 4) return store(p, v);
    __m128d rest = _mm256_castpd256_pd128((__m256d)v);
    if (n & 2) {
        _mm_storeu_pd(p, rest);
        rest = _mm256_extractf128_pd((__m256d)v, 1);
        p += 2;
    }
    if (n & 1) _mm_store_sd(p, rest);
}
#elif defined(FASTNN_NEON)
inline Vec<float> load_first(const float *p, int n) {
    if (n == 4) return load(p);
    Vec<float> v{};
    if (n & 1) v[0] = p[n - 1];  // and below the pair, if there is one
    if (n & 2) v = vcombine_f32(vld1_f32(p), vget_low_f32(v));
    return v;
}
inline Vec<double> load_first(const double *p, int n) {
    if (n == 2) return load(p);
    Vec<double> v{};
    if (n & 1) v[0] = *p;
    return v;
}
inline void store_first(float *p, Vec<float> v, int n) {
    if (n == 4) return store(p, v);
    if (n & 2) vst1_f32(p, vget_low_f32(v));
    if (n & 1) p[n - 1] = n & 2 ? v[2] : v[0];
}
inline void store_first(double *p, Vec<double> v, int n) {
    if (n == 2) return store(p, v);
    if (n & 1) *p = v[0];
}
#else
template <class T> inline Vec<T> load_first(const T *p, int n) {
    Vec<T> v{};
    std::memcpy(&v, p, std::size_t(n) * sizeof(T));
    return v;
}
template <class T> inline void store_first(T *p, Vec<T> v, int n) {
    n = n < LANES<T> ? n : LANES<T>;  // as it is already; but GCC 12 warns of reading beyond v
    std::memcpy(p, &v, std::size_t(n) * sizeof(T));
}
#endif

// The first n elements of v, and `filling` in the others.
template <class T> INLINED inline Vec<T> keep_first(Vec<T> v, int n, T filling) {
    return n == LANES<T> ? v : select<T>(lane_numbers<T>() < n, v, broadcast(filling));
}

// table[index], lane by lane.
#if defined(__AVX512F__)
inline Vec<float> look_up(const float *table, IntVec<float> index) {
    return _mm512_i32gather_ps((__m512i)index, table, sizeof(float));
}
inline Vec<double> look_up(const double *table, IntVec<double> index) {
    return _mm512_i64gather_pd((__m512i)index, table, sizeof(double));
}
#elif defined(__AVX2__)
inline Vec<float> look_up(const float *table, IntVec<float> index) {
    return _mm256_i32gather_ps(table, (__m256i)index, sizeof(float));
}
inline Vec<double> look_up(const double *table, IntVec<double> index) {
    return _mm256_i64gather_pd(table, (__m256i)index, sizeof(double));
}
#else
template <class T> inline Vec<T> look_up(const T *table, typename VectorOf<T>::integer index) {
    Vec<T> v{};
    for (int i = 0; i < LANES<T>; ++i) v[i] = table[index[i]];
    return v;
}
#endif

// v[index], lane by lane.
template <class T> inline Vec<T> shuffled(Vec<T> v, typename VectorOf<T>::integer index);
#if defined(__AVX512F__)
template <> inline Vec<float> shuffled<float>(Vec<float> v, IntVec<float> index) {
    return _mm512_permutexvar_ps((__m512i)index, v);
}
template <> inline Vec<double> shuffled<double>(Vec<double> v, IntVec<double> index) {
    return _mm512_permutexvar_pd((__m512i)index, v);
}
#elif defined(__AVX2__)
template <> inline Vec<float> shuffled<float>(Vec<float> v, IntVec<float> index) {
    return _mm256_permutevar8x32_ps(v, (__m256i)index);
}
template <> inline Vec<double> shuffled<double>(Vec<double> v, IntVec<double> index) {
    // Lanes of 4 bytes: 2 index and 2 index + 1.
    const IntVec<double> halves = 2 * index | (2 * index + 1) << 32;
    return (Vec<double>)_mm256_permutevar8x32_ps((__m256)v, (__m256i)halves);
}
#else
template <class T> inline Vec<T> shuffled(Vec<T> v, typename VectorOf<T>::integer index) {
    Vec<T> found{};
    for (int i = 0; i < LANES<T>; ++i) found[i] = v[index[i]];
    return found;
}
#endif

// Lanes FROM... of the vectors a and b, as if b followed a.
template <int... FROM, class V> inline auto lanes(V a, V b) {
#if __has_builtin(__builtin_shufflevector)
    return __builtin_shufflevector(a, b, FROM...);
#else  // GCC before 12
    typedef std::decay_t<decltype(a[0])> T;
    constexpr int N = sizeof(V) / sizeof(T);
    typedef T Result __attribute__((vector_size(sizeof...(FROM) * sizeof(T))));
    return Result{(FROM < N ? a[FROM % N] : b[FROM % N])...};
#endif
}

// Half `HALF` (0 or 1) of a vector. (Copying it from memory would make GCC keep the whole vector in memory.)
template <int HALF, class V, int... I> inline auto half_of(V v, std::integer_sequence<int, I...>) {
    return lanes<(HALF * int(sizeof...(I)) + I)...>(v, v);
}

// Half a vector from each of two places.
template <class T> constexpr int HALF = LANES<T> / 2;
#if defined(__AVX512DQ__)
inline Vec<float> load_halves(const float *a, const float *b) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(a)), _mm256_loadu_ps(b), 1);
}
inline Vec<double> load_halves(const double *a, const double *b) {
    return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(a)), _mm256_loadu_pd(b), 1);
}
#elif defined(__AVX__)
inline Vec<float> load_halves(const float *a, const float *b) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}
inline Vec<double> load_halves(const double *a, const double *b) {
    return _mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(a)), _mm_loadu_pd(b), 1);
}
#else
template <class T> inline Vec<T> load_halves(const T *a, const T *b) {
    T halves[LANES<T>];
    std::memcpy(halves, a, HALF<T> * sizeof(T));
    std::memcpy(halves + HALF<T>, b, HALF<T> * sizeof(T));
    return load(halves);
}
#endif

// v * s, computed in double and rounded once.
inline Vec<double> times_in_double(Vec<double> v, double s) { return v * s; }
template <int... I>
inline Vec<float> times_in_double(Vec<float> v, double s, std::integer_sequence<int, I...>) {
    const auto half = std::make_integer_sequence<int, LANES<float> / 2>();
    const auto low = half_of<0>(v, half), high = half_of<1>(v, half);
    typedef std::decay_t<decltype(low)> Half;
    const Half scaled_low = __builtin_convertvector(__builtin_convertvector(low, Vec<double>) * s, Half);
    const Half scaled_high = __builtin_convertvector(__builtin_convertvector(high, Vec<double>) * s, Half);
    return lanes<I...>(scaled_low, scaled_high);
}
inline Vec<float> times_in_double(Vec<float> v, double s) {
    return times_in_double(v, s, std::make_integer_sequence<int, LANES<float>>());
}

// The N lanes of v combined pairwise by f, halves first: an order that depends on N alone.
template <int N, class V, class F> inline auto fold(V v, F f) {
    if constexpr (N == 2) {
        return f(v[0], v[1]);
    } else {
        const auto half = std::make_integer_sequence<int, N / 2>();
        return fold<N / 2>(f(half_of<0>(v, half), half_of<1>(v, half)), f);
    }
}
template <class T, class F> inline T fold_lanes(Vec<T> v, F f) { return fold<LANES<T>>(v, f); }
template <class T> inline T sum_lanes(Vec<T> v) {
    return fold_lanes<T>(v, [](auto a, auto b) { return a + b; });
}

// Calls body(e, n) for each vector of elements: n = LANES, except for the remainder at the end.
template <class T, class Body> inline void for_vectors(std::int64_t begin, std::int64_t end, Body body) {
    std::int64_t e = begin;
    for (; e + LANES<T> <= end; e += LANES<T>) body(e, LANES<T>);
    if (e < end) body(e, int(end - e));
}

// Returns the accumulator after accumulator = f(accumulator, e, n) for each vector of elements. (An
// accumulator that is captured by reference goes through memory in every iteration with GCC 12.)
template <class T, class Accumulator, class F>
inline Accumulator accumulate(std::int64_t begin, std::int64_t end, Accumulator accumulator, F f) {
    std::int64_t e = begin;
    for (; e + LANES<T> <= end; e += LANES<T>) accumulator = f(accumulator, e, LANES<T>);
    return e < end ? f(accumulator, e, int(end - e)) : accumulator;
}

// `load` or `load_first`, `store` or `store_first`: n is a constant in the loop of `for_vectors`.
template <class T> INLINED inline Vec<T> load_n(const T *p, int n) {
    return n == LANES<T> ? load(p) : load_first(p, n);
}
template <class T> INLINED inline void store_n(T *p, Vec<T> v, int n) {
    if (n == LANES<T>)
        store(p, v);
    else
        store_first(p, v, n);
}

// a * b + c, with one rounding where the instruction set has FMA. It is written explicitly, because the
// compiler must not contract expressions by itself: it would do so differently in different kernels.
#if defined(__AVX512F__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__FMA__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(FASTNN_NEON)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return vfmaq_f32(c, a, b); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return vfmaq_f64(c, a, b); }
#else
template <class V> inline V fma(V a, V b, V c) { return a * b + c; }
#endif

#if defined(__AVX512F__)
inline Vec<float> square_root(Vec<float> x) { return _mm512_sqrt_ps(x); }
inline Vec<double> square_root(Vec<double> x) { return _mm512_sqrt_pd(x); }
#elif defined(__AVX__)
inline Vec<float> square_root(Vec<float> x) { return _mm256_sqrt_ps(x); }
inline Vec<double> square_root(Vec<double> x) { return _mm256_sqrt_pd(x); }
#elif defined(__SSE2__)
inline Vec<float> square_root(Vec<float> x) { return _mm_sqrt_ps(x); }
inline Vec<double> square_root(Vec<double> x) { return _mm_sqrt_pd(x); }
#elif defined(FASTNN_NEON)
inline Vec<float> square_root(Vec<float> x) { return vsqrtq_f32(x); }
inline Vec<double> square_root(Vec<double> x) { return vsqrtq_f64(x); }
#else
template <class V> inline V square_root(V x) {
    for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = std::sqrt(x[i]);
    return x;
}
#endif

// a > b ? a : b and a < b ? a : b, as the instructions compute them: b where a or b is nan.
#if defined(__AVX512F__)
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm512_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm512_max_pd(a, b); }
inline Vec<float> smaller(Vec<float> a, Vec<float> b) { return _mm512_min_ps(a, b); }
inline Vec<double> smaller(Vec<double> a, Vec<double> b) { return _mm512_min_pd(a, b); }
#elif defined(__AVX__)
inline Vec<float> larger(Vec<float> a, Vec<float> b) { return _mm256_max_ps(a, b); }
inline Vec<double> larger(Vec<double> a, Vec<double> b) { return _mm256_max_pd(a, b); }
inline Vec<float> smaller(Vec<float> a, Vec<float> b) { return _mm256_min_ps(a, b); }
inline Vec<double> smaller(Vec<double> a, Vec<double> b) { return _mm256_min_pd(a, b); }
#else
template <class V> inline V larger(V a, V b) { return a > b ? a : b; }
template <class V> inline V smaller(V a, V b) { return a < b ? a : b; }
#endif

// x clamped to [low, high]; nan stays nan.
template <class V> inline V clamp(V x, V low, V high) { return smaller(high, larger(low, x)); }

// Calls body(std::integral_constant<int, I>) for I = 0, ..., COUNT - 1.
template <class Body, int... I>
[[gnu::always_inline]] inline void for_constants(Body body, std::integer_sequence<int, I...>) {
    (body(std::integral_constant<int, I>()), ...);
}
template <int COUNT, class Body> [[gnu::always_inline]] inline void for_constants(Body body) {
    for_constants(body, std::make_integer_sequence<int, COUNT>());
}

// Calls body(std::integral_constant<int, n>()), n from 1 to MOST.
template <int MOST, class Body> inline void with_constant(std::int64_t n, Body body) {
    if (n == MOST)
        body(std::integral_constant<int, MOST>());
    else if constexpr (MOST > 1)
        with_constant<MOST - 1>(n, body);
}

}  // namespace fastnn
