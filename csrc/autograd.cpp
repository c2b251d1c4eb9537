// Reverse-mode derivatives of the public operators. The fused one keeps q, k,
// v, its output and the log-sum-exp: O(tokens), never the attention weights.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "ops.h"

namespace natten {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

// The window arguments, owned: they live in the graph until backward.
struct Saved {
  std::vector<int64_t> kernel_size, dilation, stride;
  Bools is_causal;

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

OptionalTensor optional(const Tensor& t) { return t.defined() ? OptionalTensor(t) : c10::nullopt; }

struct NA : torch::autograd::Function<NA> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                        const OptionalTensor& rpb, const Geometry* geometry, c10::optional<double> scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [out, lse] = ops::na_forward(q, k, v, rpb, *geometry, scale);
    Saved::store(ctx, *geometry);
    ctx->saved_data["scale"] = scale;
    ctx->save_for_backward({q, k, v, rpb.value_or(Tensor()), out, lse});
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = ctx->get_saved_variables();
    const bool rpb_grad = t[3].defined() && ctx->needs_input_grad(3);
    auto [dq, dk, dv, drpb] = ops::na_backward(grads[0], t[0], t[1], t[2], optional(t[3]), t[4], t[5],
                                               saved.geometry(), ctx->saved_data["scale"].toOptional<double>(),
                                               rpb_grad);
    return {dq, dk, dv, rpb_grad ? drpb : Tensor(), Tensor(), Tensor()};
  }
};

struct QK : torch::autograd::Function<QK> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const OptionalTensor& rpb,
                        const Geometry* geometry, double scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    ctx->saved_data["scale"] = scale;
    ctx->save_for_backward({q, k, rpb.value_or(Tensor())});
    return ops::na_qk(q, k, rpb, *geometry, scale);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = ctx->get_saved_variables();
    const bool rpb_grad = t[2].defined() && ctx->needs_input_grad(2);
    auto [dq, dk, drpb] = ops::na_qk_backward(grads[0], t[0], t[1], optional(t[2]), saved.geometry(),
                                              ctx->saved_data["scale"].toDouble(), rpb_grad);
    return {dq, dk, rpb_grad ? drpb : Tensor(), Tensor(), Tensor()};
  }
};

struct AV : torch::autograd::Function<AV> {
  static Tensor forward(AutogradContext* ctx, const Tensor& attn, const Tensor& v, const Geometry* geometry) {
    at::AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    ctx->save_for_backward({attn, v});
    return ops::na_av(attn, v, *geometry);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = ctx->get_saved_variables();
    auto [dattn, dv] = ops::na_av_backward(grads[0], t[0], t[1], saved.geometry());
    return {dattn, dv, Tensor()};
  }
};

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size,
          Ints dilation, const Bools& is_causal, c10::optional<double> scale, Ints stride) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  return NA::apply(q, k, v, rpb, &geometry, scale);
}

Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
             const Bools& is_causal, double scale, Ints stride) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  return QK::apply(q, k, rpb, &geometry, scale);
}

Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
             Ints stride) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  return AV::apply(attn, v, &geometry);
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Autograd, m) {
  m.impl("na", na);
  m.impl("na_qk", na_qk);
  m.impl("na_av", na_av);
}

}  // namespace natten
