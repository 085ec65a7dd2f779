// Dense kernels whose products round their operands to bf16 (dense_bf16_ref.py, pairs.hpp): y = x w + b and
// its gradients. As in dense.hpp, plans may let them apply an activation to y, or an activation's gradient to
// dx.
//
// Before a product begins, its threads convert both operands to pairs, in the shared scratch memory: 4
// instructions for 32 elements, of which each then takes part in M multiply-adds, 32 per instruction. So
// the weights are converted where they are used, an eighth of the work at M = 32: a copy in bf16, kept from
// one step to the next, would have to notice every change of a weight.
//
// The threads divide a weight matrix by its rows when they convert it, in dx and in the updates (see
// gemm.hpp). Each sum has one accumulator per output, and adds its pairs in ascending order.
#pragma once

#include "families/act.hpp"
#include "gemm/pairs.hpp"

namespace fastnn {

// The product C (rows, columns) = A B with sums of `terms` products.
class PairProduct {
public:
    // What the parts divide first: the rows of C, or its columns.
    enum Order { BY_ROWS, BY_COLUMNS };
    // Where a sum runs in the matrix that A is made of: along its rows, or along its columns.
    enum Direction { ALONG_ROWS, ALONG_COLUMNS };

    PairProduct(std::int64_t rows, std::int64_t columns, std::int64_t terms, Direction direction, Order order,
                const Call &call)
        : rows_(rows), columns_(columns), terms_(terms), direction_(direction), order_(order),
          scratch_(reinterpret_cast<float *>(call.scratch)) {}

    PairedRows a_rows() const { return {scratch_, PairedRows::distance(terms_)}; }
    PairedPanels a_panels() const { return {scratch_, terms_, rows_}; }
    PairedPanels b() const { return {scratch_ + a_elements(), terms_, columns_}; }

    // `each`: elements of further scratch memory of each part.
    ScratchNeeds scratch(std::int64_t each = 0) const {
        const std::int64_t elements = a_elements() + b().elements();
        return {0, elements * std::int64_t(sizeof(float)), each * std::int64_t(sizeof(float))};
    }

    // Computes this part of the product, group by group: GROUP rows at most, in one block of columns.
    // `epilogue(row, block)` returns the epilogue of a tile; `after_tile(row, rows, block)` and
    // `after_group(row, rows, block)` are called when a tile or all tiles of a group are stored.
    template <class Epilogue, class AfterTile, class AfterGroup>
    void run(int part, int parts, Epilogue epilogue, AfterTile after_tile, AfterGroup after_group) const {
        const std::int64_t group = direction_ == ALONG_ROWS ? GROUP : BLOCK<float>;
        const std::int64_t groups = (rows_ + group - 1) / group, blocks = ColumnBlock<float>::count(columns_);
        const Range units = share(groups * blocks, part, parts);
        for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
            const std::int64_t first = (order_ == BY_ROWS ? unit / blocks : unit % groups) * group;
            const ColumnBlock<float> block(columns_, order_ == BY_ROWS ? unit % blocks : unit / groups);
            const std::int64_t height = std::min(group, rows_ - first);
            const Rows<float> panel = b()[block];
            const Tiles tiles(height, tile_rows(block.vectors));
            for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
                const std::int64_t row = first + tiles.begin(tile);
                const int count = int(tiles.length(tile));
                pair_tile_of_size(count, block.vectors, rows_of_a(row), panel, pairs_of(terms_),
                                  epilogue(row, block));
                after_tile(row, count, block);
            }
            after_group(first, height, block);
        }
    }

    // Rows of a group, if A consists of rows: a multiple of all tile heights and lanes.
    static constexpr std::int64_t GROUP = 48;

private:
    const std::int64_t rows_, columns_, terms_;
    const Direction direction_;
    const Order order_;
    float *const scratch_;

    std::int64_t a_elements() const {
        return direction_ == ALONG_ROWS ? rows_ * a_rows().row : a_panels().elements();
    }
    Operand<float> rows_of_a(std::int64_t row) const {
        if (direction_ == ALONG_ROWS) return {a_rows().data + row * a_rows().row, a_rows().row, 1};
        const ColumnBlock<float> block(rows_, row / BLOCK<float>);
        return {a_panels()[block].data + row - block.begin, 1, Panels<float>::width(block)};
    }
};

inline constexpr auto NOTHING = [](std::int64_t, std::int64_t, const ColumnBlock<float> &) {};

inline PairProduct forward_pairs(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return {size.M, size.N, size.K, PairProduct::ALONG_ROWS, PairProduct::BY_COLUMNS, call};
}
inline ScratchNeeds dense_forward_bf16_scratch(const Call &call) { return forward_pairs(call).scratch(); }

