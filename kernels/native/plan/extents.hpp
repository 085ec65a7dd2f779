// The sizes of the arrays of a call, for calls that can run for several models at once (population.hpp).
#pragma once

#include <cstdint>

#include "plan/call.hpp"

namespace fastnn {

// Sums over at least as many features, of layers of at most as many outputs, are computed in chunks
// (dense_narrow.hpp), for which there is no kernel.
constexpr std::int64_t TOGETHER_CHUNKS_FROM = 256, TOGETHER_CHUNKS_UP_TO = 16;

// Whether the kernel treats all elements alike, so that it needs no other one for several models. size[0] is
// the number of elements.
inline bool is_elementwise(KernelId kernel) {
    switch (kernel) {
        case RELU_FORWARD:
        case SIGMOID_FORWARD:
        case TANH_FORWARD:
        case LEAKY_RELU_FORWARD:
        case ELU_FORWARD:
        case GELU_FORWARD:
        case SILU_FORWARD:
        case RELU_DX:
        case SIGMOID_DX:
        case TANH_DX:
        case LEAKY_RELU_DX:
        case ELU_DX:
        case GELU_DX:
        case SILU_DX:
        case ADD:
        case SQUARED_ERROR:
        case ABSOLUTE_ERROR:
        case HUBER:
        case BINARY_CROSS_ENTROPY: return true;
        default: return false;
    }
}

// Operand i holds count[i] elements of bytes[i] bytes. REAL: of the call's float type; SHARED: it is the data
// set that mini-batches are gathered from.
struct Extents {
    static constexpr int REAL = 0, SHARED = -1;
    std::int64_t count[MAX_OPERANDS] = {};
    int bytes[MAX_OPERANDS] = {};
};

// Describes the operands of a call. Returns false for calls that have no kernel for several models at once
// (lanes.hpp): other kernels, or options of a kernel that change the order of its sums.
inline bool describe(const Call &call, Extents &found) {
    found = {};
    constexpr int real = Extents::REAL;
    int next = 0;
    const auto add = [&](std::int64_t count, int bytes) {
        found.count[next] = count;
        found.bytes[next++] = bytes;
    };
    if (is_elementwise(call.kernel)) {
        for (int i = 0; operand_name(call.kernel, i); ++i) add(call.size[0], real);
        return call.kernel != BINARY_CROSS_ENTROPY || !call["weight"];
    }
    switch (call.kernel) {
        case CHECK_INDEX: add(call.sizes<IndexCheck>().count, 8); return true;
        case CHECK_FINITE:
        case ADVANCE: add(1, 8); return true;
        case ADAM_CORRECTIONS: add(1, 8), add(8, 8); return true;
        case GATHER_BYTES:
        case GATHER_FLOATS:
        case GATHER_DOUBLES:
        case GATHER_LABELS: {
            const auto [M, D, rows] = call.sizes<GatherSizes>();
            add(rows * D, Extents::SHARED), add(M, 8), add(M * D, call.kernel == GATHER_LABELS ? 8 : real);
            return true;
        }
        case DENSE_FORWARD: {
            const auto [batch, M, K, N] = call.sizes<DenseSizes>();
            add(M * K, real), add(K * N, real), add(N, real), add(M * N, real);
            const bool has_vectors_of_features = N == 1 && K > 1;  // single_output in dense_narrow.hpp
            return batch == 1 && !has_vectors_of_features &&
                   (K < TOGETHER_CHUNKS_FROM || N > TOGETHER_CHUNKS_UP_TO);
        }
        case DENSE_DX: {
            const auto [batch, M, K, N] = call.sizes<DenseSizes>();
            add(M * N, real), add(K * N, real), add(M * K, real), add(M * K, real);
            return batch == 1;
        }
        case DENSE_DW:
        case DENSE_DW_SGD:
        case DENSE_DW_ADAM: {
            const auto [batch, M, K, N] = call.sizes<DenseSizes>();
            add(M * K, real), add(M * N, real);
            if (call.kernel != DENSE_DW) add(call.kernel == DENSE_DW_SGD ? 4 : 8, 8);
            for (int i = 0; i < 3; ++i) add(K * N, real);  // the gradient, or moments and weights
            return batch == 1 && M <= MOST_FUSED_ROWS;
        }
        case DENSE_DB: {
            const auto [batch, M, K, N] = call.sizes<DenseSizes>();
            add(M * N, real), add(N, real);
            return batch == 1 && M <= MOST_FUSED_ROWS;
        }
        case DENSE_DB_SGD:
        case DENSE_DB_ADAM: {
            const auto [batch, M, K, N] = call.sizes<DenseSizes>();
            add(0, real), add(M * N, real), add(call.kernel == DENSE_DB_SGD ? 4 : 8, 8);
            for (int i = 0; i < 3; ++i) add(N, real);
            return batch == 1 && M <= MOST_FUSED_ROWS;
        }
        case SGD:
        case ADAM: {
            const std::int64_t count = call.sizes<Elements>().count;
            add(count, real), add(call.kernel == SGD ? 4 : 8, 8);
            for (int i = 0; i < 3; ++i) add(count, real);
            return true;
        }
        case CROSS_ENTROPY_LABELS: {
            const auto [M, C, labels] = call.sizes<LabelSizes>();
            add(M * C, real), add(M, 8), add(C, real), add(M, real), add(M * C, real);
            const bool is_plain = !call["weight"] && !call["factors"] && call.scalar[0] == 0;
            return is_plain && call["dz"] && C > 0 && labels == C;
        }
        case REDUCE_LOSS:
            add(call.sizes<Elements>().count, real), add(1, 8);
            return !call["factors"];
        case COUNT_CORRECT: {
            const auto [M, C] = call.sizes<MatrixSizes>();
            add(M * C, real), add(M, 8), add(M * C, real), add(1, 8);
            return C > 0;
        }
        case COUNT_CORRECT_BINARY: {
            const std::int64_t count = call.sizes<Elements>().count;
            add(count, real), add(count, real), add(1, 8);
            return true;
        }
        default: return false;
    }
}

}  // namespace fastnn
