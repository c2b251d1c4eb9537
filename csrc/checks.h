// The one table of argument checks: Go, C and Python see the same messages.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <c10/util/Optional.h>

#include "problem.h"

namespace natten {

using OptionalTensor = c10::optional<at::Tensor>;

// The window arguments every operator takes.
struct Geometry {
  at::IntArrayRef kernel_size;
  at::IntArrayRef dilation;
  const c10::List<bool>& is_causal;
  at::IntArrayRef stride;  // empty: 1 on every axis
};

// What was checked, ready for a backend. Each throws c10::Error with a message
// "natten::OP: ARGUMENT ..., VALUE, LIMIT". `scale`: none means dim^-1/2.
Problem check_na(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const OptionalTensor& rpb, const Geometry& geometry, c10::optional<double> scale);
Problem check_qk(const char* op, const at::Tensor& q, const at::Tensor& k, const OptionalTensor& rpb,
                 const Geometry& geometry, double scale);
Problem check_av(const char* op, const at::Tensor& attn, const at::Tensor& v, const Geometry& geometry);
// The same of their backward operators, with the gradients, outputs and log-sum-exps that came of the forward ones.
Problem check_na_backward(const char* op, const at::Tensor& dout, const at::Tensor& q, const at::Tensor& k,
                          const at::Tensor& v, const OptionalTensor& rpb, const at::Tensor& out, const at::Tensor& lse,
                          const Geometry& geometry, c10::optional<double> scale, const OptionalTensor& dlse);
Problem check_qk_backward(const char* op, const at::Tensor& dlogits, const at::Tensor& q, const at::Tensor& k,
                          const OptionalTensor& rpb, const Geometry& geometry, double scale);
Problem check_av_backward(const char* op, const at::Tensor& dout, const at::Tensor& attn, const at::Tensor& v,
                          const Geometry& geometry);
// Keys and values that every query attends to besides its neighborhood: extra_k [B, E, H, D], extra_v [B, E, H, Dv],
// with the heads of k and v. Both or none.
void check_extra(const char* op, const at::Tensor& q, const at::Tensor& v, const OptionalTensor& extra_k,
                 const OptionalTensor& extra_v, const Problem& problem);
void check_dropout(const char* op, double p);
// A packed batch: q, k and v [tokens, heads, dim], sizes the spatial sizes of each sample. Returns each one's tokens.
std::vector<int64_t> check_varlen(const char* op, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  at::IntArrayRef sizes, const Geometry& geometry);
// Outputs of one shape [..., dim] and dtype, and as many log-sum-exps without the last dimension.
void check_merge(const char* op, at::TensorList outs, at::TensorList lses);
// `t` must have exactly the shape, dtype and device of `like` (named for the message).
void check_same(const char* op, const char* name, const at::Tensor& t, at::IntArrayRef shape, const at::Tensor& like);

inline bool has(const OptionalTensor& t) { return t.has_value() && t->defined(); }

// Shapes of results: `batch, *spatial, heads` followed by `last` (none if negative).
std::vector<int64_t> token_shape(const Problem& problem, int64_t last);
std::vector<int64_t> bias_shape(const Problem& problem);

// The dtype in which sums are kept, and in which lse, rpb and drpb reach a backend.
at::ScalarType accumulate_type(at::ScalarType type);

}  // namespace natten
