// What an optimizer step needs and libtorch has no single operator for. One
// call handles all parameters of a group, so that a step costs a caller in
// another language a handful of calls, whatever the size of the model.
//
// Gradients and parameters are float tensors of one device.
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/library.h>

namespace natten {
namespace {

using at::Tensor;
using at::TensorList;

// The 2-norm over all gradients together; where it exceeds max_norm, all are
// scaled by max_norm / (norm + eps), as torch.nn.utils.clip_grad_norm_ does with
// eps = 1e-6. A max_norm of 0 only measures.
Tensor clip_grad_norm_(TensorList grads, double max_norm, double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(max_norm >= 0, "natten: clip_grad_norm_: max_norm is ", max_norm, ", want at least 0");
  if (grads.empty()) return at::zeros({});
  const Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads, 2)));
  if (max_norm > 0) at::_foreach_mul_(grads, at::clamp_max(at::mul(at::reciprocal(at::add(norm, eps)), max_norm), 1.0));
  return norm;
}

// LAMB (arXiv 1904.00962, algorithm 2) with bias correction. The trust ratio
// applies to parameters that are decayed, and to all with always_adapt.
void lamb_(TensorList self, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs, double step, double lr,
           double beta1, double beta2, double weight_decay, double eps, bool always_adapt, bool trust_clip) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(self.size() == grads.size() && self.size() == exp_avgs.size() && self.size() == exp_avg_sqs.size(),
              "natten: lamb_: lists of ", self.size(), ", ", grads.size(), ", ", exp_avgs.size(), " and ",
              exp_avg_sqs.size(), " tensors, want equal lengths");
  TORCH_CHECK(step >= 1, "natten: lamb_: step is ", step, ", want at least 1");
  if (self.empty()) return;
  at::_foreach_lerp_(exp_avgs, grads, 1 - beta1);
  at::_foreach_mul_(exp_avg_sqs, beta2);
  at::_foreach_addcmul_(exp_avg_sqs, grads, grads, 1 - beta2);

  auto denominator = at::_foreach_sqrt(exp_avg_sqs);
  at::_foreach_div_(denominator, std::sqrt(1 - std::pow(beta2, step)));
  at::_foreach_add_(denominator, eps);
  auto update = at::_foreach_div(exp_avgs, 1 - std::pow(beta1, step));
  at::_foreach_div_(update, denominator);
  if (weight_decay != 0) at::_foreach_add_(update, self, weight_decay);

  if (weight_decay != 0 || always_adapt) {
    const Tensor weight_norm = at::stack(at::_foreach_norm(self, 2));
    const Tensor update_norm = at::stack(at::_foreach_norm(update, 2));
    Tensor ratio = at::where(at::logical_and(at::gt(weight_norm, 0), at::gt(update_norm, 0)),
                             at::div(weight_norm, update_norm), at::ones_like(weight_norm));
    if (trust_clip) ratio = at::clamp_max(ratio, 1.0);
    at::_foreach_mul_(update, ratio.unbind());
  }
  at::_foreach_add_(self, update, -lr);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(natten, m) {
  m.def("clip_grad_norm_(Tensor(a!)[] grads, float max_norm, float eps=1e-6) -> Tensor");
  m.def(
      "lamb_(Tensor(a!)[] self, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, *, float step, "
      "float lr, float beta1, float beta2, float weight_decay, float eps, bool always_adapt=False, "
      "bool trust_clip=False) -> ()");
}

TORCH_LIBRARY_IMPL(natten, CompositeExplicitAutograd, m) {
  m.impl("clip_grad_norm_", clip_grad_norm_);
  m.impl("lamb_", lamb_);
}

}  // namespace natten
