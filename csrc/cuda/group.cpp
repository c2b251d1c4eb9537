// libtorch's ProcessGroupNCCL, made where its headers can be had. What it is
// asked to do afterwards goes through c10d::Backend, which needs no CUDA.
#include "group.h"

#include "../dist/store.h"

#if NATTEN_HAS_GROUPS

#include <cstdlib>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

void natten_cuda_group(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size, int64_t timeout_ms,
                       c10::intrusive_ptr<c10d::Backend>* backend) {
  // c10d's own watch over NCCL ends the process when a peer is lost. Here the group's owner watches, aborts the
  // backend and returns an error.
  setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::milliseconds(2 * timeout_ms);  // the owner's comes first
  auto shared = c10::make_intrusive<c10d::PrefixStore>("nccl", store);
  *backend = c10::make_intrusive<c10d::ProcessGroupNCCL>(std::move(shared), rank, size, std::move(options));
}

#endif  // NATTEN_HAS_GROUPS
