// NCCL for groups of processes: found by name in the CUDA library, as the table of kernels is. Throws c10::Error.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

extern "C" __attribute__((visibility("default"))) void natten_cuda_group(const c10::intrusive_ptr<c10d::Store>& store,
                                                                         int rank, int size, int64_t timeout_ms,
                                                                         c10::intrusive_ptr<c10d::Backend>* backend);
