// What kernels.def says about each kernel, as enumerators and as a table.
#pragma once

#include <cstring>
#include <string>

namespace fastnn {

// A kernel: the row of the table of an instruction set.
enum KernelId : int {
#define KERNEL(id, family, operands) id,
#include "plan/kernels.def"
    KERNEL_COUNT
};

// The positions of the operands of each kernel in Call::array: operands::DENSE_FORWARD::x.
namespace operands {
#define IN(name) name,
#define OUT(name) name,
#define KERNEL(id, family, operands)                                                                         \
    struct id {                                                                                              \
        enum : int { operands END };                                                                         \
    };
#include "plan/kernels.def"
}  // namespace operands

constexpr int MAX_OPERANDS = 10;

struct OperandInfo {
    const char *name;  // null behind the last one
    bool is_output;
};

struct KernelInfo {
    const char *name, *family;
    OperandInfo operands[MAX_OPERANDS];
};

inline constexpr KernelInfo KERNELS[KERNEL_COUNT] = {
#define IN(name) {#name, false},
#define OUT(name) {#name, true},
#define KERNEL(id, family, operands) {#id, #family, {operands}},
#include "plan/kernels.def"
};

// The name in profiles and messages: "dense_forward".
inline std::string kernel_name(KernelId kernel) {
    std::string name = KERNELS[kernel].name;
    for (char &letter : name)
        if (letter >= 'A' && letter <= 'Z') letter = char(letter - 'A' + 'a');
    return name;
}

// The kernel of this name, or KERNEL_COUNT.
inline KernelId find_kernel(const std::string &name) {
    int kernel = 0;
    while (kernel < KERNEL_COUNT && kernel_name(KernelId(kernel)) != name) ++kernel;
    return KernelId(kernel);
}

inline const char *kernel_family(KernelId kernel) { return KERNELS[kernel].family; }

// The name of the operand at this position; null if the kernel has fewer.
inline const char *operand_name(KernelId kernel, int i) {
    return i < MAX_OPERANDS ? KERNELS[kernel].operands[i].name : nullptr;
}
inline bool is_output(KernelId kernel, int i) { return KERNELS[kernel].operands[i].is_output; }

// The position of the operand of this name, or -1.
inline int find_operand(KernelId kernel, const char *name) {
    for (int i = 0; operand_name(kernel, i); ++i)
        if (std::strcmp(operand_name(kernel, i), name) == 0) return i;
    return -1;
}

}  // namespace fastnn
