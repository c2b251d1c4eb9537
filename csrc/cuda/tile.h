// The tensor-core kernels of any window: what they take, and their launches.
#pragma once

#include "launch.h"

namespace natten::cuda {

// What is asked of a kernel class. kPair: one of the unfused operators, forward or backward; dim is value_dim then.
enum class Operation { kForward, kBackward, kPair };

// What of a call decides whether a kernel class takes it.
struct Request {
  Problem p;
  Type type;
  bool aligned;      // every tensor lies on 16 bytes, rows apart by multiples of them
  bool near;         // every tensor's images span less than 2^31 elements
  bool ascending;    // every stride that is used is positive and below 2^40 bytes
  int capability;    // of the device, major * 10 + minor
  int code;          // what the code that runs there was compiled for: less, where it is made of an older device's PTX
  int shared_limit;  // bytes of shared memory a block may have
  bool dense_lse;    // lse lies as batch, tokens, heads without gaps
};

// What both offer: kernels for more are empty in code for less.
inline int usable(const Request& request) {
  return request.code < request.capability ? request.code : request.capability;
}

namespace tile {

// Null when they take it, else why not.
const char* refuses(const Request& request, Operation operation, bool bias, bool bias_gradient);

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse);
void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace);

// The unfused operators' parts, as in naive (launch.h). drpb: the weights summed by bias entry, or null.
void dot_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, double empty,
              const View& rows, const View& keys, const void* rpb, const View& weights);
void gather_keys(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                 const View& keys, const View& sums, void* drpb, const Workspace& workspace);
void gather_queries(cudaStream_t stream, const Problem& p, Type type, int64_t dim, double factor, const View& weights,
                    const View& rows, const View& sums);

}  // namespace tile
}  // namespace natten::cuda
