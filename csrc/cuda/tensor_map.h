// How the tensor copy engine of compute capability 9.0 is told of a tensor: dim,
// head, token on two axes, and image or token on the third.
#pragma once

#include <cudaTypedefs.h>

#include <algorithm>

#include "launch.h"

namespace natten::cuda {

// Found at run time: the library is not linked with the driver. Null where there is no such engine.
inline PFN_cuTensorMapEncodeTiled_v12000 tensor_map_encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
#if CUDART_VERSION >= 12050
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
#else
    const cudaError_t error = cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &function, cudaEnableDefault, &result);
#endif
    if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) function = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return found;
}

// What one copy brings: `sides` from the first to the last element along each of the five, `steps` apart.
struct TensorBox {
  cuuint32_t sides[5];
  cuuint32_t steps[5];
  CUtensorMapSwizzle swizzle;
  CUtensorMapL2promotion promotion;
};

// False where the engine does not take the tensor.
inline bool describe_tensor(CUtensorMap* map, const Problem& p, Type type, const View& view, int64_t dim, int64_t heads,
                            const TensorBox& box, bool last_is_batch) {
  const auto stride = [&](int64_t length, int64_t elements) {  // one that is never used still has to be valid
    return static_cast<cuuint64_t>(2 * (length > 1 ? elements : std::max<int64_t>(dim, 8)));
  };
  const int64_t last = last_is_batch ? p.batch : p.axis[0].length;
  const cuuint64_t sizes[5] = {static_cast<cuuint64_t>(dim), static_cast<cuuint64_t>(heads),
                               static_cast<cuuint64_t>(p.axis[2].length), static_cast<cuuint64_t>(p.axis[1].length),
                               static_cast<cuuint64_t>(last)};
  const cuuint64_t strides[4] = {stride(heads, view.head), stride(p.axis[2].length, view.axis[2]),
                                 stride(p.axis[1].length, view.axis[1]),
                                 stride(last, last_is_batch ? view.batch : view.axis[0])};
  return tensor_map_encoder()(map,
                              type == Type::kHalf ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                              5, view.data, sizes, strides, box.sides, box.steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                              box.swizzle, box.promotion, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

}  // namespace natten::cuda
