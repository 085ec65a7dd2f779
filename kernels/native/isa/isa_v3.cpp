// x86-64-v3: AVX2 and FMA, 32-byte vectors.
#define ISA v3
#include "isa/isa.inc"
