// The entry points of a set that has products of matrices: the fused operator in bfloat16, where they pay; the rest is
// another set's.
#pragma once

#include "table.h"
#include "tiled.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// kPays(p, products): whether matrices are faster, of so many products of queries and keys that a pass forms.
template <const Table* const& kOther, bool (*kPays)(const Problem&, int64_t)>
struct MatrixTable {
  static bool takes(const Problem& p, c10::ScalarType type, int64_t products) {
    return type == c10::ScalarType::BFloat16 && kPays(p, products);
  }

  static void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v,
                      const void* rpb, const View& out, const View& lse, bool deterministic) {
    if (takes(p, type, 1)) return tiled_forward<c10::BFloat16>(p, q, k, v, rpb, out, lse, deterministic);
    kOther->forward(p, type, q, k, v, rpb, out, lse, deterministic);
  }

  static void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v,
                       const void* rpb, const View& out, const View& lse, const View& dout, const View& dq,
                       const View& dk, const View& dv, void* drpb, bool deterministic) {
    const BackwardViews views{q, k, v, out, lse, dout, dq, dk, dv};
    if (takes(p, type, 2)) return tiled_backward<c10::BFloat16>(p, views, rpb, drpb, deterministic);
    kOther->backward(p, type, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb, deterministic);
  }

  static Table named(const char* name) {
    Table table = *kOther;
    table.name = name;
    table.forward = &forward;
    table.backward = &backward;
    return table;
  }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
