// The calls between table.cpp, which knows libtorch, and the kernels, which
// nvcc compiles without libtorch's headers.
#pragma once

#include <cuda_runtime_api.h>

#include "../problem.h"

// On an argument of a kernel: it is read where it lies. Needs compute capability 7.0.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 700
#define NATTEN_GRID_CONSTANT
#else
#define NATTEN_GRID_CONSTANT __grid_constant__
#endif

namespace natten::cuda {

// kTf32 is float32 where the user lets products be rounded to TF32; only tensor cores differ.
enum class Type { kDouble, kFloat, kTf32, kHalf, kBFloat16 };

// Memory that lives until the stream has passed the call.
struct Workspace {
  void* (*allocate)(void* context, size_t bytes);
  void* context;
};

namespace naive {

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse);
void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace);
// weights[slot] = factor * (rows . keys) + rpb; an empty slot gets `empty`.
void dot_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, double empty,
              const View& rows, const View& keys, const void* rpb, const View& weights);
// sums = factor * (weights over slots) . keys
void gather_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                 const View& keys, const View& sums);
// sums of a key = factor * (weights of the queries that see it) . rows
void gather_queries(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                    const View& rows, const View& sums);
// Sums weights by bias entry.
void sum_bias(cudaStream_t stream, const Problem& p, Type type, const View& weights, void* drpb,
              const Workspace& workspace);

}  // namespace naive

// What the code of this library that runs on the current device was compiled for, as a compute capability.
int code_version();

// out[i] = sum over parts of partial[part][i], in order.
void sum_parts(cudaStream_t stream, Type type, int64_t parts, int64_t count, const void* partial, void* out);

}  // namespace natten::cuda
