// The tile program's kernels for bfloat16.
#include "tile_kernels.cuh"

namespace natten::cuda::tile {

template void launch<__nv_bfloat16>(cudaStream_t, const TileCall&, Pass);

}  // namespace natten::cuda::tile
