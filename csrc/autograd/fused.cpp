// Derivatives of the fused operator. Reverse mode keeps q, k, v, the output
// and the log-sum-exp: O(tokens), never the attention weights. Second
// derivatives and tangents go through the maps of bilinear.h.
#include <torch/library.h>

#include <cmath>

#include "bilinear.h"

namespace natten::autograd {
namespace {

double scale_of(c10::optional<double> scale, const Tensor& q) {
  return scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(-1))));
}

// The derivative of softmax: P (x - sum P x).
Tensor through_softmax(const Tensor& weights, const Tensor& x) {
  return weights * (x - (weights * x).sum(-1, /*keepdim=*/true));
}

struct Gradients {
  Tensor dq, dk, dv, drpb;
};

// Gradients as differentiable functions of everything they depend on.
Gradients differentiable_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                                  const OptionalTensor& rpb, const Geometry& geometry, double scale, bool rpb_grad) {
  const Tensor weights = qk(q, k, rpb, geometry, scale).softmax(-1);
  const Tensor dlogits = through_softmax(weights, zero_empty(qk(dout, v, {}, geometry, 1.0), geometry));
  return {av(dlogits, k, geometry) * scale, iv(dlogits, q, geometry, k.size(-2)) * scale,
          iv(weights, dout, geometry, v.size(-2)), rpb_grad ? scatter(dlogits, *rpb, geometry) : Tensor()};
}

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
    const Tensor &q = t[0], &k = t[1], &v = t[2];
    const OptionalTensor rpb = optional(t[3]);
    const auto scale = ctx->saved_data["scale"].toOptional<double>();
    const bool rpb_grad = has(rpb) && ctx->needs_input_grad(3);
    if (at::GradMode::is_enabled()) {
      const Gradients g = differentiable_backward(grads[0], q, k, v, rpb, saved.geometry(), scale_of(scale, q), rpb_grad);
      return {g.dq, g.dk, g.dv, g.drpb, Tensor(), Tensor()};
    }
    auto [dq, dk, dv, drpb] =
        ops::na_backward(grads[0], q, k, v, rpb, t[4], t[5], saved.geometry(), scale, rpb_grad);
    return {dq, dk, dv, rpb_grad ? drpb : Tensor(), Tensor(), Tensor()};
  }
};

// d out = AV(dP, v) + AV(P, dv) with dP through the softmax of the logits' tangent.
Tensor output_tangent(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                      const Geometry& geometry, double scale) {
  const Tensor pq = primal(q), pk = primal(k), pv = primal(v);
  const Tensor weights = qk(pq, pk, primal(rpb), geometry, scale).softmax(-1);
  Tensor dlogits, sum;
  if (has_tangent(q)) add_term(dlogits, zero_empty(qk(tangent(q), pk, {}, geometry, scale), geometry));
  if (has_tangent(k)) add_term(dlogits, zero_empty(qk(pq, tangent(k), {}, geometry, scale), geometry));
  if (has_tangent(rpb)) add_term(dlogits, gather(tangent(*rpb), pq, geometry));
  if (dlogits.defined()) add_term(sum, av(through_softmax(weights, dlogits), pv, geometry));
  if (has_tangent(v)) add_term(sum, av(weights, tangent(v), geometry));
  return sum;
}

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, at::IntArrayRef kernel_size,
          at::IntArrayRef dilation, const c10::List<bool>& is_causal, c10::optional<double> scale,
          at::IntArrayRef stride) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  Tensor out = NA::apply(primal(q), primal(k), primal(v), primal(rpb), &geometry, scale);
  if (has_tangent(q) || has_tangent(k) || has_tangent(v) || has_tangent(rpb)) {
    out._set_fw_grad(output_tangent(q, k, v, rpb, geometry, scale_of(scale, q)), kLevel, /*is_inplace_op=*/false);
  }
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Autograd, m) { m.impl("na", na); }

}  // namespace natten::autograd
