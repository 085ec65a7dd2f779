// Dense layers of several models at once: lane i of each vector belongs to model i (lanes.hpp).
#pragma once

#include "families/dense.hpp"
#include "plan/extents.hpp"

namespace fastnn {

static_assert(TOGETHER_CHUNKS_FROM == FEATURES_TO_HALVE && TOGETHER_CHUNKS_UP_TO == NARROW_OUTPUTS);

// Element e of all models.
template <class T> inline Vec<T> element(const T *x, std::int64_t e) { return load(x + e * LANES<T>); }
template <class T> inline void set_element(T *x, std::int64_t e, Vec<T> value) {
    store(x + e * LANES<T>, value);
}

// Element (i, k) of a matrix is data[i * row + k * column].
template <class T> struct LaneMatrix {
    const T *data;
    std::int64_t row, column;
    const T *place(std::int64_t i, std::int64_t k) const { return data + (i * row + k * column) * LANES<T>; }
    Vec<T> operator()(std::int64_t i, std::int64_t k) const { return load(place(i, k)); }
};

// Calls finish(i, j, sum) for a tile of the product of a and b, with sum = begun_ij + sum_k a_ik b_kj; begun is
// 0 if it has no data. Fetches b `ahead` rows further.
template <class T, int ROWS, int COLUMNS, class Finish>
inline void lane_tile(LaneMatrix<T> a, LaneMatrix<T> b, std::int64_t K, LaneMatrix<T> begun,
                      std::int64_t ahead, std::int64_t i, std::int64_t j, Finish finish) {
    Vec<T> sum[ROWS][COLUMNS] = {};
    if (begun.data)
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = begun(i + r, j + c);
    for (std::int64_t k = 0; k < K; ++k) {
        Vec<T> row[COLUMNS];
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) {
            row[c] = b(k, j + c);
            if (ahead) __builtin_prefetch(b.place(k + ahead, j + c), 0, 2);
        }
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const Vec<T> factor = a(i + r, k);
#pragma GCC unroll 4
            for (int c = 0; c < COLUMNS; ++c) sum[r][c] = fma(factor, row[c], sum[r][c]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int c = 0; c < COLUMNS; ++c) finish(i + r, j + c, sum[r][c]);
}

// The same for a (M, K) by b (K, N). Columns of b are used for all rows of a before the next ones.
template <class T, class Finish>
inline void lane_product(std::int64_t M, std::int64_t N, std::int64_t K, LaneMatrix<T> a, LaneMatrix<T> b,
                         LaneMatrix<T> begun, std::int64_t ahead, Finish finish) {
    constexpr int SIDE = MANY_REGISTERS ? 4 : 3;
    const auto rows = [&](auto columns, std::int64_t j) {
        constexpr int COLUMNS = decltype(columns)::value;
        std::int64_t i = 0;
        for (; i + SIDE <= M; i += SIDE)
            lane_tile<T, SIDE, COLUMNS>(a, b, K, begun, i ? 0 : ahead, i, j, finish);
        for (; i < M; ++i) lane_tile<T, 1, COLUMNS>(a, b, K, begun, i ? 0 : ahead, i, j, finish);
    };
    std::int64_t j = 0;
    for (; j + SIDE <= N; j += SIDE) rows(std::integral_constant<int, SIDE>(), j);
    for (; j < N; ++j) rows(std::integral_constant<int, 1>(), j);
}

// Terms of a sum that are added before the next tile: a block of x stays in the L1 cache.
constexpr std::int64_t LANE_TERMS = 16;

// sums_mn = sum over the features [first, last) of x_mk w_kn
template <class T>
inline void lanes_forward_sums(const Call &call, std::int64_t first, std::int64_t last, T *sums) {
    using op = operands::DENSE_FORWARD;
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t N = size.N;
    for (std::int64_t k = first; k < last; k += LANE_TERMS) {
        const std::int64_t terms = last - k < LANE_TERMS ? last - k : LANE_TERMS;
        lane_product<T>(size.M, N, terms, {call.in<T>(op::x) + k * LANES<T>, size.K, 1},
                        {call.in<T>(op::w) + k * N * LANES<T>, N, 1}, {k == first ? nullptr : sums, N, 1},
                        LANE_TERMS, [=](std::int64_t m, std::int64_t n, Vec<T> sum) {
                            set_element(sums, m * N + n, sum);
                        });
    }
}

// With many features, the sums are computed in two halves, as by `Product`: the second ones in the scratch
// memory.
template <class T> void lanes_dense_forward(const Call &call, int, int) {
    using op = operands::DENSE_FORWARD;
    const DenseSizes size = call.sizes<DenseSizes>();
    const bool is_halved = size.K >= FEATURES_TO_HALVE;
    const std::int64_t half = is_halved ? size.K / 2 : size.K;
    const T *const b = call.in<T>(op::b);
    T *const y = call.out<T>(op::y), *const second = reinterpret_cast<T *>(call.scratch);
    lanes_forward_sums<T>(call, 0, half, y);
    if (is_halved) lanes_forward_sums<T>(call, half, size.K, second);
    if (is_halved || b || !size.K)
        for (std::int64_t m = 0; m < size.M; ++m)
            for (std::int64_t n = 0; n < size.N; ++n) {
                const std::int64_t e = m * size.N + n;
                Vec<T> sum = size.K ? element(y, e) : Vec<T>{};
                if (is_halved) sum = sum + element(second, e);
                set_element(y, e, b ? sum + element(b, n) : sum);
            }
    const std::int64_t row = size.N * LANES<T>;
    activate(call.activation, y, row, size.M, row);
}

template <class T> void lanes_dense_dx(const Call &call, int, int) {
    using op = operands::DENSE_DX;
    const DenseSizes size = call.sizes<DenseSizes>();
    T *const dx = call.out<T>(op::dx);
    lane_product<T>(size.M, size.K, size.N, {call.in<T>(op::dy), size.N, 1}, {call.in<T>(op::w), 1, size.N},
                    {}, 0, [=, K = size.K](std::int64_t m, std::int64_t k, Vec<T> sum) {
                        set_element(dx, m * K + k, sum);
                    });
    const std::int64_t row = size.K * LANES<T>;
    deactivate(call.activation, call.in<T>(op::y), dx, row, size.M, row);
}

// Calls update(e, dw_e, LANES) for each element of dw = x^T dy, where e counts the lanes, too.
template <class T, class Update> inline void lanes_for_dw(const Call &call, Update update) {
    using op = operands::DENSE_DW;  // the same positions for DENSE_DW_SGD and DENSE_DW_ADAM
    const DenseSizes size = call.sizes<DenseSizes>();
    const std::int64_t K = size.K, N = size.N;
    T *const sums = reinterpret_cast<T *>(call.scratch);
    const Tiles chunks(size.M, updates_by_chunks(size) ? rows_of_chunk(size) : size.M);
    for (std::int64_t chunk = 0; chunk < chunks.count; ++chunk) {
        const T *const x = call.in<T>(op::x) + chunks.begin(chunk) * K * LANES<T>;
        const T *const dy = call.in<T>(op::dy) + chunks.begin(chunk) * N * LANES<T>;
        const bool is_first = chunk == 0, is_last = chunk + 1 == chunks.count;
        lane_product<T>(K, N, chunks.length(chunk), {x, 1, K}, {dy, N, 1}, {}, 0,
                        [=](std::int64_t k, std::int64_t n, Vec<T> sum) {
                            const std::int64_t e = k * N + n;
                            if (!is_first) sum = element(sums, e) + sum;
                            if (is_last)
                                update(e * LANES<T>, sum, LANES<T>);
                            else
                                set_element(sums, e, sum);
                        });
    }
}

// The sum of a column of dy over some rows.
template <class T> inline Vec<T> lanes_row_sum(const T *dy, std::int64_t N, std::int64_t n, Range rows) {
    Vec<T> sum{};
    for (std::int64_t m = rows.begin; m < rows.end; ++m) sum += element(dy, m * N + n);
    return sum;
}

// Calls update(e, db_e, LANES) for each element of db = the sum of the rows of dy.
template <class T, class Update> inline void lanes_for_db(const Call &call, const T *dy, Update update) {
    const auto [batch, M, K, N] = call.sizes<DenseSizes>();
    for (std::int64_t n = 0; n < N; ++n) {
        Vec<T> sum{};
        if (M < ROWS_TO_CHUNK) {
            sum = lanes_row_sum(dy, N, n, {0, M});
        } else {
            double total[LANES<T>] = {};
            for (std::int64_t m = 0; m < M; m += CHUNK_ROWS) {
                const Vec<T> of_chunk = lanes_row_sum(dy, N, n, {m, std::min(m + CHUNK_ROWS, M)});
                for (int lane = 0; lane < LANES<T>; ++lane) total[lane] += of_chunk[lane];
            }
            for (int lane = 0; lane < LANES<T>; ++lane) sum[lane] = T(total[lane]);
        }
        update(n * LANES<T>, sum, LANES<T>);
    }
}

template <class T> void lanes_dense_dw(const Call &call, int, int) {
    T *const dw = call.out<T>(operands::DENSE_DW::dw);
    lanes_for_dw<T>(call, [=](std::int64_t e, Vec<T> sum, int) { store(dw + e, sum); });
}
template <class T> void lanes_dense_db(const Call &call, int, int) {
    using op = operands::DENSE_DB;
    T *const db = call.out<T>(op::db);
    lanes_for_db(call, call.in<T>(op::dy), [=](std::int64_t e, Vec<T> sum, int) { store(db + e, sum); });
}

}  // namespace fastnn
