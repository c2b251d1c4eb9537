// The operators of a backend, from its kernels: check, allocate, hand views to
// them. Inputs may have any strides as long as the last dimension is
// contiguous; one that is not costs a copy.
#pragma once

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <torch/library.h>

#include "composite.h"

namespace natten::backend {

using at::Tensor;
using Bools = c10::List<bool>;
using Ints = at::IntArrayRef;

inline Tensor rows(const Tensor& t) { return t.stride(-1) == 1 || t.size(-1) <= 1 ? t : t.contiguous(); }

// A view of [B, *spatial, H, ...] with the strides of unused leading axes zero.
inline View view_of(const Tensor& t, const Problem& problem) {
  View view;
  view.data = t.data_ptr();
  view.batch = t.stride(0);
  for (int i = 0; i < problem.rank; i++) view.axis[kAxes - problem.rank + i] = t.stride(1 + i);
  view.head = t.stride(problem.rank + 1);
  return view;
}

// The bias as the kernels read it; undefined when there is none.
inline Tensor bias_of(const OptionalTensor& rpb, at::ScalarType type) {
  return has(rpb) ? rpb->to(accumulate_type(type)).contiguous() : Tensor();
}
inline const void* data_or_null(const Tensor& t) { return t.defined() ? t.data_ptr() : nullptr; }

// The gradient buffer of the bias and what autograd gets of it: rpb's own dtype.
struct BiasGradient {
  Tensor sum;
  BiasGradient(const Problem& problem, const Tensor& q, bool wanted) {
    if (wanted) sum = at::zeros(bias_shape(problem), q.options().dtype(accumulate_type(q.scalar_type())));
  }
  void* data() const { return sum.defined() ? sum.data_ptr() : nullptr; }
  Tensor result(const OptionalTensor& rpb, const Tensor& q) const {
    return sum.defined() ? sum.to(rpb->scalar_type()) : at::empty({0}, q.options());
  }
};

// The kernels subtract dout . out from each query's dout . v. A gradient of the log-sum-exp adds to that: it enters as
// two more channels, in which out is -dlse, dout is 1 and v is 0: the second has what the first rounds off in low
// precision. float16 ends at 65504: there the first counts in larger units.
class LseChannels {
 public:
  // `piece`: rows are multiples of so many elements.
  LseChannels(const Tensor& dlse, at::ScalarType type, int64_t piece)
      : unit_(type == at::kHalf ? 4096.0 : 1.0), count_(std::max<int64_t>(2, piece)) {
    coarse_ = dlse.neg().div(unit_).to(type);
    rest_ = dlse.neg().sub(coarse_.to(dlse.scalar_type()), unit_).to(type);
  }
  int64_t count() const { return count_; }
  Tensor behind_out(const Tensor& out) const { return behind(out, coarse_, rest_); }
  Tensor behind_dout(const Tensor& dout) const {
    return behind(dout, at::full({}, unit_, dout.options()), at::ones({}, dout.options()));
  }
  Tensor behind_v(const Tensor& v) const { return at::constant_pad_nd(v, {0, count_}); }

 private:
  Tensor behind(const Tensor& t, const Tensor& first, const Tensor& second) const {
    const auto channel = [&](const Tensor& c) { return c.expand(t.sizes().slice(0, t.dim() - 1)).unsqueeze(-1); };
    const Tensor all = at::cat({t, channel(first), channel(second)}, -1);
    return count_ == 2 ? all : at::constant_pad_nd(all, {0, count_ - 2});
  }

