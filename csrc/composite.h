// The features of natten::na that are made of other operators, and so run on
// every backend and differentiate in every mode.
#pragma once

#include "ops.h"

namespace natten {

// Attention with additional keys, dropout, or both. Additional keys alone keep
// memory O(tokens x (1 + additional)): the neighborhood stays fused and the two
// parts are merged by their log-sum-exp. Dropout needs the attention weights.
at::Tensor na_with_extras(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& rpb,
                          const Geometry& geometry, c10::optional<double> scale, const Extras& extras);

std::tuple<at::Tensor, at::Tensor> merge_attentions(at::TensorList outs, at::TensorList lses);

at::Tensor na_varlen(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& rpb,
                     at::IntArrayRef sizes, const Geometry& geometry, c10::optional<double> scale);

}  // namespace natten
