// The operators as C++ functions that go through the dispatcher: what autograd,
// autocast and the other functionalities call.
#pragma once

#include <tuple>

#include "checks.h"

namespace natten {

// What natten::na takes besides a plain neighborhood.
struct Extras {
  OptionalTensor k, v;
  double dropout_p = 0.0;
  c10::optional<int64_t> seed;
  bool any() const { return has(k) || has(v) || dropout_p != 0.0; }
};

}  // namespace natten

namespace natten::ops {

at::Tensor na(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& rpb,
              const Geometry& geometry, c10::optional<double> scale, const Extras& extras = {});
std::tuple<at::Tensor, at::Tensor> na_lse(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                          const OptionalTensor& rpb, const Geometry& geometry,
                                          c10::optional<double> scale);
std::tuple<at::Tensor, at::Tensor> na_forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                              const OptionalTensor& rpb, const Geometry& geometry,
                                              c10::optional<double> scale);
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> na_backward(const at::Tensor& dout, const at::Tensor& q,
                                                                       const at::Tensor& k, const at::Tensor& v,
                                                                       const OptionalTensor& rpb, const at::Tensor& out,
                                                                       const at::Tensor& lse, const Geometry& geometry,
                                                                       c10::optional<double> scale, bool rpb_grad,
                                                                       const OptionalTensor& dlse = {});
at::Tensor na_qk(const at::Tensor& q, const at::Tensor& k, const OptionalTensor& rpb, const Geometry& geometry,
                 double scale);
std::tuple<at::Tensor, at::Tensor, at::Tensor> na_qk_backward(const at::Tensor& dlogits, const at::Tensor& q,
                                                              const at::Tensor& k, const OptionalTensor& rpb,
                                                              const Geometry& geometry, double scale, bool rpb_grad);
at::Tensor na_av(const at::Tensor& attn, const at::Tensor& v, const Geometry& geometry);
std::tuple<at::Tensor, at::Tensor> na_av_backward(const at::Tensor& dout, const at::Tensor& attn, const at::Tensor& v,
                                                  const Geometry& geometry);

}  // namespace natten::ops
