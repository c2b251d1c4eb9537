// What the CUDA library offers beside its table of kernels.
#pragma once

namespace natten::cuda {

// A function of libnatten_cuda.so by its name; null where the library is not open or has none of that name.
void* symbol(const char* name);

}  // namespace natten::cuda
