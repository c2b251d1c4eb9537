// The store behind the C interface's handle.
#pragma once

#include <torch/version.h>

#include <torch/csrc/distributed/c10d/Store.hpp>

// c10d's C++ interface is not a stable one: groups are built for the releases that they have been tried with.
#define NATTEN_HAS_GROUPS (TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 11))

namespace natten::dist {

struct Store {
  c10::intrusive_ptr<c10d::Store> store;
};

}  // namespace natten::dist
