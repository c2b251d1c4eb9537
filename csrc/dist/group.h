// The group of processes behind the C interface's handle.
#pragma once

#include <cstdint>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace natten::dist {

// A device chooses its backend, as in torch.distributed.
struct Group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;  // CPU
  c10::intrusive_ptr<c10d::Backend> nccl;           // CUDA; null where there is none
  c10::Device device = c10::kCPU;                   // that nccl is for
  int64_t reductions = 0;                           // of gradients, bucket by bucket

  c10d::Backend& backend(const at::Tensor& t) { return *group->getBackend(t.device().type()); }
};

}  // namespace natten::dist
