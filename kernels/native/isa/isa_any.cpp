// Any machine: what the compiler's defaults allow.
#define ISA any
#include "isa/isa.inc"
