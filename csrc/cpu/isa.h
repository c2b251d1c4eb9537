// One instruction set's entry points: picks the driver for each type. Included
// once by each isa_*.cpp, which defines NATTEN_ISA, the set's namespace.
//
// Everything here lives in that namespace. Inline functions from shared headers
// that several sets compile are merged by the linker, which keeps the first
// copy: csrc/Makefile therefore links the baseline's objects before the others.
#pragma once

#include "general_fused.h"
#include "general_unfused.h"
#include "table.h"

#define NATTEN_STRING_OF(name) #name
#define NATTEN_STRING(name) NATTEN_STRING_OF(name)

namespace natten::cpu {
namespace NATTEN_ISA {

// Calls run(T()) with T the element type.
template <class Run>
void with_type(c10::ScalarType type, const Run& run) {
  switch (type) {
    case c10::ScalarType::Float:
      return run(float());
    case c10::ScalarType::Double:
      return run(double());
    case c10::ScalarType::Half:
      return run(c10::Half());
    default:
      return run(c10::BFloat16());
  }
}

void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
             const View& out, const View& lse) {
  with_type(type, [&](auto zero) { general_forward<decltype(zero)>(p, q, k, v, rpb, out, lse); });
}

void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
              const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
              void* drpb, bool) {
  with_type(type, [&](auto zero) {
    general_backward<decltype(zero)>(p, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb);
  });
}

void qk(const Problem& p, c10::ScalarType type, const View& q, const View& k, const void* rpb, const View& logits) {
  with_type(type, [&](auto zero) { general_qk<decltype(zero)>(p, q, k, rpb, logits); });
}

void qk_gradient(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& dlogits,
                 const View& dq, const View& dk, void* drpb, bool) {
  with_type(type, [&](auto zero) { general_qk_gradient<decltype(zero)>(p, q, k, dlogits, dq, dk, drpb); });
}

void av(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& out) {
  with_type(type, [&](auto zero) { general_av<decltype(zero)>(p, attention, v, out); });
}

void av_gradient(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& dout,
                 const View& dattention, const View& dv, bool) {
  with_type(type, [&](auto zero) { general_av_gradient<decltype(zero)>(p, attention, v, dout, dattention, dv); });
}

const Table kTable = {NATTEN_STRING(NATTEN_ISA), &forward, &backward, &qk, &qk_gradient, &av, &av_gradient};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
