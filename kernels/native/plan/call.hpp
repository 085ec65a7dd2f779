// A kernel call: a plain record of pointers, sizes and scalars.
//
// A Call can be run at once, or stored and run again: a recorded training step is an array of calls.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "plan/algorithms.hpp"
#include "plan/kernels.hpp"
#include "plan/sizes.hpp"

namespace fastnn {

// The activation that a fused dense or convolution kernel applies.
enum Activation : int { NO_ACTIVATION, RELU, SIGMOID, TANH };

struct Call {
    KernelId kernel{};
    int is_double = 0;               // the float type: 0 float, 1 double
    void *array[MAX_OPERANDS] = {};  // the operands, in the order of kernels.def
    std::int64_t size[18] = {};      // one of the structures of sizes.hpp
    double scalar[2] = {};
    int activation = NO_ACTIVATION;  // only in plans
    double work = 0;                 // approximate FLOP; determines the number of threads
    // Set by the executor: scratch memory that all parts share, and that of the first part; the others follow
    // `own_stride` bytes apart.
    char *scratch = nullptr, *own = nullptr;
    std::int64_t own_stride = 0;

    template <class T> const T *in(int i) const { return static_cast<const T *>(array[i]); }
    template <class T> T *out(int i) const { return static_cast<T *>(array[i]); }

    // The operand called `name`, for code that handles calls of several kernels. Throws std::out_of_range if
    // this kernel has no such operand.
    void *&operator[](const char *name) { return array[position(name)]; }
    void *operator[](const char *name) const { return array[position(name)]; }

    template <class Sizes> Sizes sizes() const {
        static_assert(sizeof(Sizes) <= sizeof size);
        Sizes sizes;
        std::memcpy(&sizes, size, sizeof sizes);
        return sizes;
    }
    template <class Sizes> void set_sizes(const Sizes &sizes) {
        static_assert(sizeof sizes <= sizeof size);
        std::memcpy(size, &sizes, sizeof sizes);
    }

private:
    int position(const char *name) const {
        const int i = find_operand(kernel, name);
        if (i < 0) throw std::out_of_range(kernel_name(kernel) + " has no operand " + name);
        return i;
    }
};

// The scratch memory of a part.
template <class T> inline T *scratch_of(const Call &call, int part) {
    return reinterpret_cast<T *>(call.own + part * call.own_stride);
}

// A kernel does part `part` of `parts` of its work. Parts are independent and may run in any order; no bit of
// the result depends on `parts`.
using Kernel = void (*)(const Call &call, int part, int parts);

// The bytes of scratch memory that a call needs: `shared` by all parts, where the first `zeroed` bytes are
// zero when the call begins, and `each` for every part.
struct ScratchNeeds {
    std::int64_t zeroed, shared, each;
};
using Scratch = ScratchNeeds (*)(const Call &call);

constexpr std::int64_t CACHE_LINE = 64;  // bytes

// Runs once after all parts are done: combines what they left in the shared scratch memory.
using Finish = void (*)(const Call &call);

// `bytes` rounded up to whole cache lines.
inline std::int64_t whole_lines(std::int64_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

// The kernels of one instruction set, indexed [kernel][is_double].
struct Table {
    std::uint64_t layout;  // TABLE_LAYOUT
    const char *isa;
    double probe_flop[2];  // FLOP of one round of probe_fma, [is_double]
    Kernel kernel[KERNEL_COUNT][2];
    Scratch scratch[KERNEL_COUNT][2];  // null: the kernel needs no scratch memory
    Kernel prepare[KERNEL_COUNT][2];   // before the kernel, if the call needs shared scratch; or null
    Finish finish[KERNEL_COUNT][2];    // or null
    int lane_count[2];                 // the models that a kernel of `lanes` runs for (families/lanes.hpp)
    Kernel lanes[KERNEL_COUNT][2];     // or null
};

// Enters the kernels of `more` into a table.
inline void add_kernels(Table &table, const Table &more) {
    for (int id = 0; id < KERNEL_COUNT; ++id)
        for (const int type : {0, 1}) {
            if (!more.kernel[id][type]) continue;
            table.kernel[id][type] = more.kernel[id][type];
            table.scratch[id][type] = more.scratch[id][type];
            table.prepare[id][type] = more.prepare[id][type];
            table.finish[id][type] = more.finish[id][type];
        }
}

// To be raised when a field of Call or Table changes its meaning, but not its size.
constexpr std::uint64_t MEANING_OF_FIELDS = 1;

// A hash (FNV-1a) of what two modules must agree on before one calls kernels of the other: the list of
// kernels with their operands, and the sizes of the structures.
constexpr std::uint64_t table_layout() {
    std::uint64_t hash = 14695981039346656037u;
    const auto add = [&hash](std::uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
    const auto add_text = [&add](const char *text) {
        for (; *text; ++text) add(std::uint64_t(*text));
        add(0);
    };
    for (const KernelInfo &kernel : KERNELS) {
        add_text(kernel.name);
        for (const OperandInfo &operand : kernel.operands)
            if (operand.name) add_text(operand.name);
    }
    add(MEANING_OF_FIELDS);
    add(sizeof(Call));
    add(sizeof(Table));
    return hash;
}
constexpr std::uint64_t TABLE_LAYOUT = table_layout();

// index[i] if it lies in [0, limit), else -1. All indices are checked before a kernel runs (CHECK_INDEX), but
// they lie in the user's arrays, which another thread can change at any time. So a kernel checks the very
// value that it uses: the compiler may not repeat an atomic load, not even a relaxed one.
inline std::int64_t index_at(const std::int64_t *index, std::int64_t i, std::int64_t limit) {
    const std::int64_t value = __atomic_load_n(index + i, __ATOMIC_RELAXED);
    return 0 <= value && value < limit ? value : -1;
}

// The same for an index that is stored as a float: -1 for nan, infinities and fractions, too.
template <class T> inline std::int64_t index_at(const T *index, std::int64_t i, std::int64_t limit) {
    T value;
    __atomic_load(index + i, &value, __ATOMIC_RELAXED);
    if (!(0 <= value && value < T(limit))) return -1;
    const std::int64_t whole = std::int64_t(value);
    return T(whole) == value && whole < limit ? whole : -1;
}

// A half-open range of items.
struct Range {
    std::int64_t begin, end;
};

// The range of `count` items that a part owns. Ranges begin at multiples of `unit`.
inline Range share(std::int64_t count, int part, int parts, std::int64_t unit = 1) {
    const std::int64_t units = (count + unit - 1) / unit;
    const std::int64_t begin = units * part / parts * unit, end = units * (part + 1) / parts * unit;
    return {begin, std::min(end, count)};
}

// Calls body(n, lines) for the rows that a part owns, of N images with P rows each.
template <class Body> inline void for_lines(std::int64_t N, std::int64_t P, int part, int parts, Body body) {
    const Range mine = share(N * P, part, parts);
    for (std::int64_t line = mine.begin; line < mine.end;) {
        const std::int64_t n = line / P, left = mine.end - line, rest = (n + 1) * P - line;
        const std::int64_t count = left < rest ? left : rest;
        body(n, Range{line - n * P, line - n * P + count});
        line += count;
    }
}

}  // namespace fastnn
