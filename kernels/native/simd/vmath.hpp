// exp, expm1, log, log1p, sigmoid, tanh and the normal distribution on vectors, accurate to about one or two
// ulp over the whole range.
//
// exp(r) for |r| <= ln(2)/2 and the normal distribution are truncated Chebyshev series, computed by
// tests/kernels/fit_vmath.py; log(m) = 2 atanh(s) for |s| <= 0.172 is a Taylor series. The reductions are the
// classical ones (Muller, Elementary Functions, 3rd ed., chapters 5 and 11). tests/kernels/test_vmath.py
// checks the error bounds over all magnitudes, subnormals, inf and nan.
#pragma once

#include <cstdint>
#include <type_traits>

#include "simd/simd.hpp"

namespace fastnn {

template <class T> struct FloatTraits;
template <> struct FloatTraits<float> {
    static constexpr int mantissa_bits = 23, bias = 127;
    // Of (exp(r) - 1 - r) / r^2, in ascending powers.
    static constexpr float exp_series[] = {0.5f, 0.16666577f, 0.041666465f, 0.00836317557f, 0.00139336435f};
    static constexpr int log_terms = 4;              // s^10 / 11 < 0.1 ulp
    static constexpr float round_magic = 0x1.8p23f;  // adding it rounds to an integer
    static constexpr float log2_e = 0x1.715476p+0f;
    static constexpr float ln2 = 0x1.62e430p-1f;
    static constexpr float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f;  // high * n is exact
    static constexpr float overflow = 88.8f, underflow = -104.0f;               // exp is inf above, 0 below
    static constexpr float smallest_normal = 0x1p-126f, subnormal_scale = 0x1p25f;
    static constexpr int subnormal_shift = 25;
};
template <> struct FloatTraits<double> {
    static constexpr int mantissa_bits = 52, bias = 1023;
    static constexpr double exp_series[] = {
        0.5,
        0.16666666666666671,
        0.041666666666666677,
        0.0083333333333261403,
        0.0013888888888879081,
        0.00019841269874802173,
        2.4801587336422685e-5,
        2.7557255423879842e-6,
        2.7557263300178618e-7,
        2.5105207064644238e-8,
        2.0918129886609521e-9,
    };
    static constexpr int log_terms = 10;  // s^22 / 23 < 0.1 ulp
    static constexpr double round_magic = 0x1.8p52;
    static constexpr double log2_e = 0x1.71547652b82fep+0;
    static constexpr double ln2 = 0x1.62e42fefa39efp-1;
    static constexpr double ln2_high = 0x1.62e42fefa3800p-1, ln2_low = 0x1.ef35793c76730p-45;
    static constexpr double overflow = 709.8, underflow = -745.2;
    static constexpr double smallest_normal = 0x1p-1022, subnormal_scale = 0x1p54;
    static constexpr int subnormal_shift = 54;
};

// x = n ln(2) + r, |r| <= ln(2)/2; x within the range where n is a small integer. The low bits of `biased`
// are n + bias: shifted to the place of the exponent, they are 2^n, if that is a normal number.
template <class T> struct Reduced {
    Vec<T> n, r;
    Bits<T> biased;
};

template <class T> constexpr T biased_magic = FloatTraits<T>::round_magic + T(FloatTraits<T>::bias);

// With `IN_PARTS`, n ln(2) is subtracted in two parts. Otherwise ln(2) has an error, which is one of 0.03 |n|
// ulp of exp(x) in float32 and 0.2 |n| ulp in float64, and without FMA the product is rounded as well.
template <class T, bool IN_PARTS = true> INLINED inline Reduced<T> reduce(Vec<T> x) {
    using F = FloatTraits<T>;
    const Vec<T> magic = broadcast<T>(biased_magic<T>);
    const Vec<T> biased = fma(x, broadcast<T>(F::log2_e), magic), n = biased - magic;
    const Vec<T> r = fma(n, broadcast<T>(IN_PARTS ? -F::ln2_high : -F::ln2), x);
    return {n, IN_PARTS ? fma(n, broadcast<T>(-F::ln2_low), r) : r, (Bits<T>)biased};
}

// (exp(r) - 1 - r) / r^2 = 1/2! + r/3! + r^2/4! + ...
template <class T> INLINED inline Vec<T> exp_series(Vec<T> r) {
    constexpr auto &series = FloatTraits<T>::exp_series;
    constexpr int terms = std::extent_v<std::remove_reference_t<decltype(series)>>;
    Vec<T> sum = broadcast(series[terms - 1]);
#pragma GCC unroll 16
    for (int i = terms - 2; i >= 0; --i) sum = fma(sum, r, broadcast(series[i]));
    return sum;
}

// v 2^n for the n of a reduction, within twice the range of exponents, with gradual underflow.
#if defined(__AVX512F__)
inline Vec<float> scale(Vec<float> v, const Reduced<float> &by) { return _mm512_scalef_ps(v, by.n); }
inline Vec<double> scale(Vec<double> v, const Reduced<double> &by) { return _mm512_scalef_pd(v, by.n); }
#else
template <class T> INLINED inline Vec<T> scale(Vec<T> v, const Reduced<T> &by) {
    // Scale by two factors, since n can exceed the exponents of normal numbers on both sides.
    const Bits<T> one = (Bits<T>)broadcast<T>(1);
    const IntVec<T> n = (IntVec<T>)(by.biased - (Bits<T>)broadcast<T>(biased_magic<T>)), half = n >> 1;
    const auto power = [=](IntVec<T> k) {
        return (Vec<T>)(((Bits<T>)k << FloatTraits<T>::mantissa_bits) + one);
    };
    return v * power(half) * power(n - half);
}
#endif

// exp(x) for x within, or slightly beyond, the range where the result is neither 0 nor inf.
template <class T> INLINED inline Vec<T> exp_within(Vec<T> x) {
    const Reduced<T> by = reduce<T>(x);
    return scale(fma(exp_series<T>(by.r), by.r * by.r, by.r) + T(1), by);
}

// exp(x): inf on overflow, gradual underflow to subnormals and 0, nan for nan.
template <class T> INLINED inline Vec<T> exp(Vec<T> x) {
    using F = FloatTraits<T>;
    return exp_within<T>(clamp(x, broadcast<T>(F::underflow), broadcast<T>(F::overflow)));
}

// exp(x) - 1 for x <= 0, accurate near 0 too.
template <class T> INLINED inline Vec<T> expm1_of_negative(Vec<T> x) {
    using F = FloatTraits<T>;
    const Vec<T> low = broadcast<T>(-T(F::mantissa_bits + 3));  // below, the result rounds to -1
    const Reduced<T> by = reduce<T, false>(larger(low, x));     // its error is small compared with 1 - exp(x)
    const Vec<T> series = fma(exp_series<T>(by.r), by.r * by.r, by.r);
    const Vec<T> scale = (Vec<T>)(by.biased << F::mantissa_bits);
    return fma(series, scale, scale - T(1));
}

template <class T> inline IntVec<T> sign_bit() { return (IntVec<T>)broadcast(-T(0)); }

template <class T> inline Vec<T> absolute(Vec<T> x) { return (Vec<T>)((IntVec<T>)x & ~sign_bit<T>()); }

// |x| with the sign of y.
template <class T> inline Vec<T> copy_sign(Vec<T> x, Vec<T> y) {
    return (Vec<T>)(((IntVec<T>)x & ~sign_bit<T>()) | ((IntVec<T>)y & sign_bit<T>()));
}

// -|x|
template <class T> inline Vec<T> minus_absolute(Vec<T> x) { return (Vec<T>)((IntVec<T>)x | sign_bit<T>()); }

// 1 / (1 + exp(-x)) from exp(-|x|), which cannot overflow and keeps the relative accuracy on both sides.
template <class T> INLINED inline Vec<T> sigmoid(Vec<T> x) {
    const Vec<T> low = broadcast<T>(FloatTraits<T>::underflow);
    const Vec<T> e = exp_within<T>(larger(low, minus_absolute<T>(x)));
    return select<T>(x < T(0), e, broadcast<T>(1)) / (e + T(1));
}

// tanh|x| = -m / (m + 2) with m = exp(-2|x|) - 1.
template <class T> INLINED inline Vec<T> tanh(Vec<T> x) {
    const Vec<T> m = expm1_of_negative<T>(minus_absolute<T>(x) * T(2));
    return copy_sign<T>(m / (m + T(2)), x);
}

// log(x): -inf for 0, nan for negative x, inf for inf.
template <class T> INLINED inline Vec<T> log(Vec<T> x) {
    using F = FloatTraits<T>;
    const IntVec<T> subnormal = x < F::smallest_normal;
    const Vec<T> scaled = select<T>(subnormal, x * F::subnormal_scale, x);
    // x = 2^e m with sqrt(1/2) <= m < sqrt(2): the exponent of x / sqrt(1/2), found in its bits.
    const Bits<T> bits = (Bits<T>)scaled;
    const Bits<T> root_half = (Bits<T>)broadcast<T>(T(0.70710678118654752440));
    const IntVec<T> exponent = (IntVec<T>)(bits - root_half) >> F::mantissa_bits;
    const Vec<T> m = (Vec<T>)(bits - ((Bits<T>)exponent << F::mantissa_bits));
    Vec<T> e = __builtin_convertvector(exponent, Vec<T>);
    e = select<T>(subnormal, e - T(F::subnormal_shift), e);

    // log(m) = 2 atanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...), s = f / (2 + f), f = m - 1; written as
    // f - s (f - 2 s^2 (1/3 + s^2/5 + ...)) so that the leading term f is exact.
    const Vec<T> f = m - T(1), s = f / (f + T(2)), s2 = s * s;
    Vec<T> series = broadcast<T>(T(1) / T(2 * F::log_terms + 1));
#pragma GCC unroll 16
    for (int i = F::log_terms - 1; i >= 1; --i) series = fma(series, s2, broadcast<T>(T(1) / T(2 * i + 1)));
    const Vec<T> rest = s * (f - T(2) * s2 * series);
    const Vec<T> low = fma(e, broadcast<T>(F::ln2_low), -rest);
    const Vec<T> result = fma(e, broadcast<T>(F::ln2_high), f + low);

    const Vec<T> infinity = broadcast<T>(T(__builtin_inf())), nan = broadcast<T>(T(__builtin_nan("")));
    const Vec<T> special = select<T>(x == T(0), -infinity, select<T>(x == infinity, infinity, nan));
    return select<T>((x > T(0)) & (x < infinity), result, special);
}

// log(1 + x) for 0 <= x <= 1, accurate near 0 too: the rounding error of 1 + x is added back.
template <class T> INLINED inline Vec<T> log1p_of_small(Vec<T> x) {
    const Vec<T> u = x + T(1);
    return log<T>(u) + (x - (u - T(1))) / u;
}

// The standard normal distribution: the integral of the density up to x, and the density.
template <class T> struct Normal {
    Vec<T> integral, density;
};

// G(z) (z + 4) as a polynomial of t = (z - 4) / (z + 4), where exp(-z^2 / 2) G(z) is the integral from z to
// infinity; `beyond` is a z at which it and the density are 0.
template <class T> struct NormalSeries;
template <> struct NormalSeries<float> {
    static constexpr float beyond = 14.5f;
    static constexpr int terms = 12;
    static constexpr float coefficient[terms] = {
        0.755285131f,    -0.607896631f,  0.387137394f,    -0.18652216f,     0.0603966483f,  -0.00753771716f,
        -0.00347995464f, 0.00162204011f, 0.000133653387f, -0.000215573776f, -1.7310823e-6f, 2.11829843e-5f,
    };
};
template <> struct NormalSeries<double> {
    static constexpr double beyond = 39;
    static constexpr int terms = 25;
    static constexpr double coefficient[terms] = {
        0.75528513041575149,    -0.6078966419718923,     0.38713740074221492,    -0.18652185795963661,
        0.060396574890917872,   -0.0075401889673863126,  -0.0034796923670479736, 0.0016308184674099085,
        0.00013334430941183254, -0.00023109501736277426, -1.9082463514145711e-6, 3.5145111902837651e-5,
        7.166587641195121e-7,   -5.9216110459239774e-6,  -6.2983673384923691e-7, 1.0247851016552773e-6,
        2.7246296951145872e-7,  -1.597739614223922e-7,   -8.6866470159978928e-8, 1.7844927772981416e-8,
        2.1427603843452356e-8,  -5.8736267649871907e-10, -3.7306450818683703e-9, -1.1997782031253095e-10,
        3.4033123086494946e-10,
    };
};

// z^2 - square, where square is z * z rounded: by one fma or, where that rounds twice, by the halves of z,
// whose products have no rounding (Dekker, A Floating-Point Technique for Extending the Available Precision,
// 1971).
template <class T> inline Vec<T> lost_by_squaring(Vec<T> z, Vec<T> square) {
    if constexpr (FUSED) return fma(z, z, -square);
    constexpr int low_bits = (FloatTraits<T>::mantissa_bits + 2) / 2;
    const Vec<T> high = (Vec<T>)((Bits<T>)z >> low_bits << low_bits), low = z - high;
    return (high * high - square) + T(2) * high * low + low * low;
}

template <class T> INLINED inline Normal<T> normal(Vec<T> x) {
    using Series = NormalSeries<T>;
    const Vec<T> z = smaller(broadcast<T>(Series::beyond), absolute<T>(x));  // nan stays
    // The rounding error of z^2 would be one of z^2 / 2 times as many ulp in the exponential.
    const Vec<T> square = z * z, lost = lost_by_squaring<T>(z, square);
    const Vec<T> bare = exp_within<T>(square * T(-0.5)), e = fma(bare, lost * T(-0.5), bare);
    const Vec<T> over = T(1) / (z + T(4)), t = fma(broadcast<T>(-8), over, broadcast<T>(1));
    Vec<T> series = broadcast<T>(Series::coefficient[Series::terms - 1]);
#pragma GCC unroll 32
    for (int j = Series::terms - 2; j >= 0; --j)
        series = fma(series, t, broadcast<T>(Series::coefficient[j]));
    const Vec<T> tail = e * (series * over);
    return {select<T>(x < T(0), tail, T(1) - tail), e * T(0.39894228040143267794)};
}

}  // namespace fastnn
