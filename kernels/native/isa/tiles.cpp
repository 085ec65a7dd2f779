// The register tiles that products of all families are made of.
#include "gemm/tile.hpp"

namespace fastnn {

template void tile_of_size(int, int, const Operand<float> &, const Rows<float> &, const Runs &,
                           const Partial<float> &, const StoreTile<float> &);
template void tile_of_size(int, int, const Operand<double> &, const Rows<double> &, const Runs &,
                           const Partial<double> &, const StoreTile<double> &);

}  // namespace fastnn
