// Kernels for several models at once.
#include "families/lanes.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Table &table) {
    constexpr int TYPE = Setter<T>::TYPE;
    table.lane_count[TYPE] = LANES<T>;
    const auto set = [&table](KernelId id, Kernel kernel) { table.lanes[id][TYPE] = kernel; };
    set(DENSE_FORWARD, lanes_dense_forward<T>);
    set(DENSE_DX, lanes_dense_dx<T>);
    set(DENSE_DW, lanes_dense_dw<T>);
    set(DENSE_DB, lanes_dense_db<T>);
    set(DENSE_DW_SGD, lanes_dense_dw_update<T, LaneSgd>);
    set(DENSE_DW_ADAM, lanes_dense_dw_update<T, LaneAdam>);
    set(DENSE_DB_SGD, lanes_dense_db_update<T, LaneSgd>);
    set(DENSE_DB_ADAM, lanes_dense_db_update<T, LaneAdam>);
    set(SGD, lanes_update<T, LaneSgd>);
    set(ADAM, lanes_update<T, LaneAdam>);
    set(ADVANCE, lanes_advance<T>);
    set(ADAM_CORRECTIONS, lanes_adam_corrections<T>);
    set(CROSS_ENTROPY_LABELS, lanes_cross_entropy_labels<T>);
    set(REDUCE_LOSS, lanes_reduce_loss<T>);
    set(COUNT_CORRECT, lanes_count_correct<T>);
    set(COUNT_CORRECT_BINARY, lanes_count_correct_binary<T>);
    set(GATHER_BYTES, lanes_gather<T, std::uint8_t>);
    set(GATHER_FLOATS, lanes_gather<T, float>);
    set(GATHER_DOUBLES, lanes_gather<T, double>);
    set(GATHER_LABELS, lanes_gather_labels<T>);
}

}  // namespace

void fill_lanes(Table &table) {
    fill<float>(table);
    fill<double>(table);
}

}  // namespace fastnn
