// Yardsticks of the machine.
#include "families/probe.hpp"
#include "isa/table.hpp"

namespace fastnn {

namespace {

template <class T> void fill(Setter<T> set) {
    set(PROBE_FMA, probe_fma<T>);
    set(PROBE_READ, probe_read<T>);
    set(PROBE_UPDATE, probe_update<T>);
    set.table.probe_flop[Setter<T>::TYPE] = PROBE_FLOP<T>;
}

}  // namespace

void fill_probe(Table &table) {
    fill<float>({table});
    fill<double>({table});
}

}  // namespace fastnn
