// Gradients as values, and levels of forward-mode differentiation.
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>

#include "guard.h"

using natten::capi::guard;
using natten::capi::tensor;

namespace {

torch::autograd::variable_list list_of(const natten_tensor* handles, int64_t count) {
  torch::autograd::variable_list list;
  for (int64_t i = 0; i < count; i++) list.push_back(handles[i] == nullptr ? at::Tensor() : tensor(handles[i]));
  return list;
}

thread_local bool level_is_ours = false;

}  // namespace

char* natten_gradients(const natten_tensor* outputs, const natten_tensor* output_gradients, int64_t output_count,
                       const natten_tensor* inputs, int64_t input_count, int create_graph, natten_tensor* gradients) {
  return guard([&] {
    const auto found = torch::autograd::grad(list_of(outputs, output_count), list_of(inputs, input_count),
                                             list_of(output_gradients, output_count),
                                             /*retain_graph=*/create_graph != 0, create_graph != 0,
                                             /*allow_unused=*/true);
    for (int64_t i = 0; i < input_count; i++) {
      gradients[i] = found[i].defined() ? new at::Tensor(found[i]) : nullptr;
    }
  });
}

char* natten_dual_enter(void) {
  return guard([&] {
    const uint64_t level = torch::autograd::ForwardADLevel::get_next_idx();
    if (level != 0) {
      torch::autograd::ForwardADLevel::release_idx(level);
      TORCH_CHECK(false, "forward-mode levels do not nest: libtorch has one");
    }
    level_is_ours = true;
  });
}

char* natten_dual_leave(void) {
  return guard([&] {
    level_is_ours = false;
    torch::autograd::ForwardADLevel::release_idx(0);
  });
}

int natten_dual_entered(void) { return level_is_ours; }
