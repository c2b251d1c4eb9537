#include "composite.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>
#include <torch/library.h>

#include "softmax.h"

namespace natten {
namespace {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

// [B, *spatial, H, X] <-> [B, H, tokens, X]
Tensor heads_first(const Tensor& t) { return t.flatten(1, -3).transpose(1, 2); }
Tensor heads_last(const Tensor& t, Ints token_shape) {
  std::vector<int64_t> shape = token_shape.vec();
  shape.push_back(t.size(-1));
  return t.transpose(1, 2).reshape(shape);
}

// Additional keys or values [B, E, Hkv, X] as [B, H, E, X].
Tensor spread(const Tensor& t, int64_t heads) {
  const Tensor first = t.transpose(1, 2);
  return first.size(1) == heads ? first : first.repeat_interleave(heads / first.size(1), 1);
}

// Scaled logits of every query against the additional keys, [B, *spatial, H, E].
Tensor extra_logits(const Tensor& q, const Tensor& extra_k, const Problem& problem) {
  const Tensor logits =
      at::matmul(widened(heads_first(q)) * problem.scale, spread(widened(extra_k), problem.heads).transpose(-1, -2));
  return heads_last(logits, token_shape(problem, -1));
}
Tensor extra_values(const Tensor& weights, const Tensor& extra_v, const Problem& problem) {
  const Tensor values = spread(widened(extra_v), problem.heads);
  return heads_last(at::matmul(heads_first(weights).to(values.scalar_type()), values), token_shape(problem, -1));
}

// Ones scaled by 1/(1-p) with probability 1-p, zeros else. A seed makes its own
// generator on the CPU, so the mask is the same on every device.
Tensor dropout_mask(const Tensor& like, double p, c10::optional<int64_t> seed) {
  c10::NoGradGuard no_grad;
  if (like.is_meta()) return at::empty_like(like);
  Tensor mask = at::empty(like.sizes(), like.options().device(seed.has_value() ? at::kCPU : like.device()));
  if (seed.has_value()) {
    mask.bernoulli_(1 - p, at::detail::createCPUGenerator(static_cast<uint64_t>(*seed)));
  } else {
    mask.bernoulli_(1 - p);
  }
  return mask.to(like.device()).div_(1 - p);
}

}  // namespace

std::tuple<Tensor, Tensor> merge_attentions(at::TensorList outs, at::TensorList lses) {
  check_merge("merge_attentions", outs, lses);
  const Tensor all = at::stack(lses);
  const Tensor lse = log_sum_exp(all, 0);
  const Tensor weights = (all - lse).exp().unsqueeze(-1);
  Tensor out = outs[0] * weights[0];
  for (size_t i = 1; i < outs.size(); i++) out = out + outs[i] * weights[static_cast<int64_t>(i)];
  return {out.to(outs[0].scalar_type()), lse};
}

Tensor na_with_extras(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                      const Geometry& geometry, c10::optional<double> scale, const Extras& extras) {
  const Problem problem = check_na("na", q, k, v, rpb, geometry, scale);
  check_extra("na", q, v, extras.k, extras.v, problem);
  check_dropout("na", extras.dropout_p);
  if (has(extras.k) && extras.k->size(1) == 0) {
    return ops::na(q, k, v, rpb, geometry, scale, {{}, {}, extras.dropout_p, extras.seed});
  }
  if (extras.dropout_p == 0) {
    auto [out, lse] = ops::na_lse(q, k, v, rpb, geometry, scale);
    const Tensor logits = extra_logits(q, *extras.k, problem);
    const Tensor extra_lse = log_sum_exp(logits, -1);
    const Tensor weights = (logits - extra_lse.unsqueeze(-1)).exp();
    const Tensor extra_out = extra_values(weights, *extras.v, problem).to(out.scalar_type());
    return std::get<0>(merge_attentions({out, extra_out}, {lse, extra_lse}));
  }
  Tensor logits = ops::na_qk(q, k, rpb, geometry, problem.scale);
  const int64_t slots = logits.size(-1);
  if (has(extras.k)) logits = at::cat({logits, extra_logits(q, *extras.k, problem).to(logits.scalar_type())}, -1);
  const Tensor weights = softmax(logits);
  const Tensor kept = weights * dropout_mask(weights, extras.dropout_p, extras.seed);
  Tensor out = ops::na_av(kept.narrow(-1, 0, slots), v, geometry);
  if (has(extras.k)) {
    out = out + extra_values(kept.narrow(-1, slots, kept.size(-1) - slots), *extras.v, problem).to(out.scalar_type());
  }
  return out;
}

Tensor na_varlen(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints sizes,
                 const Geometry& geometry, c10::optional<double> scale) {
  const std::vector<int64_t> lengths = check_varlen("na_varlen", q, k, v, sizes, geometry);
  const int64_t rank = static_cast<int64_t>(geometry.kernel_size.size());
  if (lengths.empty()) return at::empty({0, q.size(1), v.size(2)}, q.options());
  // Split, not narrow: its gradient is one concatenation.
  const auto qs = q.split_with_sizes(lengths), ks = k.split_with_sizes(lengths), vs = v.split_with_sizes(lengths);
  std::vector<Tensor> outs;
  for (size_t i = 0; i < lengths.size(); i++) {
    std::vector<int64_t> lead{1};
    for (int64_t axis = 0; axis < rank; axis++) lead.push_back(sizes[i * rank + axis]);
    const auto sample = [&lead](const Tensor& t) {
      std::vector<int64_t> shape = lead;
      shape.push_back(t.size(1));
      shape.push_back(t.size(2));
      return t.view(shape);
    };
    if (lengths[i] == 0) continue;
    outs.push_back(ops::na(sample(qs[i]), sample(ks[i]), sample(vs[i]), rpb, geometry, scale).flatten(0, rank));
  }
  return outs.empty() ? at::empty({0, q.size(1), v.size(2)}, q.options()) : at::cat(outs);
}

namespace {

Tensor na_varlen_op(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints sizes,
                    Ints kernel_size, Ints dilation, const Bools& is_causal, c10::optional<double> scale, Ints stride) {
  return na_varlen(q, k, v, rpb, sizes, {kernel_size, dilation, is_causal, stride}, scale);
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, CompositeImplicitAutograd, m) {
  m.impl("merge_attentions", merge_attentions);
  m.impl("na_varlen", na_varlen_op);
}

}  // namespace natten
