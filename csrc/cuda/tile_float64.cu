// The tile program's kernels for float64.
#include "tile_kernels.cuh"

namespace natten::cuda::tile {

template void launch<double>(cudaStream_t, const TileCall&, Pass);

}  // namespace natten::cuda::tile
