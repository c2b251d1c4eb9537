// The kernels for small windows: what they take, and their launches.
#pragma once

#include "tile.h"

namespace natten::cuda::window {

// Null when they take it, else why not.
const char* refuses_forward(const Request& request);
const char* refuses_backward(const Request& request, bool bias_gradient);

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse);
void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace);

}  // namespace natten::cuda::window
