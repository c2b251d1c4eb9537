// Shapes without data: the operators on meta tensors, for tracing, counting and
// Python's fake tensors. The same checks as everywhere.
#include <ATen/Functions.h>
#include <torch/library.h>

#include "composite.h"

namespace natten {
namespace {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

Tensor drpb_like(const OptionalTensor& rpb, const Tensor& q, bool wanted) {
  return wanted && has(rpb) ? at::empty(rpb->sizes(), rpb->options()) : at::empty({0}, q.options());
}

std::tuple<Tensor, Tensor> na_forward(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                      Ints kernel_size, Ints dilation, const Bools& is_causal,
                                      c10::optional<double> scale, Ints stride) {
  const Problem problem = check_na("na", q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale);
  return {at::empty(token_shape(problem, problem.value_dim), q.options()),
          at::empty(token_shape(problem, -1), q.options().dtype(accumulate_type(q.scalar_type())))};
}

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
          const Bools& is_causal, c10::optional<double> scale, Ints stride, const OptionalTensor& extra_k,
          const OptionalTensor& extra_v, double dropout_p, c10::optional<int64_t> seed) {
  const Extras extras{extra_k, extra_v, dropout_p, seed};
  if (extras.any()) return na_with_extras(q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale, extras);
  return std::get<0>(na_forward(q, k, v, rpb, kernel_size, dilation, is_causal, scale, stride));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> na_backward(const Tensor&, const Tensor& q, const Tensor& k, const Tensor& v,
                                                       const OptionalTensor& rpb, const Tensor&, const Tensor&, Ints,
                                                       Ints, const Bools&, c10::optional<double>, Ints, bool rpb_grad) {
  return {at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()), at::empty(v.sizes(), v.options()),
          drpb_like(rpb, q, rpb_grad)};
}

Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
             const Bools& is_causal, double scale, Ints stride) {
  const Problem problem = check_qk("na_qk", q, k, rpb, {kernel_size, dilation, is_causal, stride}, scale);
  return at::empty(token_shape(problem, problem.slots()), q.options());
}

std::tuple<Tensor, Tensor, Tensor> na_qk_backward(const Tensor&, const Tensor& q, const Tensor& k,
                                                  const OptionalTensor& rpb, Ints, Ints, const Bools&, double, Ints,
                                                  bool rpb_grad) {
  return {at::empty(q.sizes(), q.options()), at::empty(k.sizes(), k.options()), drpb_like(rpb, q, rpb_grad)};
}

Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
             Ints stride) {
  const Problem problem = check_av("na_av", attn, v, {kernel_size, dilation, is_causal, stride});
  return at::empty(token_shape(problem, problem.value_dim), v.options());
}

std::tuple<Tensor, Tensor> na_av_backward(const Tensor&, const Tensor& attn, const Tensor& v, Ints, Ints, const Bools&,
                                          Ints) {
  return {at::empty(attn.sizes(), attn.options()), at::empty(v.sizes(), v.options())};
}

}  // namespace

TORCH_LIBRARY_IMPL(natten, Meta, m) {
  m.impl("na", na);
  m.impl("na_lse", na_forward);
  m.impl("na_qk", na_qk);
  m.impl("na_av", na_av);
  m.impl("_na_forward", na_forward);
  m.impl("_na_backward", na_backward);
  m.impl("_na_qk_backward", na_qk_backward);
  m.impl("_na_av_backward", na_av_backward);
}

}  // namespace natten
