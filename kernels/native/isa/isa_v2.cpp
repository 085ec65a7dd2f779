// x86-64-v2: SSE4.2, 16-byte vectors.
#define ISA v2
#include "isa/isa.inc"
