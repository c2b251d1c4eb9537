// Under autocast the operators run in the region's low precision, as matrix
// products do. The bias stays in float32: it is a parameter, small, and its
// gradient is a long sum.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

#include "ops.h"

namespace natten {
namespace {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

template <c10::DispatchKey key>
struct Autocast {
  static constexpr c10::DeviceType device =
      key == c10::DispatchKey::AutocastCPU ? c10::DeviceType::CPU : c10::DeviceType::CUDA;

  static Tensor low(const Tensor& t) {
    return at::autocast::cached_cast(at::autocast::get_lower_precision_fp_from_device_type(device), t, device);
  }
  static OptionalTensor low(const OptionalTensor& t) { return has(t) ? OptionalTensor(low(*t)) : t; }
  // float32, or q's own dtype where autocast leaves that alone (float64).
  static OptionalTensor bias(const OptionalTensor& rpb, const Tensor& q) {
    return has(rpb) ? OptionalTensor(rpb->to(accumulate_type(q.scalar_type()))) : rpb;
  }

  static Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size,
                   Ints dilation, const Bools& is_causal, c10::optional<double> scale, Ints stride,
                   const OptionalTensor& extra_k, const OptionalTensor& extra_v, double dropout_p,
                   c10::optional<int64_t> seed) {
    c10::impl::ExcludeDispatchKeyGuard guard(key);
    const Tensor lq = low(q);
    return ops::na(lq, low(k), low(v), bias(rpb, lq), {kernel_size, dilation, is_causal, stride}, scale,
                   {low(extra_k), low(extra_v), dropout_p, seed});
  }
  static std::tuple<Tensor, Tensor> na_lse(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb,
                                           Ints kernel_size, Ints dilation, const Bools& is_causal,
                                           c10::optional<double> scale, Ints stride) {
    c10::impl::ExcludeDispatchKeyGuard guard(key);
    const Tensor lq = low(q);
    return ops::na_lse(lq, low(k), low(v), bias(rpb, lq), {kernel_size, dilation, is_causal, stride}, scale);
  }
  static Tensor na_qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                      const Bools& is_causal, double scale, Ints stride) {
    c10::impl::ExcludeDispatchKeyGuard guard(key);
    const Tensor lq = low(q);
    return ops::na_qk(lq, low(k), bias(rpb, lq), {kernel_size, dilation, is_causal, stride}, scale);
  }
  static Tensor na_av(const Tensor& attn, const Tensor& v, Ints kernel_size, Ints dilation, const Bools& is_causal,
                      Ints stride) {
    c10::impl::ExcludeDispatchKeyGuard guard(key);
    return ops::na_av(low(attn), low(v), {kernel_size, dilation, is_causal, stride});
  }

  static void add(torch::Library& m) {
    m.impl("na", na);
    m.impl("na_lse", na_lse);
    m.impl("na_qk", na_qk);
    m.impl("na_av", na_av);
  }
};

}  // namespace

TORCH_LIBRARY_IMPL(natten, AutocastCPU, m) { Autocast<c10::DispatchKey::AutocastCPU>::add(m); }
TORCH_LIBRARY_IMPL(natten, Autocast, m) { Autocast<c10::DispatchKey::AutocastCUDA>::add(m); }

}  // namespace natten
