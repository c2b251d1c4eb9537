// The tile program's kernels for float16.
#include "tile_kernels.cuh"

namespace natten::cuda::tile {

template void launch<__half>(cudaStream_t, const TileCall&, Pass);

}  // namespace natten::cuda::tile
