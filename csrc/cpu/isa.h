// One instruction set's entry points: picks the driver for each type. Included
// once by each isa_*.cpp, which defines NATTEN_ISA, the set's
// namespace, and NATTEN_ISA_NAME, what users call it.
//
// Everything here lives in that namespace. Inline functions from shared headers,
// which the linker would merge with everybody's, csrc/Makefile keeps to the set.
#pragma once

#ifdef NATTEN_TILED
#include "simd_double.h"
#include "tiled.h"
#include "unfused.h"
#else
#include "general_fused.h"
#include "general_unfused.h"
#endif
#include "table.h"

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

#ifdef NATTEN_TILED
template <class T>
void unfused(const Problem& p, const UnfusedCall<T>& call, bool deterministic) {
  using S = Simd<acc_t<T>>;
  const RowPlan plan = plan_of<S>(p, deterministic);
  tiled_unfused<S, T>(p, plan, call, units_of(p, plan, threads_of(deterministic)), deterministic);
}
#endif

void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
             const View& out, const View& lse, [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    tiled_forward<T>(p, q, k, v, rpb, out, lse, deterministic);
#else
    general_forward<T>(p, q, k, v, rpb, out, lse);
#endif
  });
}

void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
              const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
              void* drpb, [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    tiled_backward<T>(p, {q, k, v, out, lse, dout, dq, dk, dv}, rpb, drpb, deterministic);
#else
    general_backward<T>(p, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb);
#endif
  });
}

void qk(const Problem& p, c10::ScalarType type, const View& q, const View& k, const void* rpb, const View& logits,
        [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.queries = q, call.keys = k, call.dim = p.dim, call.factor = static_cast<acc_t<T>>(p.scale);
    call.rpb = rpb, call.dots = logits, call.missing = -std::numeric_limits<acc_t<T>>::infinity();
    unfused(p, call, deterministic);
#else
    general_qk<T>(p, q, k, rpb, logits);
#endif
  });
}

void qk_gradient(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& dlogits,
                 const View& dq, const View& dk, void* drpb, [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.queries = q, call.keys = k, call.dim = p.dim, call.factor = static_cast<acc_t<T>>(p.scale);
    call.weights = dlogits, call.query_sums = dq, call.key_sums = dk, call.drpb = drpb;
    unfused(p, call, deterministic);
#else
    general_qk_gradient<T>(p, q, k, dlogits, dq, dk, drpb);
#endif
  });
}

void av(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& out,
        [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.keys = v, call.dim = p.value_dim, call.weights = attention, call.query_sums = out;
    unfused(p, call, deterministic);
#else
    general_av<T>(p, attention, v, out);
#endif
  });
}

void av_gradient(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& dout,
                 const View& dattention, const View& dv, [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.queries = dout, call.keys = v, call.dim = p.value_dim;
    call.dots = dattention, call.weights = attention, call.key_sums = dv;
    unfused(p, call, deterministic);
#else
    general_av_gradient<T>(p, attention, v, dout, dattention, dv);
#endif
  });
}

const Table kTable = {NATTEN_ISA_NAME, &forward, &backward, &qk, &qk_gradient, &av, &av_gradient};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
