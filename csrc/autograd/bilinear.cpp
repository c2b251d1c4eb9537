#include "bilinear.h"

#include <torch/library.h>

#include <limits>

namespace natten::autograd {
namespace {

using at::AutoDispatchBelowADInplaceOrView;
using torch::autograd::Function;

// Rows of zeros of size 1 in q's token shape, for the maps that need only the
// windows: no memory but one number.
Tensor zero_rows(const Tensor& like, int64_t heads) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[shape.size() - 2] = heads;
  shape.back() = 1;
  return at::zeros({1}, like.options()).expand(shape);
}

struct QK : Function<QK> {
  static Tensor forward(AutogradContext* ctx, const Tensor& q, const Tensor& k, const OptionalTensor& rpb,
                        const Geometry* geometry, double scale, const Given* given) {
    AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    store_given(ctx, *given);
    ctx->saved_data["scale"] = scale;
    ctx->save_for_backward({q, k, rpb.value_or(Tensor())});
    return ops::na_qk(q, k, rpb, *geometry, scale);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const Geometry geometry = saved.geometry();
    const variable_list t = saved_inputs(ctx);
    const Tensor &q = t[0], &k = t[1], &rpb = t[2];
    const double scale = ctx->saved_data["scale"].toDouble();
    const bool rpb_grad = rpb.defined() && ctx->needs_input_grad(2);
    if (differentiable(t, grads)) {
      return {av(grads[0], k, geometry) * scale,
              iv(grads[0], q, geometry, k.size(-2)) * scale,
              rpb_grad ? scatter(grads[0], rpb, geometry) : Tensor(),
              Tensor(),
              Tensor(),
              Tensor()};
    }
    auto [dq, dk, drpb] = ops::na_qk_backward(grads[0], q, k, optional(rpb), geometry, scale, rpb_grad);
    return {dq, dk, rpb_grad ? drpb : Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

struct AV : Function<AV> {
  static Tensor forward(AutogradContext* ctx, const Tensor& attn, const Tensor& v, const Geometry* geometry,
                        const Given* given) {
    AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    store_given(ctx, *given);
    ctx->save_for_backward({attn, v});
    return ops::na_av(attn, v, *geometry);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const Geometry geometry = saved.geometry();
    const variable_list t = saved_inputs(ctx);
    const Tensor &attn = t[0], &v = t[1];
    if (differentiable(t, grads)) {
      return {zero_empty(qk(grads[0], v, {}, geometry, 1.0), geometry), iv(attn, grads[0], geometry, v.size(-2)),
              Tensor(), Tensor()};
    }
    auto [dattn, dv] = ops::na_av_backward(grads[0], attn, v, geometry);
    return {dattn, dv, Tensor(), Tensor()};
  }
};

struct IV : Function<IV> {
  static Tensor forward(AutogradContext* ctx, const Tensor& attn, const Tensor& x, const Geometry* geometry,
                        int64_t kv_heads, const Given* given) {
    AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    store_given(ctx, *given);
    ctx->save_for_backward({attn, x});
    // The gradient of av towards its values, which do not enter it.
    std::vector<int64_t> shape = x.sizes().vec();
    shape[shape.size() - 2] = kv_heads;
    const Tensor values = at::zeros({1}, x.options()).expand(shape);
    return std::get<1>(ops::na_av_backward(x, attn, values, *geometry));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const Geometry geometry = saved.geometry();
    const variable_list t = saved_inputs(ctx);
    return {zero_empty(qk(t[1], grads[0], {}, geometry, 1.0), geometry), av(t[0], grads[0], geometry), Tensor(),
            Tensor(), Tensor()};
  }
};

struct Gather : Function<Gather> {
  static Tensor forward(AutogradContext* ctx, const Tensor& rpb, const Tensor& like, const Geometry* geometry) {
    AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    ctx->save_for_backward({rpb});
    const Tensor zeros = zero_rows(like, like.size(-2));
    return ops::na_qk(zeros, zeros, rpb, *geometry, 1.0);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = ctx->get_saved_variables();
    return {scatter(grads[0], t[0], saved.geometry()), Tensor(), Tensor()};
  }
};

struct Scatter : Function<Scatter> {
  static Tensor forward(AutogradContext* ctx, const Tensor& attn, const Tensor& rpb, const Geometry* geometry) {
    AutoDispatchBelowADInplaceOrView guard;
    Saved::store(ctx, *geometry);
    ctx->save_for_backward({attn});
    const Tensor zeros = zero_rows(attn, attn.size(-2));
    return std::get<2>(ops::na_qk_backward(attn, zeros, zeros, rpb, *geometry, 1.0, /*rpb_grad=*/true));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Saved saved(ctx);
    const variable_list t = ctx->get_saved_variables();
    return {gather(grads[0], t[0], saved.geometry()), Tensor(), Tensor()};
  }
};

}  // namespace

Tensor zero_empty(const Tensor& logits, const Geometry& geometry) {
  for (size_t i = 0; i < geometry.is_causal.size(); i++) {
    if (geometry.is_causal.get(i)) {
      return logits.masked_fill(logits == -std::numeric_limits<double>::infinity(), 0);
    }
  }
  return logits;
}

Tensor qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, const Geometry& geometry, double scale) {
  const Given given{q, k, rpb.value_or(Tensor())};
  Tensor logits = QK::apply(primal(q), primal(k), primal(rpb), &geometry, scale, &given);
  if (has_tangent(q) || has_tangent(k) || has_tangent(rpb)) {
    Tensor sum;
    if (has_tangent(q)) add_term(sum, zero_empty(qk(tangent(q), primal(k), {}, geometry, scale), geometry));
    if (has_tangent(k)) add_term(sum, zero_empty(qk(primal(q), tangent(k), {}, geometry, scale), geometry));
    if (has_tangent(rpb)) add_term(sum, gather(tangent(*rpb), primal(q), geometry));
    logits._set_fw_grad(sum, kLevel, /*is_inplace_op=*/false);
  }
  return logits;
}

Tensor av(const Tensor& attn, const Tensor& v, const Geometry& geometry) {
  const Given given{attn, v};
  Tensor out = AV::apply(primal(attn), primal(v), &geometry, &given);
  if (has_tangent(attn) || has_tangent(v)) {
    Tensor sum;
    if (has_tangent(attn)) add_term(sum, av(tangent(attn), primal(v), geometry));
    if (has_tangent(v)) add_term(sum, av(primal(attn), tangent(v), geometry));
    out._set_fw_grad(sum, kLevel, /*is_inplace_op=*/false);
  }
  return out;
}

Tensor iv(const Tensor& attn, const Tensor& x, const Geometry& geometry, int64_t kv_heads) {
  const Given given{attn, x};
  Tensor out = IV::apply(primal(attn), primal(x), &geometry, kv_heads, &given);
  if (has_tangent(attn) || has_tangent(x)) {
    Tensor sum;
    if (has_tangent(attn)) add_term(sum, iv(tangent(attn), primal(x), geometry, kv_heads));
    if (has_tangent(x)) add_term(sum, iv(primal(attn), tangent(x), geometry, kv_heads));
    out._set_fw_grad(sum, kLevel, /*is_inplace_op=*/false);
  }
  return out;
}

Tensor gather(const Tensor& rpb, const Tensor& like, const Geometry& geometry) {
  Tensor out = Gather::apply(primal(rpb), primal(like).detach(), &geometry);
  if (has_tangent(rpb)) out._set_fw_grad(gather(tangent(rpb), like, geometry), kLevel, /*is_inplace_op=*/false);
  return out;
}

Tensor scatter(const Tensor& attn, const Tensor& rpb, const Geometry& geometry) {
  Tensor out = Scatter::apply(primal(attn), primal(rpb).detach(), &geometry);
  if (has_tangent(attn)) out._set_fw_grad(scatter(tangent(attn), rpb, geometry), kLevel, /*is_inplace_op=*/false);
  return out;
}

namespace {

using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
             const Bools& is_causal, double scale, Ints stride) {
  return qk(q, k, rpb, {kernel_size, dilation, is_causal, stride}, scale);
}

Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
             Ints stride) {
  return av(attn, v, {kernel_size, dilation, is_causal, stride});
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Autograd, m) {
  m.impl("na_qk", na_qk);
  m.impl("na_av", na_av);
}

}  // namespace natten::autograd
