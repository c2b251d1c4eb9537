// Nested (ragged) tensors: a batch whose samples have their own spatial sizes,
// without padding. Each sample goes through the operator on its own; unbinding
// and binding are differentiable, so gradients come back nested.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "ops.h"

namespace natten {
namespace {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

Tensor join(const std::vector<Tensor>& samples) { return at::_nested_tensor_from_tensor_list(samples); }

// The bias belongs to every sample.
const OptionalTensor& shared(const char* op, const OptionalTensor& rpb) {
  TORCH_CHECK(!has(rpb) || !rpb->is_nested(), "natten::", op, ": rpb is a nested tensor, want a plain one");
  return rpb;
}

// The samples of one argument, each with a batch dimension of 1.
std::vector<Tensor> samples_of(const char* op, const char* name, const Tensor& t, size_t want) {
  TORCH_CHECK(t.is_nested(), "natten::", op, ": ", name,
              " is a plain tensor, want a nested one like the first argument");
  std::vector<Tensor> samples = t.unbind(0);
  TORCH_CHECK(want == 0 || samples.size() == want, "natten::", op, ": ", name, " has ", samples.size(),
              " samples, want ", want, " like the first argument");
  TORCH_CHECK(!samples.empty(), "natten::", op, ": ", name, " has no samples");
  for (Tensor& sample : samples) sample = sample.unsqueeze(0);
  return samples;
}

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
          const Bools& is_causal, c10::optional<double> scale, Ints stride, const OptionalTensor& extra_k,
          const OptionalTensor& extra_v, double dropout_p, c10::optional<int64_t> seed) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  const auto qs = samples_of("na", "q", q, 0);
  const auto ks = samples_of("na", "k", k, qs.size()), vs = samples_of("na", "v", v, qs.size());
  std::vector<Tensor> extra_ks(qs.size()), extra_vs(qs.size()), outs;
  if (has(extra_k)) extra_ks = samples_of("na", "extra_k", *extra_k, qs.size());
  if (has(extra_v)) extra_vs = samples_of("na", "extra_v", *extra_v, qs.size());
  for (size_t i = 0; i < qs.size(); i++) {
    // One seed, one mask per sample.
    const auto own_seed = seed.has_value() ? c10::optional<int64_t>(*seed + static_cast<int64_t>(i)) : seed;
    const Extras extras{extra_ks[i], extra_vs[i], dropout_p, own_seed};
    outs.push_back(ops::na(qs[i], ks[i], vs[i], shared("na", rpb), geometry, scale, extras).squeeze(0));
  }
  return join(outs);
}

std::tuple<Tensor, Tensor> na_lse(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                  Ints kernel_size, Ints dilation, const Bools& is_causal, c10::optional<double> scale,
                                  Ints stride) {
  const Geometry geometry{kernel_size, dilation, is_causal, stride};
  const auto qs = samples_of("na_lse", "q", q, 0);
  const auto ks = samples_of("na_lse", "k", k, qs.size()), vs = samples_of("na_lse", "v", v, qs.size());
  std::vector<Tensor> outs, lses;
  for (size_t i = 0; i < qs.size(); i++) {
    auto [out, lse] = ops::na_lse(qs[i], ks[i], vs[i], shared("na_lse", rpb), geometry, scale);
    outs.push_back(out.squeeze(0));
    lses.push_back(lse.squeeze(0));
  }
  return {join(outs), join(lses)};
}

Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
             const Bools& is_causal, double scale, Ints stride) {
  const auto qs = samples_of("na_qk", "q", q, 0), ks = samples_of("na_qk", "k", k, qs.size());
  std::vector<Tensor> logits;
  for (size_t i = 0; i < qs.size(); i++) {
    logits.push_back(
        ops::na_qk(qs[i], ks[i], shared("na_qk", rpb), {kernel_size, dilation, is_causal, stride}, scale).squeeze(0));
  }
  return join(logits);
}

Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
             Ints stride) {
  const auto as = samples_of("na_av", "attn", attn, 0), vs = samples_of("na_av", "v", v, as.size());
  std::vector<Tensor> outs;
  for (size_t i = 0; i < as.size(); i++) {
    outs.push_back(ops::na_av(as[i], vs[i], {kernel_size, dilation, is_causal, stride}).squeeze(0));
  }
  return join(outs);
}

void add(torch::Library& m) {
  m.impl("na", na);
  m.impl("na_lse", na_lse);
  m.impl("na_qk", na_qk);
  m.impl("na_av", na_av);
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, NestedTensorCPU, m) { add(m); }
TORCH_LIBRARY_IMPL(natten, NestedTensorCUDA, m) { add(m); }
TORCH_LIBRARY_IMPL(natten, AutogradNestedTensor, m) { add(m); }

}  // namespace natten
