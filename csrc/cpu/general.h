// What the general drivers share: the loop over one neighborhood, vector helpers
// that the compiler turns into SIMD, and the bias gradient's deterministic sum.
//
// The general drivers take one query (or one key) at a time, on machines whose
// instruction set has no tiled drivers here.
#pragma once

#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <vector>

#include "element.h"
#include "windows.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
inline T* pointer(const View& view) {
  return static_cast<T*>(view.data);
}

template <class A, class B, class Acc = acc_t<A>>
inline Acc dot(const A* a, const B* b, int64_t n) {
  Acc sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<Acc>(a[i]) * static_cast<Acc>(b[i]);
  return sum;
}

template <class Acc, class T>
inline void add_scaled(Acc* sum, Acc weight, const T* values, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += weight * static_cast<Acc>(values[i]);
}

template <class T, class Acc>
inline void store_scaled(T* out, Acc weight, const Acc* values, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(weight * values[i]);
}

// Tokens are shared out in runs long enough to be worth a thread.
inline int64_t grain(const Problem& p) {
  return std::max<int64_t>(1, 32768 / std::max<int64_t>(1, p.slots() * (p.dim + p.value_dim)));
}

// Calls visit(slot, bias, key) for every key of the query: its slot, its rpb entry, its token.
template <class Visit>
inline void for_each_key(const Problem& p, const WindowTables& tables, const Token& query, const Visit& visit) {
  const Window w0 = tables.axis[0].window[query.at[0]];
  const Window w1 = tables.axis[1].window[query.at[1]];
  const Window w2 = tables.axis[2].window[query.at[2]];
  const int64_t n1 = 2 * p.axis[1].kernel - 1, n2 = 2 * p.axis[2].kernel - 1;
  Token key;
  for (int64_t t0 = 0; t0 < w0.count; ++t0) {
    key.at[0] = w0.first + t0 * p.axis[0].dilation;
    for (int64_t t1 = 0; t1 < w1.count; ++t1) {
      key.at[1] = w1.first + t1 * p.axis[1].dilation;
      const int64_t slot = (t0 * p.axis[1].kernel + t1) * p.axis[2].kernel;
      const int64_t bias = ((w0.bias + t0) * n1 + w1.bias + t1) * n2 + w2.bias;
      for (int64_t t2 = 0; t2 < w2.count; ++t2) {
        key.at[2] = w2.first + t2 * p.axis[2].dilation;
        visit(slot + t2, bias + t2, key);
      }
    }
  }
}

// Calls visit(slot, bias, query) for every query that sees the key.
template <class Visit>
inline void for_each_query(const Problem& p, const WindowTables& tables, const Token& key, const Visit& visit) {
  const Axis* const axis = p.axis;
  Seers seers[kAxes];
  for (int a = 0; a < kAxes; ++a) seers[a] = tables.axis[a].seers[key.at[a]];
  Token query;
  int64_t slot[kAxes], bias[kAxes];
  const auto place = [&](int a, int64_t i) {
    query.at[a] = seers[a].first + i * axis[a].dilation;
    const Window& window = tables.axis[a].window[query.at[a]];
    const int64_t t = (key.at[a] - window.first) / axis[a].dilation;
    const int64_t outer = a == 0 ? 0 : slot[a - 1], outer_bias = a == 0 ? 0 : bias[a - 1];
    slot[a] = outer * axis[a].kernel + t;
    bias[a] = outer_bias * (2 * axis[a].kernel - 1) + window.bias + t;
  };
  for (int64_t i0 = 0; i0 < seers[0].count; ++i0) {
    place(0, i0);
    for (int64_t i1 = 0; i1 < seers[1].count; ++i1) {
      place(1, i1);
      for (int64_t i2 = 0; i2 < seers[2].count; ++i2) {
        place(2, i2);
        visit(slot[2], bias[2], query);
      }
    }
  }
}

// Runs visit(first, last, head, table) over shares of the (batch, token) pairs of each head, each with its own
// bias gradient table, and adds the tables up in order. The shares do not depend on the number of threads, so
// neither does the sum. With drpb null the tables are null.
template <class Acc, class Visit>
void for_each_share(const Problem& p, Acc* drpb, const Visit& visit) {
  const int64_t total = p.batch * p.tokens(), entries = p.bias_entries();
  const int64_t shares = std::max<int64_t>(1, std::min<int64_t>(8, total / 64));
  std::vector<Acc> tables(drpb != nullptr ? p.heads * shares * entries : 0, Acc(0));
  at::parallel_for(0, p.heads * shares, 1, [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t head = unit / shares, share = unit % shares;
      Acc* const table = drpb != nullptr ? tables.data() + unit * entries : nullptr;
      visit(total * share / shares, total * (share + 1) / shares, head, table);
    }
  });
  if (drpb == nullptr) return;
  for (int64_t head = 0; head < p.heads; ++head) {
    for (int64_t i = 0; i < entries; ++i) {
      Acc sum = 0;
      for (int64_t share = 0; share < shares; ++share) sum += tables[(head * shares + share) * entries + i];
      drpb[head * entries + i] = sum;
    }
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
