// The fused operator by the tiled drivers: of problems that have queries.
#pragma once

#include "fused_backward.h"
#include "table.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class S>
RowPlan plan_of(const Problem& p, bool deterministic) {
  return RowPlan(p.axis[2], lines_per_row(p, S::kLanes, threads_of(deterministic), least_memory_bytes), S::kLanes,
                 picks_of<S>());
}

template <class T>
void tiled_forward(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                   const View& lse, bool deterministic) {
  using E = acc_t<T>;
  using S = Simd<E>;
  const RowPlan plan = plan_of<S>(p, deterministic);
  tiled_forward<S, T>(p, plan, BiasTable<E>(p, plan, rpb, /*gradient=*/false), q, k, v, out, lse, deterministic);
}

template <class T>
void tiled_backward(const Problem& p, const BackwardViews& views, const void* rpb, void* drpb, bool deterministic) {
  using E = acc_t<T>;
  using S = Simd<E>;
  const RowPlan plan = plan_of<S>(p, deterministic);
  tiled_backward<S, T>(p, plan, BiasTable<E>(p, plan, rpb, drpb != nullptr), views, drpb, deterministic);
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
