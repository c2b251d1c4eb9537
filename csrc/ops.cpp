#include "ops.h"

#include <ATen/core/dispatch/Dispatcher.h>

namespace natten::ops {
namespace {

// A typed handle of a registered operator, looked up once per call site.
template <typename Signature>
c10::TypedOperatorHandle<Signature> find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

using T = at::Tensor;
using O = OptionalTensor;
using Ints = at::IntArrayRef;
using Bools = const c10::List<bool>&;

}  // namespace

T na(const T& q, const T& k, const T& v, const O& rpb, const Geometry& g, c10::optional<double> scale,
     const Extras& extras) {
  static const auto op = find<T(const T&, const T&, const T&, const O&, Ints, Ints, Bools, c10::optional<double>, Ints,
                                const O&, const O&, double, c10::optional<int64_t>)>("natten::na");
  return op.call(q, k, v, rpb, g.kernel_size, g.dilation, g.is_causal, scale, g.stride, extras.k, extras.v,
                 extras.dropout_p, extras.seed);
}

std::tuple<T, T> na_lse(const T& q, const T& k, const T& v, const O& rpb, const Geometry& g,
                        c10::optional<double> scale) {
  static const auto op =
      find<std::tuple<T, T>(const T&, const T&, const T&, const O&, Ints, Ints, Bools, c10::optional<double>, Ints)>(
          "natten::na_lse");
  return op.call(q, k, v, rpb, g.kernel_size, g.dilation, g.is_causal, scale, g.stride);
}

std::tuple<T, T> na_forward(const T& q, const T& k, const T& v, const O& rpb, const Geometry& g,
                            c10::optional<double> scale) {
  static const auto op =
      find<std::tuple<T, T>(const T&, const T&, const T&, const O&, Ints, Ints, Bools, c10::optional<double>, Ints)>(
          "natten::_na_forward");
  return op.call(q, k, v, rpb, g.kernel_size, g.dilation, g.is_causal, scale, g.stride);
}

std::tuple<T, T, T, T> na_backward(const T& dout, const T& q, const T& k, const T& v, const O& rpb, const T& out,
                                   const T& lse, const Geometry& g, c10::optional<double> scale, bool rpb_grad,
                                   const O& dlse) {
  static const auto op =
      find<std::tuple<T, T, T, T>(const T&, const T&, const T&, const T&, const O&, const T&, const T&, Ints, Ints,
                                  Bools, c10::optional<double>, Ints, bool, const O&)>("natten::_na_backward");
  return op.call(dout, q, k, v, rpb, out, lse, g.kernel_size, g.dilation, g.is_causal, scale, g.stride, rpb_grad, dlse);
}

T na_qk(const T& q, const T& k, const O& rpb, const Geometry& g, double scale) {
  static const auto op = find<T(const T&, const T&, const O&, Ints, Ints, Bools, double, Ints)>("natten::na_qk");
  return op.call(q, k, rpb, g.kernel_size, g.dilation, g.is_causal, scale, g.stride);
}

std::tuple<T, T, T> na_qk_backward(const T& dlogits, const T& q, const T& k, const O& rpb, const Geometry& g,
                                   double scale, bool rpb_grad) {
  static const auto op =
      find<std::tuple<T, T, T>(const T&, const T&, const T&, const O&, Ints, Ints, Bools, double, Ints, bool)>(
          "natten::_na_qk_backward");
  return op.call(dlogits, q, k, rpb, g.kernel_size, g.dilation, g.is_causal, scale, g.stride, rpb_grad);
}

T na_av(const T& attn, const T& v, const Geometry& g) {
  static const auto op = find<T(const T&, const T&, Ints, Ints, Bools, Ints)>("natten::na_av");
  return op.call(attn, v, g.kernel_size, g.dilation, g.is_causal, g.stride);
}

std::tuple<T, T> na_av_backward(const T& dout, const T& attn, const T& v, const Geometry& g) {
  static const auto op =
      find<std::tuple<T, T>(const T&, const T&, const T&, Ints, Ints, Bools, Ints)>("natten::_na_av_backward");
  return op.call(dout, attn, v, g.kernel_size, g.dilation, g.is_causal, g.stride);
}

}  // namespace natten::ops
