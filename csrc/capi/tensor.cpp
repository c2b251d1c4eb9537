// Tensors across the C interface: facts, bytes in and out, gradients.
#include <ATen/Functions.h>
#include <ATen/NestedTensorImpl.h>
#include <ATen/core/grad_mode.h>

#include "../graph/shapes.h"
#include "guard.h"

using natten::capi::guard;
using natten::capi::tensor;

void natten_free(void* memory) { std::free(memory); }

void natten_tensor_free(natten_tensor handle) { delete static_cast<at::Tensor*>(handle); }

char* natten_tensor_info(natten_tensor handle, int64_t* info, int64_t capacity) {
  return guard([&] {
    const at::Tensor& t = tensor(handle);
    constexpr int64_t kFixed = 9;
    const int64_t dim = t.defined() ? t.dim() : 0;
    TORCH_CHECK(capacity >= kFixed + 2 * dim, "tensor info needs ", kFixed + 2 * dim, " words, has ", capacity);
    std::fill(info, info + kFixed, 0);
    info[0] = t.defined();
    if (!t.defined()) return;
    info[1] = static_cast<int64_t>(t.scalar_type());
    info[2] = static_cast<int64_t>(t.device().type());
    info[3] = t.device().index();
    info[4] = static_cast<int64_t>(t.element_size());
    info[6] = t.requires_grad();
    info[7] = dim;
    info[8] = t.is_nested();
    if (t.is_nested()) {  // ragged dimensions have no one size, and no strides
      for (int64_t i = 0; i < dim; i++) {
        info[kFixed + i] = at::native::get_nested_tensor_impl(t)->opt_size(i).value_or(-1);
        info[kFixed + dim + i] = 0;
      }
      return;
    }
    info[5] = t.is_contiguous();
    for (int64_t i = 0; i < dim; i++) {
      info[kFixed + i] = t.size(i);
      info[kFixed + dim + i] = t.stride(i);
    }
  });
}

namespace {

// A CPU tensor over the caller's memory with the shape and dtype of `like`.
at::Tensor over(void* data, const at::Tensor& like, int64_t bytes) {
  const int64_t want = like.numel() * static_cast<int64_t>(like.element_size());
  TORCH_CHECK(bytes == want, "tensor holds ", want, " bytes, buffer has ", bytes);
  return at::from_blob(data, like.sizes(), at::TensorOptions().dtype(like.scalar_type()));
}

}  // namespace

char* natten_tensor_write(natten_tensor handle, const void* data, int64_t bytes) {
  return guard([&] {
    at::NoGradGuard no_grad;
    natten::graph::ForReal for_real;
    at::Tensor& t = tensor(handle);
    t.copy_(over(const_cast<void*>(data), t, bytes));
  });
}

char* natten_tensor_read(natten_tensor handle, void* data, int64_t bytes) {
  return guard([&] {
    at::NoGradGuard no_grad;
    natten::graph::ForReal for_real;
    const at::Tensor& t = tensor(handle);
    TORCH_CHECK(!t.is_meta(), "a tensor on the meta device has no values to read");
    over(data, t, bytes).copy_(t);
  });
}

char* natten_tensor_memory(natten_tensor handle, void** data) {
  return guard([&] {
    at::Tensor& t = tensor(handle);
    TORCH_CHECK(t.device().is_cpu() && t.is_contiguous(),
                "memory is that of contiguous tensors on the CPU, this one is ", t.device(),
                t.is_contiguous() ? "" : ", with strides");
    *data = t.mutable_data_ptr();
    t.unsafeGetTensorImpl()->bump_version();  // what autograd has kept of it is not what it was
  });
}

char* natten_tensor_grad(natten_tensor handle, natten_tensor* grad) {
  return guard([&] {
    const at::Tensor& g = tensor(handle).grad();
    *grad = g.defined() ? new at::Tensor(g) : nullptr;
  });
}

char* natten_tensor_set_grad(natten_tensor handle, natten_tensor grad) {
  return guard([&] { tensor(handle).mutable_grad() = grad == nullptr ? at::Tensor() : tensor(grad); });
}
