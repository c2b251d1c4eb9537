// The kernels of one element type: tile_ELEMENT.cu has them compiled, each for itself.
#pragma once

#include <algorithm>

#include "launch.h"
#include "tile_cuda.cuh"
#include "tile_launch.h"

namespace natten::cuda::tile {

// Blocks that a multiprocessor should hold at once: what the registers are shared among.
constexpr int blocks_of(Pass pass, int dim, int element_size) {
  if (dim > 32 || element_size == 8) return 1;
  const bool backward = pass == Pass::kQueryGradient || pass == Pass::kKeyGradient;
  if (element_size == 4) return backward ? 2 : 3;
  return backward ? 3 : pass == Pass::kGatherQueries ? 4 : 5;
}

template <class M, Pass kPass>
__global__ void __launch_bounds__(kTileThreads, blocks_of(kPass, M::kDim, sizeof(typename M::Element)))
    tile_kernel(const NATTEN_GRID_CONSTANT TileCall call) {
#if __CUDA_ARCH__ >= 750
  if constexpr (__CUDA_ARCH__ < 800 && !std::is_same_v<typename M::Element, __half>) return;
  extern __shared__ __align__(16) char shared[];
  M m(shared, kPass, entries_on_chip(call), call.drpb != nullptr);
  m.set_anything(call.k.data != nullptr ? call.k.data : call.q.data);
  const int64_t heads = rows_are_keys(kPass) ? call.p.kv_heads : call.p.heads;
  const int64_t head = blockIdx.x % heads, worker = blockIdx.x / heads;
  if constexpr (kPass == Pass::kForward) {
    forward_program(m, call, head, worker);
  } else if constexpr (kPass == Pass::kQueryGradient) {
    dq_program(m, call, head, worker);
  } else if constexpr (kPass == Pass::kKeyGradient) {
    dkv_program(m, call, head, worker);
  } else if constexpr (kPass == Pass::kDots) {
    dots_program(m, call, head, worker);
  } else if constexpr (kPass == Pass::kGatherKeys) {
    gather_keys_program(m, call, head, worker);
  } else {
    gather_queries_program(m, call, head, worker);
  }
#endif
}

template <class T, int kDim, Pass kPass>
void launch_instance(cudaStream_t stream, const TileCall& call) {
  using M = CudaMachine<T, kDim, columns_of(kPass, kDim, sizeof(T))>;
  const auto kernel = tile_kernel<M, kPass>;
  typename M::Memory memory;
  const size_t bytes = memory.place(nullptr, kPass, entries_on_chip(call), call.drpb != nullptr);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  const int64_t heads = rows_are_keys(kPass) ? call.p.kv_heads : call.p.heads;
  kernel<<<static_cast<unsigned>(heads * call.parts), kTileThreads, bytes, stream>>>(call);
}

template <class T>
void launch(cudaStream_t stream, const TileCall& call, Pass pass) {
  with_dim<T>(std::max(call.p.dim, call.p.value_dim), [&](auto dim) {
    constexpr int kDim = decltype(dim)::value;
    switch (pass) {
      case Pass::kForward:
        return launch_instance<T, kDim, Pass::kForward>(stream, call);
      case Pass::kQueryGradient:
        return launch_instance<T, kDim, Pass::kQueryGradient>(stream, call);
      case Pass::kKeyGradient:
        return launch_instance<T, kDim, Pass::kKeyGradient>(stream, call);
      case Pass::kDots:
        return launch_instance<T, kDim, Pass::kDots>(stream, call);
      case Pass::kGatherKeys:
        return launch_instance<T, kDim, Pass::kGatherKeys>(stream, call);
      case Pass::kGatherQueries:
        return launch_instance<T, kDim, Pass::kGatherQueries>(stream, call);
    }
  });
}

}  // namespace natten::cuda::tile
