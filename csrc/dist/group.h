// Libtorch's c10d behind the C interface: what the handles point to.
#pragma once

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <cstdint>

namespace natten::dist {

struct Store {
  c10::intrusive_ptr<c10d::Store> store;
};

struct Group {
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> backend;  // the group's only one
  int64_t reductions = 0;                     // of gradients, bucket by bucket
};

}  // namespace natten::dist
