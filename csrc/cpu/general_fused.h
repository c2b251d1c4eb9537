// Fused attention, one query at a time, and its gradients: dq per query, dk and
// dv per key. Scores are computed twice in the backward pass, so that no two
// threads ever write to one place.
#pragma once

#include "general.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
void general_forward(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                     const View& lse) {
  using Acc = acc_t<T>;
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads);
  const Acc scale = static_cast<Acc>(p.scale);
  at::parallel_for(0, p.batch * p.heads * tokens, grain(p), [&](int64_t begin, int64_t end) {
    std::vector<Acc> scores(p.slots()), sum(p.value_dim);
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token query = token_at(p, unit % tokens);
      const int64_t head = unit / tokens % p.heads, batch = unit / tokens / p.heads;
      const T* const q_row = pointer<const T>(q) + offset_of(q, batch, query, head);
      const T* const k_base = pointer<const T>(k) + batch * k.batch + head / group * k.head;
      const T* const v_base = pointer<const T>(v) + batch * v.batch + head / group * v.head;
      const Acc* const table = rpb != nullptr ? static_cast<const Acc*>(rpb) + head * p.bias_entries() : nullptr;

      Acc highest = -std::numeric_limits<Acc>::infinity();
      int64_t count = 0;
      for_each_key(p, tables, query, [&](int64_t, int64_t bias, const Token& key) {
        Acc score = scale * dot(q_row, k_base + offset_of(k, 0, key, 0), p.dim);
        if (table != nullptr) score += table[bias];
        highest = std::max(highest, score);
        scores[count++] = score;
      });
      Acc total = 0;
      for (int64_t t = 0; t < count; ++t) total += scores[t] = std::exp(scores[t] - highest);
      std::fill(sum.begin(), sum.end(), Acc(0));
      count = 0;
      for_each_key(p, tables, query, [&](int64_t, int64_t, const Token& key) {
        add_scaled(sum.data(), scores[count++], v_base + offset_of(v, 0, key, 0), p.value_dim);
      });
      store_scaled(pointer<T>(out) + offset_of(out, batch, query, head), Acc(1) / total, sum.data(), p.value_dim);
      if (lse.data != nullptr) pointer<Acc>(lse)[offset_of(lse, batch, query, head)] = highest + std::log(total);
    }
  });
}

template <class T>
void general_backward(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                      const View& lse, const View& dout, const View& dq, const View& dk, const View& dv, void* drpb) {
  using Acc = acc_t<T>;
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads);
  const Acc scale = static_cast<Acc>(p.scale);
  std::vector<Acc> delta(p.batch * p.heads * tokens);  // out . dout of each query

  // The query and the key of one pair; both passes weigh it alike.
  const auto bias_of = [&](int64_t head, int64_t entry) {
    return rpb != nullptr ? static_cast<const Acc*>(rpb)[head * p.bias_entries() + entry] : Acc(0);
  };

  for_each_share<Acc>(p, static_cast<Acc*>(drpb), [&](int64_t begin, int64_t end, int64_t head, Acc* table) {
    std::vector<Acc> sum(p.dim);
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token query = token_at(p, unit % tokens);
      const int64_t batch = unit / tokens;
      const T* const q_row = pointer<const T>(q) + offset_of(q, batch, query, head);
      const T* const dout_row = pointer<const T>(dout) + offset_of(dout, batch, query, head);
      const Acc log_sum = pointer<const Acc>(lse)[offset_of(lse, batch, query, head)];
      const Acc mean = dot(pointer<const T>(out) + offset_of(out, batch, query, head), dout_row, p.value_dim);
      delta[(batch * p.heads + head) * tokens + unit % tokens] = mean;
      std::fill(sum.begin(), sum.end(), Acc(0));
      for_each_key(p, tables, query, [&](int64_t, int64_t bias, const Token& key) {
        const T* const k_row = pointer<const T>(k) + offset_of(k, batch, key, head / group);
        const T* const v_row = pointer<const T>(v) + offset_of(v, batch, key, head / group);
        const Acc weight = std::exp(scale * dot(q_row, k_row, p.dim) + bias_of(head, bias) - log_sum);
        const Acc slope = weight * (dot(dout_row, v_row, p.value_dim) - mean);
        add_scaled(sum.data(), slope, k_row, p.dim);
        if (table != nullptr) table[bias] += slope;
      });
      store_scaled(pointer<T>(dq) + offset_of(dq, batch, query, head), scale, sum.data(), p.dim);
    }
  });

  at::parallel_for(0, p.batch * p.kv_heads * tokens, grain(p), [&](int64_t begin, int64_t end) {
    std::vector<Acc> dk_sum(p.dim), dv_sum(p.value_dim);
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token key = token_at(p, unit % tokens);
      const int64_t kv_head = unit / tokens % p.kv_heads, batch = unit / tokens / p.kv_heads;
      const T* const k_row = pointer<const T>(k) + offset_of(k, batch, key, kv_head);
      const T* const v_row = pointer<const T>(v) + offset_of(v, batch, key, kv_head);
      std::fill(dk_sum.begin(), dk_sum.end(), Acc(0));
      std::fill(dv_sum.begin(), dv_sum.end(), Acc(0));
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        for_each_query(p, tables, key, [&](int64_t, int64_t bias, const Token& query) {
          const T* const q_row = pointer<const T>(q) + offset_of(q, batch, query, head);
          const T* const dout_row = pointer<const T>(dout) + offset_of(dout, batch, query, head);
          const Acc log_sum = pointer<const Acc>(lse)[offset_of(lse, batch, query, head)];
          const int64_t index = (query.at[0] * p.axis[1].length + query.at[1]) * p.axis[2].length + query.at[2];
          const Acc weight = std::exp(scale * dot(q_row, k_row, p.dim) + bias_of(head, bias) - log_sum);
          const Acc mean = delta[(batch * p.heads + head) * tokens + index];
          const Acc slope = weight * (dot(dout_row, v_row, p.value_dim) - mean);
          add_scaled(dk_sum.data(), slope, q_row, p.dim);
          add_scaled(dv_sum.data(), weight, dout_row, p.value_dim);
        });
      }
      store_scaled(pointer<T>(dk) + offset_of(dk, batch, key, kv_head), scale, dk_sum.data(), p.dim);
      store_scaled(pointer<T>(dv) + offset_of(dv, batch, key, kv_head), Acc(1), dv_sum.data(), p.value_dim);
    }
  });
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
