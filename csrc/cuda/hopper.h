// The kernel on wgmma and the tensor copy engine (sm_90a): what it takes, and its launch.
#pragma once

#include "tile.h"

namespace natten::cuda::hopper {

// Whether the library has its machine code.
bool built();

// Null when it takes the call, else why not. Forward only.
const char* refuses_forward(const Request& request, bool bias);

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse);

}  // namespace natten::cuda::hopper
