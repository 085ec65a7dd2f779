// x86-64-v4: AVX-512, 64-byte vectors.
#define ISA v4
#include "isa/isa.inc"
