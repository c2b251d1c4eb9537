// The fused operator in bfloat16 as AMX's drivers compute it, on any machine; the rest as the scalar kernels do.
#define NATTEN_ISA emulated
#include "emulated.h"
#define NATTEN_BFLOAT16_PRODUCTS Matrices
#include "../matrix_table.h"
#include "emulated_table.h"

namespace natten::cpu {
namespace emulated {
namespace {

bool always(const Problem&, int64_t) { return true; }

}  // namespace
}  // namespace emulated

const Table* emulated_table() {
  static const Table table = emulated::MatrixTable<kScalarTable, emulated::always>::named("emulated");
  return &table;
}

}  // namespace natten::cpu
