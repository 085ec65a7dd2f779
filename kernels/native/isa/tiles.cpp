// The register tiles of plain products, for all families.
#include "gemm/tile.hpp"

namespace fastnn {

template void tile_of_size(int, int, const Operand<float> &, const Rows<float> &, const std::int64_t &,
                           const Partial<float> &, const StoreTile<float> &);
template void tile_of_size(int, int, const Operand<double> &, const Rows<double> &, const std::int64_t &,
                           const Partial<double> &, const StoreTile<double> &);

}  // namespace fastnn
