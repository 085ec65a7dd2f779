// The table of the kernels that are compiled for one instruction set. Each file beside this one compiles a
// family of them, and enters it.
#pragma once

#include "plan/call.hpp"

namespace fastnn {

// Enters kernels of one float type into a table.
template <class T> struct Setter {
    static constexpr int TYPE = sizeof(T) == sizeof(double);
    Table &table;

    void operator()(KernelId id, Kernel kernel, Scratch scratch = nullptr, Kernel prepare = nullptr,
                    Finish finish = nullptr) const {
        table.kernel[id][TYPE] = kernel;
        table.scratch[id][TYPE] = scratch;
        table.prepare[id][TYPE] = prepare;
        table.finish[id][TYPE] = finish;
    }
};

void fill_act(Table &table);
void fill_conv(Table &table);
void fill_data(Table &table);
void fill_dense(Table &table);
void fill_dense_bf16(Table &table);
void fill_dense_update(Table &table);
void fill_embedding(Table &table);
void fill_group_norm(Table &table);
void fill_lanes(Table &table);
void fill_loss(Table &table);
void fill_norm(Table &table);
void fill_optim(Table &table);
void fill_pointwise(Table &table);
void fill_probe(Table &table);

inline Table make_table(const char *isa) {
    Table table{};
    table.layout = TABLE_LAYOUT;
    table.isa = isa;
    fill_act(table);
    fill_conv(table);
    fill_data(table);
    fill_dense(table);
    fill_dense_update(table);
    fill_embedding(table);
    fill_group_norm(table);
    fill_lanes(table);
    fill_loss(table);
    fill_norm(table);
    fill_optim(table);
    fill_pointwise(table);
    fill_probe(table);
    return table;
}

// The table of the kernels that need AVX512_BF16, and nothing else: they are added to the table of v4.
inline Table make_bf16_table(const char *isa) {
    Table table{};
    table.layout = TABLE_LAYOUT;
    table.isa = isa;
    fill_dense_bf16(table);
    return table;
}

}  // namespace fastnn
