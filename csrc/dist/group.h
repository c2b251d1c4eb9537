// The group of processes behind the C interface's handle.
#pragma once

#include <cstdint>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace natten::dist {

struct Group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> backend;  // the group's only one
  int64_t reductions = 0;                              // of gradients, bucket by bucket
};

}  // namespace natten::dist
