// The fused operator in bfloat16 as AMX's drivers compute it, on any machine; the rest as the scalar kernels do.
#define NATTEN_ISA emulated
#define NATTEN_BFLOAT16_PRODUCTS Matrices
#include "emulated.h"

#include "../table.h"
#include "../tiled.h"
#include "emulated_table.h"

namespace natten::cpu {
namespace emulated {
namespace {

void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
             const View& out, const View& lse) {
  if (type == c10::ScalarType::BFloat16 && tiled_forward<c10::BFloat16>(p, q, k, v, rpb, out, lse)) return;
  kScalarTable->forward(p, type, q, k, v, rpb, out, lse);
}

void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
              const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
              void* drpb, bool deterministic) {
  const BackwardViews views{q, k, v, out, lse, dout, dq, dk, dv};
  if (type == c10::ScalarType::BFloat16 && tiled_backward<c10::BFloat16>(p, views, rpb, drpb, deterministic)) return;
  kScalarTable->backward(p, type, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb, deterministic);
}

}  // namespace
}  // namespace emulated

const Table* emulated_table() {
  static const Table table = [] {
    Table made = *kScalarTable;
    made.name = "emulated";
    made.forward = &emulated::forward;
    made.backward = &emulated::backward;
    return made;
  }();
  return &table;
}

}  // namespace natten::cpu