  const double unit_;
  const int64_t count_;
  Tensor coarse_, rest_;
};

inline bool deterministic() { return at::globalContext().deterministicAlgorithms(); }

// Kernels: the functions of cpu/kernels.h as static members; empty, which makes the results' memory; kPiece, of so many
// bytes the rows of a head dim should be multiples; and Guard, constructed with the device of the tensors and alive
// while a kernel is called.
template <class Kernels>
struct Operators {
  // The second result may be undefined where it is not wanted.
  static std::tuple<Tensor, Tensor> attend(bool want_lse, const Tensor& q_, const Tensor& k_, const Tensor& v_,
                                           const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                                           const Bools& is_causal, c10::optional<double> scale, Ints stride) {
    const Problem problem = check_na("na", q_, k_, v_, rpb, {kernel_size, dilation, is_causal, stride}, scale);
    const Tensor q = rows(q_), k = rows(k_), v = rows(v_), bias = bias_of(rpb, q.scalar_type());
    Tensor out = Kernels::empty(token_shape(problem, problem.value_dim), q.options());
    Tensor lse;
    if (want_lse) {
      lse = Kernels::empty(token_shape(problem, -1), q.options().dtype(accumulate_type(q.scalar_type())));
    }
    if (out.numel() > 0) {
      const typename Kernels::Guard guard(out.device());
      Kernels::na_forward(problem, q.scalar_type(), view_of(q, problem), view_of(k, problem), view_of(v, problem),
                          data_or_null(bias), view_of(out, problem), lse.defined() ? view_of(lse, problem) : View(),
                          deterministic());
    }
    return {out, lse};
  }

  static std::tuple<Tensor, Tensor> na_forward(const Tensor& q, const Tensor& k, const Tensor& v,
                                               const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                                               const Bools& is_causal, c10::optional<double> scale, Ints stride) {
    return attend(true, q, k, v, rpb, kernel_size, dilation, is_causal, scale, stride);
  }

