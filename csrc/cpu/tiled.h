// The fused operator by the tiled drivers, where they take it.
#pragma once

#include "fused_backward.h"
#include "table.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// `fixed`: the same plan whatever the number of threads.
inline int64_t threads_of(bool fixed) { return fixed ? 4 : at::get_num_threads(); }

template <class S>
RowPlan plan_of(const Problem& p, bool fixed) {
  return RowPlan(p.axis[2], lines_per_row(p, S::kLanes, threads_of(fixed), least_memory_bytes), S::kLanes,
                 picks_of<S>());
}

inline bool is_empty(const Problem& p) { return p.batch * p.heads * p.tokens() == 0; }

// The lanes' bias grows with the square of the slow axes' kernels: past the limit the general drivers take over.
template <class E>
bool bias_fits(const Problem& p, const RowPlan& plan, bool has_bias) {
  return BiasTable<E>::bytes(p, plan, has_bias) < most_bias_bytes;
}

// False: not for the tiled drivers; nothing was done.
template <class T>
bool tiled_forward(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                   const View& lse) {
  using E = acc_t<T>;
  using S = Simd<E>;
  if (is_empty(p)) return false;
  const RowPlan plan = plan_of<S>(p, false);
  if (!bias_fits<E>(p, plan, rpb != nullptr)) return false;
  tiled_forward<S, T>(p, plan, BiasTable<E>(p, plan, rpb), q, k, v, out, lse);
  return true;
}

template <class T>
bool tiled_backward(const Problem& p, const BackwardViews& views, const void* rpb, void* drpb, bool deterministic) {
  using E = acc_t<T>;
  using S = Simd<E>;
  if (is_empty(p)) return false;
  const RowPlan plan = plan_of<S>(p, deterministic);
  if (!bias_fits<E>(p, plan, rpb != nullptr || drpb != nullptr)) return false;
  tiled_backward<S, T>(p, plan, BiasTable<E>(p, plan, rpb), views, drpb, deterministic);
  return true;
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
