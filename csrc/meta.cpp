// Shapes without data: the operators on meta tensors, for tracing, counting and
// Python's fake tensors. The same checks as everywhere, but where sizes are
// symbols: to check those would pin them to the example's, and the operators
// check the real ones when they run.
#include <ATen/Functions.h>
#include <torch/library.h>

#include "composite.h"

namespace natten {
namespace {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

bool symbolic(std::initializer_list<Tensor> tensors) {
  for (const Tensor& t : tensors) {
    if (t.unsafeGetTensorImpl()->has_symbolic_sizes_strides()) return true;
  }
  return false;
}

// A tensor of [B, *spatial, H] of `like`, and `last` behind it where there is one.
Tensor tokens_like(const Tensor& like, c10::optional<c10::SymInt> last, at::ScalarType type) {
  std::vector<c10::SymInt> sizes = like.sym_sizes().vec();
  sizes.pop_back();
  if (last.has_value()) sizes.push_back(*last);
  return at::empty_symint(sizes, like.options().dtype(type));
}

Tensor same_as(const Tensor& t) { return at::empty_symint(t.sym_sizes(), t.options()); }

Tensor drpb_like(const OptionalTensor& rpb, const Tensor& q, bool wanted) {
  return wanted && has(rpb) ? same_as(*rpb) : at::empty({0}, q.options());
}

std::tuple<Tensor, Tensor> na_forward(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                      Ints kernel_size, Ints dilation, const Bools& is_causal,
                                      c10::optional<double> scale, Ints stride) {
  if (!symbolic({q, k, v})) check_na("na", q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale);
  return {tokens_like(q, v.sym_size(-1), q.scalar_type()),
          tokens_like(q, c10::nullopt, accumulate_type(q.scalar_type()))};
}

Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
          const Bools& is_causal, c10::optional<double> scale, Ints stride, const OptionalTensor& extra_k,
          const OptionalTensor& extra_v, double dropout_p, c10::optional<int64_t> seed) {
  const Extras extras{extra_k, extra_v, dropout_p, seed};
  if (extras.any()) return na_with_extras(q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale, extras);
  return std::get<0>(na_forward(q, k, v, rpb, kernel_size, dilation, is_causal, scale, stride));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> na_backward(const Tensor& dout, const Tensor& q, const Tensor& k,
                                                       const Tensor& v, const OptionalTensor& rpb, const Tensor& out,
                                                       const Tensor& lse, Ints kernel_size, Ints dilation,
                                                       const Bools& is_causal, c10::optional<double> scale, Ints stride,
                                                       bool rpb_grad, const OptionalTensor& dlse) {
  if (!symbolic({dout, q, k, v, out, lse})) {
    check_na_backward("_na_backward", dout, q, k, v, rpb, out, lse, {kernel_size, dilation, is_causal, stride}, scale,
                      dlse);
  }
  return {same_as(q), same_as(k), same_as(v), drpb_like(rpb, q, rpb_grad)};
}

Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
             const Bools& is_causal, double scale, Ints stride) {
  if (!symbolic({q, k})) check_qk("na_qk", q, k, rpb, {kernel_size, dilation, is_causal, stride}, scale);
  int64_t slots = 1;
  for (const int64_t kernel : kernel_size) slots *= kernel;
  return tokens_like(q, slots, q.scalar_type());
}

std::tuple<Tensor, Tensor, Tensor> na_qk_backward(const Tensor& dlogits, const Tensor& q, const Tensor& k,
                                                  const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                                                  const Bools& is_causal, double scale, Ints stride, bool rpb_grad) {
  if (!symbolic({dlogits, q, k})) {
    check_qk_backward("_na_qk_backward", dlogits, q, k, rpb, {kernel_size, dilation, is_causal, stride}, scale);
  }
  return {same_as(q), same_as(k), drpb_like(rpb, q, rpb_grad)};
}

Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
             Ints stride) {
  if (!symbolic({attn, v})) check_av("na_av", attn, v, {kernel_size, dilation, is_causal, stride});
  return tokens_like(attn, v.sym_size(-1), v.scalar_type());
}

std::tuple<Tensor, Tensor> na_av_backward(const Tensor& dout, const Tensor& attn, const Tensor& v, Ints kernel_size,
                                          Ints dilation, const Bools& is_causal, Ints stride) {
  if (!symbolic({dout, attn, v})) {
    check_av_backward("_na_av_backward", dout, attn, v, {kernel_size, dilation, is_causal, stride});
  }
  return {same_as(attn), same_as(v)};
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
