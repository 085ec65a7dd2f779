// The one form in which every kernel is called: a plain record of pointers, sizes and scalars.
//
// A Call can be run at once, or kept and run again: a recorded training step is an array of them.
#pragma once

#include <cstdint>

namespace fastnn {

// A weight gradient that sums over more rows of a batch is not fused with the update.
constexpr std::int64_t MOST_FUSED_ROWS = 256;

// Which kernel: the row of the table of an instruction set.
enum KernelId : int {
    DENSE_FORWARD,
    DENSE_DX,
    DENSE_DW,
    DENSE_DB,
    CONV_FORWARD,
    CONV_DX,
    CONV_DW,
    IM2COL,
    COL2IM,
    MAX_POOL_FORWARD,
    MAX_POOL_DX,
    AVG_POOL_FORWARD,
    AVG_POOL_DX,
    BATCH_MOMENTS,
    RUNNING_MOMENTS,
    BATCH_NORM_FORWARD,
    BATCH_NORM_SUMS,
    BATCH_NORM_DX,
    LAYER_NORM_FORWARD,
    LAYER_NORM_DX,
    LAYER_NORM_DW,
    RELU_FORWARD,
    RELU_DX,
    SIGMOID_FORWARD,
    SIGMOID_DX,
    TANH_FORWARD,
    TANH_DX,
    LEAKY_RELU_FORWARD,
    LEAKY_RELU_DX,
    ELU_FORWARD,
    ELU_DX,
    GELU_FORWARD,
    GELU_DX,
    SILU_FORWARD,
    SILU_DX,
    ADD,
    EXP_FORWARD,
    LOG_FORWARD,
    SOFTMAX_FORWARD,
    SOFTMAX_DX,
    ELEMENTWISE_FORWARD,
    ELEMENTWISE_DX,
    CROSS_ENTROPY_LABELS,
    CROSS_ENTROPY_SOFT,
    SQUARED_ERROR,
    BINARY_CROSS_ENTROPY,
    FOCAL_LABELS,
    FOCAL_SOFT,
    DICE,
    SGD,
    ADAM,
    RMSPROP,
    SUM_SQUARES,
    CLIP_FACTOR,
    MULTIPLY,
    CLAMP,
    EMA,
    DROPOUT,
    RANDOM_NEXT,
    GATHER_BYTES,
    GATHER_FLOATS,
    GATHER_DOUBLES,
    GATHER_LABELS,
    COUNT_NONFINITE,
    RANDOM_AFFINE,
    DISPLACEMENT,
    WARP_BYTES,
    WARP_FLOATS,
    WARP_DOUBLES,
    LABEL_DIVISOR,
    REDUCE_LOSS,
    COUNT_CORRECT,
    COUNT_CORRECT_BINARY,
    ADVANCE,
    ADAM_CORRECTIONS,
    // Only in plans: fused kernels (fusion.hpp),
    DENSE_DW_SGD,
    DENSE_DW_ADAM,
    DENSE_DB_SGD,
    DENSE_DB_ADAM,
    NORM_RELU_POOL_FORWARD,
    NORM_RELU_POOL_SUMS,
    NORM_RELU_POOL_DX,
    // and what is no kernel (plan.hpp): checks that end a step before it has changed anything, a call-back.
    CHECK_INDEX,
    CHECK_ZERO,
    CHECK_FINITE,
    CALL_BACK,
    // Only for fastnn.measure.probe.
    PROBE_FMA,
    PROBE_READ,
    PROBE_UPDATE,
    KERNEL_COUNT
};

// The activation that a fused dense kernel applies.
enum Activation : int { NO_ACTIVATION, RELU, SIGMOID, TANH };

constexpr int MOST_ARRAYS = 10;  // of a call

struct Call {
    KernelId kernel{};
    int is_double = 0;              // the float type: 0 float, 1 double
    void *array[MOST_ARRAYS] = {};  // inputs, then outputs, in the order of the Python signature, or null
    std::int64_t size[16] = {};
    double scalar[2] = {};
    int activation = 0;  // only in plans: what is fused with the kernel
    double work = 0;     // about how many FLOP, to decide on threads
    // Set by the executor: memory of which all parts share the first bytes, and then each has its own.
    char *scratch = nullptr;
    std::int64_t shared_bytes = 0, scratch_bytes = 0;

    template <class T> const T *in(int i) const { return static_cast<const T *>(array[i]); }
    template <class T> T *out(int i) const { return static_cast<T *>(array[i]); }
};

// The scratch memory of a part.
template <class T> inline T *scratch_of(const Call &call, int part) {
    return reinterpret_cast<T *>(call.scratch + call.shared_bytes + part * call.scratch_bytes);
}

// A kernel does part `part` of `parts` of its work; parts are independent and may run in any order.
// What is computed, to the last bit, does not depend on `parts`.
using Kernel = void (*)(const Call &call, int part, int parts);

// The bytes of scratch memory that a call needs: shared by all parts, of which the first `zeroed` are zero
// when it begins, and for each part.
struct ScratchNeeds {
    std::int64_t zeroed, shared, each;
};
using Scratch = ScratchNeeds (*)(const Call &call);

constexpr std::int64_t CACHE_LINE = 64;  // bytes

// What is done once when all parts are done: puts together what they left in the shared scratch memory.
using Finish = void (*)(const Call &call);

// So many bytes, rounded up to cache lines.
inline std::int64_t whole_lines(std::int64_t bytes) {
    return (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

// The kernels of one instruction set: [kernel][is_double].
struct Table {
    const char *isa;
    double probe_flop[2];  // FLOP of one round of probe_fma, [is_double]
    Kernel kernel[KERNEL_COUNT][2];
    Scratch scratch[KERNEL_COUNT][2];  // null: none
    Kernel prepare[KERNEL_COUNT][2];  // fills the shared scratch memory before any part begins; null: nothing
    Finish finish[KERNEL_COUNT][2];   // null: nothing
};

// The half-open range of `count` items that a part owns, split at multiples of `unit`.
struct Range {
    std::int64_t begin, end;
};

inline Range share(std::int64_t count, int part, int parts, std::int64_t unit = 1) {
    const std::int64_t units = (count + unit - 1) / unit;
    const std::int64_t begin = units * part / parts * unit, end = units * (part + 1) / parts * unit;
    return {begin, end < count ? end : count};
}

}  // namespace fastnn
