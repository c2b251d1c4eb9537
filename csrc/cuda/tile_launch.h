// Between tile.cu, which knows calls, and the files that hold the kernels of one element type each.
#pragma once

#include <cuda_runtime_api.h>

#include <type_traits>

#include "tile_memory.h"

namespace natten::cuda::tile {

// float64 takes twice the registers and shared memory.
template <class T>
constexpr int kMostDim = sizeof(T) == 8 ? 64 : 128;

// Calls f(integral_constant) with the instance for head dims up to `dim`; the one table of them.
template <class T, class F>
void with_dim(int64_t dim, const F& f) {
  if (dim <= 32) {
    f(std::integral_constant<int, 32>());
  } else if (dim <= 64) {
    f(std::integral_constant<int, 64>());
  } else if constexpr (kMostDim<T> > 64) {
    f(std::integral_constant<int, 128>());
  }
}

// The bias and its gradient take as much each.
NATTEN_HD int entries_on_chip(const TileCall& call) {
  return call.rpb == nullptr && call.drpb == nullptr ? 0 : call.entries;
}

template <class T>
void launch(cudaStream_t stream, const TileCall& call, Pass pass);

}  // namespace natten::cuda::tile
