// Which instruction sets of x86-64 the processor and the operating system support.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fastnn {

// The highest level, 1 to 4 (x86-64 psABI, table 3.1); 0 on other processors. The operating system must save
// the registers of a level, as told by XCR0. Not by __builtin_cpu_supports: with Zig 0.17 it finds nothing.
inline int x86_64_level() {
#if defined(__x86_64__)
    // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
    constexpr unsigned V2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;
    // FMA, MOVBE, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2
    constexpr unsigned V3 = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29;
    constexpr unsigned V3_LEAF_7 = 1u << 3 | 1u << 5 | 1u << 8;
    // AVX-512 F, DQ, CD, BW, VL
    constexpr unsigned V4_LEAF_7 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    constexpr unsigned LAHF = 1u << 0, LZCNT = 1u << 5;
    constexpr unsigned AVX_STATE = 0x06, AVX512_STATE = 0xE6;  // in XCR0
    unsigned a, b, c, d, features = 0, leaf_7 = 0, extended = 0;
    if (__get_cpuid(1, &a, &b, &c, &d)) features = c;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) leaf_7 = b;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) extended = c;
    if ((features & V2) != V2 || !(extended & LAHF)) return 1;
    if ((features & V3) != V3 || (leaf_7 & V3_LEAF_7) != V3_LEAF_7 || !(extended & LZCNT)) return 2;
    unsigned saved, high;
    asm volatile("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & AVX_STATE) != AVX_STATE) return 2;
    if ((leaf_7 & V4_LEAF_7) != V4_LEAF_7 || (saved & AVX512_STATE) != AVX512_STATE) return 3;
    return 4;
#else
    return 0;
#endif
}

// Whether there is AVX512_BF16, beyond level 4.
inline bool x86_64_has_bf16() {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    return x86_64_level() == 4 && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5);
#else
    return false;
#endif
}

}  // namespace fastnn