inline void dense_forward_bf16_prepare(const Call &call, int part, int parts) {
    using op = operands::DENSE_FORWARD_BF16;
    const DenseSizes size = call.sizes<DenseSizes>();
    const PairProduct product = forward_pairs(call);
    product.a_rows().fill(call.in<float>(op::x), size.K, share(size.M, part, parts));
    product.b().fill(call.in<float>(op::w), share(pairs_of(size.K), part, parts));
}

// y = x w + b.  x (M, K), w (K, N), b (N,) or null -> y (M, N)
inline void dense_forward_bf16(const Call &call, int part, int parts) {
    using op = operands::DENSE_FORWARD_BF16;
    const std::int64_t N = call.sizes<DenseSizes>().N;
    const float *const b = call.in<float>(op::b);
    float *const y = call.out<float>(op::y);
    const auto store = [=](std::int64_t row, const ColumnBlock<float> &block) {
        return StoreTile<float>{y + row * N + block.begin, N, b ? b + block.begin : nullptr};
    };
    const auto apply = [=, activation = call.activation](std::int64_t row, std::int64_t rows,
                                                         const ColumnBlock<float> &block) {
        activate(activation, y + row * N + block.begin, N, rows, block.width);
    };
    forward_pairs(call).run(part, parts, store, NOTHING, apply);
}

// dx^T = w dy^T, as in dense.hpp.
inline PairProduct dx_pairs(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return {size.K, size.M, size.N, PairProduct::ALONG_ROWS, PairProduct::BY_ROWS, call};
}
inline ScratchNeeds dense_dx_bf16_scratch(const Call &call) {
    return dx_pairs(call).scratch(PairProduct::GROUP * BLOCK<float>);
}

inline void dense_dx_bf16_prepare(const Call &call, int part, int parts) {
    using op = operands::DENSE_DX_BF16;
    const DenseSizes size = call.sizes<DenseSizes>();
    const PairProduct product = dx_pairs(call);
    product.a_rows().fill(call.in<float>(op::w), size.N, share(size.K, part, parts));
    product.b().fill_transposed(call.in<float>(op::dy), share(product.b().squares(), part, parts));
}

// dx = dy w^T.  dy (M, N), w (K, N), y of the activation (M, K) or null -> dx (M, K)
inline void dense_dx_bf16(const Call &call, int part, int parts) {
    using op = operands::DENSE_DX_BF16;
    const std::int64_t K = call.sizes<DenseSizes>().K;
    const float *const y = call.in<float>(op::y);
    float *const dx = call.out<float>(op::dx), *const group = scratch_of<float>(call, part);
    const auto store = [=](std::int64_t row, const ColumnBlock<float> &) {
        return StoreTile<float>{group + row % PairProduct::GROUP * BLOCK<float>, BLOCK<float>};
    };
    const auto transpose_group = [=, activation = call.activation](std::int64_t row, std::int64_t rows,
                                                                   const ColumnBlock<float> &batch) {
        const std::int64_t begin = batch.begin * K + row;
        transpose<float, false>(group, BLOCK<float>, rows, batch.width, dx + begin, K);
        deactivate(activation, y + begin, dx + begin, K, batch.width, rows);
    };
    dx_pairs(call).run(part, parts, store, NOTHING, transpose_group);
}

inline PairProduct dw_pairs(const Call &call) {
    const DenseSizes size = call.sizes<DenseSizes>();
    return {size.K, size.N, size.M, PairProduct::ALONG_COLUMNS, PairProduct::BY_ROWS, call};
}
inline ScratchNeeds dense_dw_bf16_scratch(const Call &call) { return dw_pairs(call).scratch(); }

inline void dense_dw_bf16_prepare(const Call &call, int part, int parts) {
    using op = operands::DENSE_DW_BF16;  // the same positions for the updates
    const PairProduct product = dw_pairs(call);
    const Range mine = share(product.b().pairs(), part, parts);
    product.a_panels().fill(call.in<float>(op::x), mine);
    product.b().fill(call.in<float>(op::dy), mine);
}

// dw = x^T dy.  x (M, K), dy (M, N) -> dw (K, N)
inline void dense_dw_bf16(const Call &call, int part, int parts) {
    const std::int64_t N = call.sizes<DenseSizes>().N;
    float *const dw = call.out<float>(operands::DENSE_DW_BF16::dw);
    const auto store = [=](std::int64_t row, const ColumnBlock<float> &block) {
        return StoreTile<float>{dw + row * N + block.begin, N};
    };
    dw_pairs(call).run(part, parts, store, NOTHING, NOTHING);
}

}  // namespace fastnn
