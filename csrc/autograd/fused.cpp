// Derivatives of the fused operator. Reverse mode keeps q, k, v, the output
// and the log-sum-exp: O(tokens), never the attention weights. Second
// derivatives and tangents go through the maps of bilinear.h.
#include <torch/library.h>

#include <cmath>

#include "../composite.h"
#include "../softmax.h"
#include "bilinear.h"

namespace natten::autograd {
namespace {

double scale_of(c10::optional<double> scale, const Tensor& q) {
  return scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(-1))));
}

struct Gradients {
  Tensor dq, dk, dv, drpb;
};

// Gradients as differentiable functions of everything they depend on. dlse may be undefined.
Gradients differentiable_backward(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k,
                                  const Tensor& v, const OptionalTensor& rpb, const Geometry& geometry, double scale,
                                  bool rpb_grad) {
  const Tensor weights = softmax(qk(q, k, rpb, geometry, scale));
  Tensor dlogits = through_softmax(weights, zero_empty(qk(dout, v, {}, geometry, 1.0), geometry));
  if (dlse.defined()) dlogits = dlogits + weights * dlse.unsqueeze(-1).to(weights.scalar_type());
  return {av(dlogits, k, geometry) * scale, iv(dlogits, q, geometry, k.size(-2)) * scale,
          iv(weights, dout, geometry, v.size(-2)), rpb_grad ? scatter(dlogits, *rpb, geometry) : Tensor()};
}

Gradients fused_backward(const Tensor& dout, const Tensor& dlse, const Tensor& q, const Tensor& k, const Tensor& v,
                         const OptionalTensor& rpb, const Tensor& out, const Tensor& lse, const Geometry& geometry,
                         c10::optional<double> scale, bool rpb_grad) {
  auto [dq, dk, dv, drpb] = ops::na_backward(dout, q, k, v, rpb, out, lse, geometry, scale, rpb_grad, optional(dlse));
  return {dq, dk, dv, rpb_grad ? drpb : Tensor()};
}

struct NA : torch::autograd::Function<NA> {
  static variable_list forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                               const OptionalTensor& rpb, const Geometry* geometry, c10::optional<double> scale,
                               const Given* given) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [out, lse] = ops::na_forward(q, k, v, rpb, *geometry, scale);
    Saved::store(ctx, *geometry);
    store_given(ctx, *given);
    ctx->saved_data["scale"] = scale;
    ctx->save_for_backward({q, k, v, rpb.value_or(Tensor()), out, lse});
    ctx->set_materialize_grads(false);
    return {out, lse};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = saved_inputs(ctx);
    const Tensor &q = t[0], &k = t[1], &v = t[2];
    const OptionalTensor rpb = optional(t[3]);
    const auto scale = ctx->saved_data["scale"].toOptional<double>();
    const bool rpb_grad = has(rpb) && ctx->needs_input_grad(3);
    const Tensor &dlse = grads[1], dout = grads[0].defined() ? grads[0] : at::zeros_like(t[4]);
    const Gradients g =
        differentiable(t, grads)
            ? differentiable_backward(dout, dlse, q, k, v, rpb, saved.geometry(), scale_of(scale, q), rpb_grad)
            : fused_backward(dout, dlse, q, k, v, rpb, t[4], t[5], saved.geometry(), scale, rpb_grad);
    return {g.dq, g.dk, g.dv, g.drpb, Tensor(), Tensor(), Tensor()};
  }
};

// Tangents of out and lse: d lse = sum P d logits, and
// d out = AV(dP, v) + AV(P, dv) with dP through the softmax.
void set_tangents(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                  const Geometry& geometry, double scale, const Tensor& out, const Tensor& lse) {
  const Tensor pq = primal(q), pk = primal(k), pv = primal(v);
  const Tensor weights = softmax(qk(pq, pk, primal(rpb), geometry, scale));
  Tensor dlogits, sum;
  if (has_tangent(q)) add_term(dlogits, zero_empty(qk(tangent(q), pk, {}, geometry, scale), geometry));
  if (has_tangent(k)) add_term(dlogits, zero_empty(qk(pq, tangent(k), {}, geometry, scale), geometry));
  if (has_tangent(rpb)) add_term(dlogits, gather(tangent(*rpb), pq, geometry));
  if (dlogits.defined()) {
    add_term(sum, av(through_softmax(weights, dlogits), pv, geometry));
    lse._set_fw_grad((weights * dlogits).sum(-1).to(lse.scalar_type()), kLevel, /*is_inplace_op=*/false);
  }
  if (has_tangent(v)) add_term(sum, av(weights, tangent(v), geometry));
  out._set_fw_grad(sum, kLevel, /*is_inplace_op=*/false);
}

using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

bool any_tangent(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb) {
  return has_tangent(q) || has_tangent(k) || has_tangent(v) || has_tangent(rpb);
}

std::tuple<Tensor, Tensor> fused(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                 const Geometry& geometry, c10::optional<double> scale) {
  const Given given{q, k, v, rpb.value_or(Tensor())};
  const variable_list results = NA::apply(primal(q), primal(k), primal(v), primal(rpb), &geometry, scale, &given);
  if (any_tangent(q, k, v, rpb)) {
    set_tangents(q, k, v, rpb, geometry, scale_of(scale, q), results[0], results[1]);
  }
  return {results[0], results[1]};
}

// Whether nobody asks for derivatives: no log-sum-exp need be made then.
bool values_only(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb) {
  const bool wanted = q.requires_grad() || k.requires_grad() || v.requires_grad() || (has(rpb) && rpb->requires_grad());
  return !(at::GradMode::is_enabled() && wanted) && !any_tangent(q, k, v, rpb);
}

std::tuple<Tensor, Tensor> na_lse(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                  Ints kernel_size, Ints dilation, const Bools& is_causal, c10::optional<double> scale,
                                  Ints stride) {
  return fused(q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale);
}

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
          const Bools& is_causal, c10::optional<double> scale, Ints stride, const OptionalTensor& extra_k,
          const OptionalTensor& extra_v, double dropout_p, c10::optional<int64_t> seed) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  const Extras extras{extra_k, extra_v, dropout_p, seed};
  if (extras.any()) return na_with_extras(q, k, v, rpb, geometry, scale, extras);
  if (values_only(q, k, v, rpb)) {
    at::AutoDispatchBelowADInplaceOrView guard;
    return ops::na(q, k, v, rpb, geometry, scale);
  }
  return std::get<0>(fused(q, k, v, rpb, geometry, scale));
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Autograd, m) {
  m.impl("na", na);
  m.impl("na_lse", na_lse);
}

}  // namespace natten::autograd
