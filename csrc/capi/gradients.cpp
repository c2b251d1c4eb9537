// Gradients of many leaves at once.
#include "guard.h"

using natten::capi::guard;
using natten::capi::tensor;

char* natten_gradients_defined(const natten_tensor* tensors, int64_t count, uint8_t* defined) {
  return guard([&] {
    for (int64_t i = 0; i < count; i++) defined[i] = tensor(tensors[i]).grad().defined();
  });
}

char* natten_gradients_clear(const natten_tensor* tensors, int64_t count) {
  return guard([&] {
    for (int64_t i = 0; i < count; i++) tensor(tensors[i]).mutable_grad() = at::Tensor();
  });
}
