// The tensor-core kernels: what they take, and their launches.
#pragma once

#include "launch.h"

namespace natten::cuda::tile {

// What of a call decides whether the tile kernels take it.
struct Request {
  Problem p;
  Type type;
  bool aligned;      // every tensor lies on 16 bytes, rows apart by multiples of them
  bool near;         // every tensor's images span less than 2^31 elements
  bool ascending;    // every stride that is used is positive and below 2^40 bytes
  int capability;    // major * 10 + minor
  int shared_limit;  // bytes of shared memory a block may have
  bool dense_lse;    // lse lies as batch, tokens, heads without gaps
};

// Null when they take it, else why not.
const char* refuses_forward(const Request& request, bool bias);
const char* refuses_backward(const Request& request, bool bias, bool bias_gradient);

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse);
void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace);

}  // namespace natten::cuda::tile
