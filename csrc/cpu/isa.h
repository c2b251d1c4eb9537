// One instruction set's entry points: picks the driver for each type. Included
// once by each isa_*.cpp, which defines NATTEN_ISA, the set's
// namespace, and NATTEN_ISA_NAME, what users call it.
//
// Everything here lives in that namespace. Inline functions from shared headers
// that several sets compile are merged by the linker, which keeps the first
// copy: csrc/Makefile therefore links the baseline's objects before the others.
#pragma once

#include "general_fused.h"
#include "general_unfused.h"
#ifdef NATTEN_TILED
#include "simd_double.h"
#include "unfused.h"
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
// `fixed`: the same plan whatever the number of threads.
inline int64_t threads_of(bool fixed) { return fixed ? 4 : at::get_num_threads(); }

template <class S>
RowPlan plan_of(const Problem& p, bool fixed) {
  return RowPlan(p.axis[2], lines_per_row(p, S::kLanes, threads_of(fixed)), S::kLanes, S::kOffsets);
}

// The problem of the key heads from `first` on, `count` of them, and their part of each tensor.
struct Part {
  Problem p;
  int64_t first_key, first;  // head of keys, of queries
  int64_t element;           // bytes

  Part(const Problem& whole, int64_t first_, int64_t count, int64_t element_)
      : p(whole), first_key(first_), first(first_ * (whole.heads / whole.kv_heads)), element(element_) {
    p.kv_heads = count;
    p.heads = count * (whole.heads / whole.kv_heads);
  }
  View queries(const View& view) const { return shifted(view, first * view.head * element); }
  View keys(const View& view) const { return shifted(view, first_key * view.head * element); }
  // Of a View or a table in the accumulation's type E.
  template <class E>
  View sums(const View& view) const {
    return shifted(view, first * view.head * static_cast<int64_t>(sizeof(E)));
  }
  template <class E>
  E* bias(const void* table) const {
    return table == nullptr ? nullptr : static_cast<E*>(const_cast<void*>(table)) + first * p.bias_entries();
  }

 private:
  static View shifted(View view, int64_t bytes) {
    if (view.data != nullptr) view.data = static_cast<char*>(view.data) + bytes;
    return view;
  }
};

// Calls run(part, plan) for parts of the problem whose bias tables, which grow with the square of the slow axes'
// kernels, are small enough. False: there are none, or nothing to do; nothing was called.
template <class T, class Run>
bool in_parts(const Problem& p, bool has_bias, bool fixed, const Run& run) {
  using E = acc_t<T>;
  using S = Simd<E>;
  if (p.batch * p.heads * p.tokens() == 0) return false;
  for (int64_t count = p.kv_heads; count > 0; count /= 2) {
    const Part part(p, 0, count, sizeof(T));
    if (BiasTable<E>::bytes(part.p, plan_of<S>(part.p, fixed), has_bias, S::kLanes) >= most_bias_bytes) continue;
    for (int64_t first = 0; first < p.kv_heads; first += count) {
      const Part next(p, first, std::min(count, p.kv_heads - first), sizeof(T));
      run(next, plan_of<S>(next.p, fixed));
    }
    return true;
  }
  return false;
}

template <class T>
bool unfused(const Problem& p, const UnfusedCall<T>& whole, bool fixed) {
  using E = acc_t<T>;
  return in_parts<T>(p, whole.rpb != nullptr || whole.drpb != nullptr, fixed, [&](const Part& part,
                                                                                 const RowPlan& plan) {
    UnfusedCall<T> call = whole;
    call.queries = part.queries(whole.queries), call.keys = part.keys(whole.keys);
    call.dots = part.queries(whole.dots), call.weights = part.queries(whole.weights);
    call.query_sums = part.queries(whole.query_sums), call.key_sums = part.keys(whole.key_sums);
    call.rpb = part.bias<E>(whole.rpb), call.drpb = part.bias<E>(whole.drpb);
    tiled_unfused<Simd<E>, T>(part.p, plan, call, fixed);
  });
}
#endif

void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
             const View& out, const View& lse) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    using E = acc_t<T>;
    using S = Simd<E>;
    const auto run = [&](const Part& part, const RowPlan& plan) {
      const BiasTable<E> bias(part.p, plan, part.bias<E>(rpb), S::kLanes);
      tiled_forward<S, T>(part.p, plan, bias, part.queries(q), part.keys(k), part.keys(v), part.queries(out),
                          part.sums<E>(lse));
    };
    if (in_parts<T>(p, rpb != nullptr, false, run)) return;
#endif
    general_forward<T>(p, q, k, v, rpb, out, lse);
  });
}

void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
              const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
              void* drpb, [[maybe_unused]] bool deterministic) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    using E = acc_t<T>;
    using S = Simd<E>;
    const auto run = [&](const Part& part, const RowPlan& plan) {
      const BiasTable<E> bias(part.p, plan, part.bias<E>(rpb), S::kLanes);
      const Units units = units_of(part.p, plan, threads_of(deterministic));
      const View views[] = {part.queries(q),   part.keys(k),       part.keys(v),     part.queries(out), part.sums<E>(lse),
                            part.queries(dout), part.queries(dq), part.keys(dk), part.keys(dv)};
      const BackwardCall<T> call{part.p,   plan,     bias,     views[0], views[1], views[2],        views[3],
                                 views[4], views[5], views[6], views[7], views[8], drpb != nullptr, deterministic,
                                 units.slabs};
      tiled_backward<S, T>(call, units, part.bias<E>(drpb));
    };
    if (in_parts<T>(p, rpb != nullptr || drpb != nullptr, deterministic, run)) return;
#endif
    general_backward<T>(p, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb);
  });
}

void qk(const Problem& p, c10::ScalarType type, const View& q, const View& k, const void* rpb, const View& logits) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.queries = q, call.keys = k, call.dim = p.dim, call.factor = static_cast<acc_t<T>>(p.scale);
    call.rpb = rpb, call.dots = logits, call.missing = -std::numeric_limits<acc_t<T>>::infinity();
    if (unfused(p, call, false)) return;
#endif
    general_qk<T>(p, q, k, rpb, logits);
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
    if (unfused(p, call, deterministic)) return;
#endif
    general_qk_gradient<T>(p, q, k, dlogits, dq, dk, drpb);
  });
}

void av(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& out) {
  with_type(type, [&](auto zero) {
    using T = decltype(zero);
#ifdef NATTEN_TILED
    UnfusedCall<T> call;
    call.keys = v, call.dim = p.value_dim, call.weights = attention, call.query_sums = out;
    if (unfused(p, call, false)) return;
#endif
    general_av<T>(p, attention, v, out);
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
    if (unfused(p, call, deterministic)) return;
#endif
    general_av_gradient<T>(p, attention, v, dout, dattention, dv);
  });
}

const Table kTable = {NATTEN_ISA_NAME, &forward, &backward, &qk, &qk_gradient, &av, &av_gradient};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
