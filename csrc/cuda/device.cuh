// What every kernel file uses: element types, sums over a warp, launches.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "index.h"
#include "launch.h"

namespace natten::cuda {

template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <class T>
using acc_t = typename Accumulate<T>::type;

template <class T>
__device__ __forceinline__ acc_t<T> load(const T* p) {
  return static_cast<acc_t<T>>(*p);
}

constexpr int kWarp = 32;

template <class A>
__device__ __forceinline__ A warp_sum(A x) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

// Calls f with a null pointer of the element type.
template <class F>
void with_type(Type type, const F& f) {
  switch (type) {
    case Type::kDouble:
      return f(static_cast<double*>(nullptr));
    case Type::kFloat:
    case Type::kTf32:
      return f(static_cast<float*>(nullptr));
    case Type::kHalf:
      return f(static_cast<__half*>(nullptr));
    case Type::kBFloat16:
      return f(static_cast<__nv_bfloat16*>(nullptr));
  }
}

// Blocks for `units` of work at `per_block` each; kernels loop over what is beyond the grid.
inline unsigned grid(int64_t units, int64_t per_block) {
  return static_cast<unsigned>(std::min<int64_t>((units + per_block - 1) / per_block, int64_t{1} << 30));
}

}  // namespace natten::cuda
