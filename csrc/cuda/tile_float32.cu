// The tile program's kernels for float32, and for float32 as TF32.
#include "tile_kernels.cuh"

namespace natten::cuda::tile {

template void launch<float>(cudaStream_t, const TileCall&, Pass);
template void launch<Tf32>(cudaStream_t, const TileCall&, Pass);

}  // namespace natten::cuda::tile
