// Softmax over the last dimension and log-sum-exp, spelled out: libtorch's own
// have derivatives that cannot be taken again in forward mode.
#pragma once

#include <ATen/ATen.h>

namespace natten {

inline at::Tensor log_sum_exp(const at::Tensor& x, int64_t dim) {
  const at::Tensor largest = x.detach().amax(dim, /*keepdim=*/true);
  return (x - largest).exp().sum(dim).log() + largest.squeeze(dim);
}

inline at::Tensor softmax(const at::Tensor& x) { return (x - log_sum_exp(x, -1).unsqueeze(-1)).exp(); }

}  // namespace natten
