// Neighborhood attention in terms of five (bi)linear maps whose derivatives
// are each other. They are differentiable to any order, in both modes, and
// hold the attention weights in memory; the fused operator uses them only for
// second derivatives and tangents.
//
// With j(i,t) the key in slot t of query i:
//   qk(q, k)[i,t]     = scale q_i . k_j(i,t)            (+ bias of the slot)
//   av(a, v)[i]       = sum_t a[i,t] v_j(i,t)
//   iv(a, x)[j]       = sum over (i,t) with j(i,t) = j of a[i,t] x_i
//   gather(rpb)[i,t]  = rpb[index(i,t)]
//   scatter(a)[n]     = sum over (i,t) with index(i,t) = n of a[i,t]
#pragma once

#include "saved.h"

namespace natten::autograd {

Tensor qk(const Tensor& q, const Tensor& k, const OptionalTensor& rpb, const Geometry& geometry, double scale);
Tensor av(const Tensor& attn, const Tensor& v, const Geometry& geometry);
Tensor iv(const Tensor& attn, const Tensor& x, const Geometry& geometry, int64_t kv_heads);
Tensor gather(const Tensor& rpb, const Tensor& like, const Geometry& geometry);
Tensor scatter(const Tensor& attn, const Tensor& rpb, const Geometry& geometry);

// Causal slots without a key hold -inf in logits; whatever is derived from
// them holds zero.
Tensor zero_empty(const Tensor& logits, const Geometry& geometry);

}  // namespace natten::autograd