  static Tensor na(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& rpb, Ints kernel_size,
                   Ints dilation, const Bools& is_causal, c10::optional<double> scale, Ints stride,
                   const OptionalTensor& extra_k, const OptionalTensor& extra_v, double dropout_p,
                   c10::optional<int64_t> seed) {
    const Extras extras{extra_k, extra_v, dropout_p, seed};
    if (extras.any()) return na_with_extras(q, k, v, rpb, {kernel_size, dilation, is_causal, stride}, scale, extras);
    return std::get<0>(attend(false, q, k, v, rpb, kernel_size, dilation, is_causal, scale, stride));
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> na_backward(const Tensor& dout_, const Tensor& q_, const Tensor& k_,
                                                                const Tensor& v_, const OptionalTensor& rpb,
                                                                const Tensor& out_, const Tensor& lse, Ints kernel_size,
                                                                Ints dilation, const Bools& is_causal,
                                                                c10::optional<double> scale, Ints stride, bool rpb_grad,
                                                                const OptionalTensor& dlse) {
    Problem problem = check_na_backward("_na_backward", dout_, q_, k_, v_, rpb, out_, lse,
                                        {kernel_size, dilation, is_causal, stride}, scale, dlse);
    const Tensor q = rows(q_), k = rows(k_);
    Tensor v = rows(v_), dout = rows(dout_), out = rows(out_);
    if (has(dlse)) {
      const LseChannels channels(*dlse, q.scalar_type(), Kernels::kPiece / q.element_size());
      v = channels.behind_v(v), dout = channels.behind_dout(dout), out = channels.behind_out(out);
      problem.value_dim += channels.count();
      problem.delta_of_out = true;
    }
    const Tensor bias = bias_of(rpb, q.scalar_type());
    Tensor dq = Kernels::empty(q.sizes(), q.options());
    Tensor dk = Kernels::empty(k.sizes(), k.options());
    Tensor dv = Kernels::empty(v.sizes(), v.options());
    const BiasGradient drpb(problem, q, rpb_grad && has(rpb));
    if (out.numel() > 0) {
      const typename Kernels::Guard guard(out.device());
      Kernels::na_backward(problem, q.scalar_type(), view_of(q, problem), view_of(k, problem), view_of(v, problem),
                           data_or_null(bias), view_of(out, problem), view_of(lse, problem), view_of(dout, problem),
                           view_of(dq, problem), view_of(dk, problem), view_of(dv, problem), drpb.data(),
                           deterministic());
    }
    return {dq, dk, has(dlse) ? dv.narrow(-1, 0, v_.size(-1)).contiguous() : dv, drpb.result(rpb, q)};
  }

  static Tensor na_qk(const Tensor& q_, const Tensor& k_, const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                      const Bools& is_causal, double scale, Ints stride) {
    const Problem problem = check_qk("na_qk", q_, k_, rpb, {kernel_size, dilation, is_causal, stride}, scale);
    const Tensor q = rows(q_), k = rows(k_), bias = bias_of(rpb, q.scalar_type());
    Tensor logits = Kernels::empty(token_shape(problem, problem.slots()), q.options());
    if (logits.numel() > 0) {
      const typename Kernels::Guard guard(logits.device());
      Kernels::qk_forward(problem, q.scalar_type(), view_of(q, problem), view_of(k, problem), data_or_null(bias),
                          view_of(logits, problem), deterministic());
    }
    return logits;
  }

  static std::tuple<Tensor, Tensor, Tensor> na_qk_backward(const Tensor& dlogits_, const Tensor& q_, const Tensor& k_,
                                                           const OptionalTensor& rpb, Ints kernel_size, Ints dilation,
                                                           const Bools& is_causal, double scale, Ints stride,
                                                           bool rpb_grad) {
    const Problem problem =
        check_qk_backward("_na_qk_backward", dlogits_, q_, k_, rpb, {kernel_size, dilation, is_causal, stride}, scale);
    const Tensor q = rows(q_), k = rows(k_), dlogits = rows(dlogits_);
    Tensor dq = Kernels::empty(q.sizes(), q.options());
    Tensor dk = Kernels::empty(k.sizes(), k.options());
    const BiasGradient drpb(problem, q, rpb_grad && has(rpb));
    if (dlogits.numel() > 0) {
      const typename Kernels::Guard guard(dlogits.device());
      Kernels::qk_backward(problem, q.scalar_type(), view_of(q, problem), view_of(k, problem),
                           view_of(dlogits, problem), view_of(dq, problem), view_of(dk, problem), drpb.data(),
                           deterministic());
    }
    return {dq, dk, drpb.result(rpb, q)};
  }

  static Tensor na_av(const Tensor& attn_, const Tensor& v_, Ints kernel_size, Ints dilation, const Bools& is_causal,
                      Ints stride) {
    const Problem problem = check_av("na_av", attn_, v_, {kernel_size, dilation, is_causal, stride});
    const Tensor attn = rows(attn_), v = rows(v_);
    Tensor out = Kernels::empty(token_shape(problem, problem.value_dim), v.options());
    if (out.numel() > 0) {
      const typename Kernels::Guard guard(out.device());
      Kernels::av_forward(problem, v.scalar_type(), view_of(attn, problem), view_of(v, problem), view_of(out, problem),
                          deterministic());
    }
    return out;
  }

  static std::tuple<Tensor, Tensor> na_av_backward(const Tensor& dout_, const Tensor& attn_, const Tensor& v_,
                                                   Ints kernel_size, Ints dilation, const Bools& is_causal,
                                                   Ints stride) {
    const Problem problem =
        check_av_backward("_na_av_backward", dout_, attn_, v_, {kernel_size, dilation, is_causal, stride});
    const Tensor dout = rows(dout_), attn = rows(attn_), v = rows(v_);
    Tensor dattn = Kernels::empty(attn.sizes(), attn.options());
    Tensor dv = Kernels::empty(v.sizes(), v.options());
    if (dout.numel() > 0) {
      const typename Kernels::Guard guard(dout.device());
      Kernels::av_backward(problem, v.scalar_type(), view_of(attn, problem), view_of(v, problem),
                           view_of(dout, problem), view_of(dattn, problem), view_of(dv, problem), deterministic());
    }
    return {dattn, dv};
  }

  static void register_with(torch::Library& m) {
    m.impl("na", na);
    m.impl("na_lse", na_forward);
    m.impl("na_qk", na_qk);
    m.impl("na_av", na_av);
    m.impl("_na_forward", na_forward);
    m.impl("_na_backward", na_backward);
    m.impl("_na_qk_backward", na_qk_backward);
    m.impl("_na_av_backward", na_av_backward);
  }
};

}  // namespace natten::backend
