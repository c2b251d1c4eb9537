// What every autograd function here shares: window arguments that live in the
// graph, and tangents of forward-mode differentiation.
#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "../ops.h"

namespace natten::autograd {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The window arguments, owned: they live in the graph until backward.
struct Saved {
  std::vector<int64_t> kernel_size, dilation, stride;
  c10::List<bool> is_causal;

  static void store(AutogradContext* ctx, const Geometry& geometry) {
    ctx->saved_data["kernel_size"] = geometry.kernel_size.vec();
    ctx->saved_data["dilation"] = geometry.dilation.vec();
    ctx->saved_data["is_causal"] = geometry.is_causal;
    ctx->saved_data["stride"] = geometry.stride.vec();
  }
  explicit Saved(AutogradContext* ctx)
      : kernel_size(ctx->saved_data["kernel_size"].toIntVector()),
        dilation(ctx->saved_data["dilation"].toIntVector()),
        stride(ctx->saved_data["stride"].toIntVector()),
        is_causal(ctx->saved_data["is_causal"].toBoolList()) {}
  Geometry geometry() const { return {kernel_size, dilation, is_causal, stride}; }
};

inline OptionalTensor optional(const Tensor& t) { return t.defined() ? OptionalTensor(t) : c10::nullopt; }

// Forward mode. A function computes on primals, so that torch::autograd's own
// Function, which knows no tangents, sees none; then the result gets its tangent.
constexpr int64_t kLevel = 0;  // libtorch has one level

inline bool has_tangent(const Tensor& t) { return t.defined() && t._fw_grad(kLevel).defined(); }
inline bool has_tangent(const OptionalTensor& t) { return has(t) && has_tangent(*t); }
inline Tensor primal(const Tensor& t) { return has_tangent(t) ? t._fw_primal(kLevel) : t; }
inline OptionalTensor primal(const OptionalTensor& t) {
  return has_tangent(t) ? OptionalTensor(t->_fw_primal(kLevel)) : t;
}
// An undefined tensor where t has none; its terms drop out of the sum.
inline Tensor tangent(const Tensor& t) { return t.defined() ? t._fw_grad(kLevel) : Tensor(); }

// A gradient has a tangent where the saved inputs had one (forward over reverse). Those inputs are kept beside the
// saved ones as they were given; libtorch takes their tangents away when the level ends.
using Given = std::vector<Tensor>;

inline void store_given(AutogradContext* ctx, const Given& given) {
  for (const Tensor& t : given) {
    if (has_tangent(t)) {
      ctx->saved_data["given"] = given;
      return;
    }
  }
}

// What save_for_backward kept, by version counters unchanged, with the tangents that are still there.
inline variable_list saved_inputs(AutogradContext* ctx) {
  variable_list saved = ctx->get_saved_variables();
  const auto found = ctx->saved_data.find("given");
  if (found != ctx->saved_data.end()) {
    const Given given = found->second.toTensorVector();
    for (size_t i = 0; i < given.size(); i++) {
      if (has_tangent(given[i])) saved[i] = given[i];
    }
  }
  return saved;
}

// Whether a backward pass must give differentiable gradients: somebody asks for more orders, or tangents go through it.
inline bool differentiable(const variable_list& saved, const variable_list& grads) {
  if (at::GradMode::is_enabled()) return true;
  for (const variable_list* list : {&saved, &grads}) {
    for (const Tensor& t : *list) {
      if (has_tangent(t)) return true;
    }
  }
  return false;
}

// Sums the terms that exist.
inline void add_term(Tensor& sum, const Tensor& term) { sum = sum.defined() ? sum + term : term; }

}  // namespace natten::autograd
