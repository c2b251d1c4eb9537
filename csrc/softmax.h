// Softmax over the last dimension and log-sum-exp, spelled out: libtorch's own
// have derivatives that cannot be taken again in forward mode.
#pragma once

#include <ATen/ATen.h>

namespace natten {

inline at::Tensor log_sum_exp(const at::Tensor& x, int64_t dim) {
  const at::Tensor largest = x.detach().amax(dim, /*keepdim=*/true);
  return (x - largest).exp().sum(dim).log() + largest.squeeze(dim);
}

// float32 for half precision: a sum or product rounded to it, of a logit of 20 say, is a few percent of a weight.
inline at::Tensor widened(const at::Tensor& x) {
  return at::isReducedFloatingType(x.scalar_type()) ? x.to(at::kFloat) : x;
}

// In x's dtype; what is summed is not rounded to it.
inline at::Tensor softmax(const at::Tensor& x) {
  const at::Tensor wide = widened(x);
  return (wide - log_sum_exp(wide, -1).unsqueeze(-1)).exp().to(x.scalar_type());
}

// The derivative of softmax: P (x - sum P x), in x's dtype.
inline at::Tensor through_softmax(const at::Tensor& weights, const at::Tensor& x) {
  const at::Tensor p = widened(weights), wide = widened(x);
  return (p * (wide - (p * wide).sum(-1, /*keepdim=*/true))).to(x.scalar_type());
}

}  // namespace natten
