// The register tiles of convolutions, whose products come in runs.
#include "gemm/tile.hpp"

namespace fastnn {

template void tile_of_size(int, int, const Operand<float> &, const Rows<float> &, const Runs &,
                           const Partial<float> &, const StoreTile<float> &);
template void tile_of_size(int, int, const Operand<double> &, const Rows<double> &, const Runs &,
                           const Partial<double> &, const StoreTile<double> &);

}  // namespace fastnn
