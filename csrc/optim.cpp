// What an optimizer step needs and not every libtorch has an operator for. One
// call handles all parameters of a group, so that a step costs a caller in
// another language a handful of calls, whatever the size of the model.
//
// Gradients and parameters are float tensors of one device.
#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/library.h>
#include <torch/version.h>

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

// AdamW (arXiv 1711.05101), fused where libtorch has that: on the CPU since 2.4.
// steps are one-element tensors that count this step already.
void adamw_(TensorList self, TensorList grads, TensorList exp_avgs, TensorList exp_avg_sqs, TensorList steps, double lr,
            double beta1, double beta2, double weight_decay, double eps) {
  at::NoGradGuard no_grad;
  TORCH_CHECK(self.size() == grads.size() && self.size() == exp_avgs.size() && self.size() == exp_avg_sqs.size() &&
                  self.size() == steps.size(),
              "natten: adamw_: lists of ", self.size(), ", ", grads.size(), ", ", exp_avgs.size(), ", ",
              exp_avg_sqs.size(), " and ", steps.size(), " tensors, want equal lengths");
  if (self.empty()) return;
  constexpr bool kFusedOnCPU = TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 4;
  if (kFusedOnCPU || !self[0].is_cpu()) {
    at::_fused_adamw_(self, grads, exp_avgs, exp_avg_sqs, {}, steps, lr, beta1, beta2, weight_decay, eps,
                      /*amsgrad=*/false, /*maximize=*/false);
    return;
  }
  for (size_t i = 0; i < self.size(); i++) {
    const double step = steps[i].item<double>();
    self[i].mul_(1 - lr * weight_decay);
    exp_avgs[i].lerp_(grads[i], 1 - beta1);
    exp_avg_sqs[i].mul_(beta2).addcmul_(grads[i], grads[i], 1 - beta2);
    const Tensor denominator = exp_avg_sqs[i].sqrt().div_(std::sqrt(1 - std::pow(beta2, step))).add_(eps);
    self[i].addcdiv_(exp_avgs[i], denominator, -lr / (1 - std::pow(beta1, step)));
  }
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
      "adamw_(Tensor(a!)[] self, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor[] "
      "state_steps, "
      "*, float lr, float beta1, float beta2, float weight_decay, float eps) -> ()");
  m.def(
      "lamb_(Tensor(a!)[] self, Tensor[] grads, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, *, float step, "
      "float lr, float beta1, float beta2, float weight_decay, float eps, bool always_adapt=False, "
      "bool trust_clip=False) -> ()");
}

TORCH_LIBRARY_IMPL(natten, CompositeExplicitAutograd, m) {
  m.impl("clip_grad_norm_", clip_grad_norm_);
  m.impl("adamw_", adamw_);
  m.impl("lamb_", lamb_);
}

}  // namespace natten
