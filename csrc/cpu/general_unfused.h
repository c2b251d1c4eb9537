// The unfused pair: logits of every slot, weighted sums over slots, and their
// gradients. The same loops as the fused drivers without the softmax.
#pragma once

#include "general.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
void general_qk(const Problem& p, const View& q, const View& k, const void* rpb, const View& logits) {
  using Acc = acc_t<T>;
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads), slots = p.slots();
  const Acc scale = static_cast<Acc>(p.scale);
  const bool causal = p.axis[0].causal || p.axis[1].causal || p.axis[2].causal;
  at::parallel_for(0, p.batch * p.heads * tokens, grain(p), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token query = token_at(p, unit % tokens);
      const int64_t head = unit / tokens % p.heads, batch = unit / tokens / p.heads;
      const T* const q_row = pointer<const T>(q) + offset_of(q, batch, query, head);
      T* const row = pointer<T>(logits) + offset_of(logits, batch, query, head);
      const Acc* const table = rpb != nullptr ? static_cast<const Acc*>(rpb) + head * p.bias_entries() : nullptr;
      if (causal) std::fill(row, row + slots, static_cast<T>(-std::numeric_limits<float>::infinity()));
      for_each_key(p, tables, query, [&](int64_t slot, int64_t bias, const Token& key) {
        Acc score = scale * dot(q_row, pointer<const T>(k) + offset_of(k, batch, key, head / group), p.dim);
        if (table != nullptr) score += table[bias];
        row[slot] = static_cast<T>(score);
      });
    }
  });
}

// sum[query] = factor * sum over its keys of weights[slot] * values[key]: out of av, dq of qk.
// `table`, when wanted, gets the weights' sums over queries by rpb entry.
template <class T>
void gather_keys(const Problem& p, const View& weights, const View& values, const View& sums, int64_t dim,
                 acc_t<T> factor, void* bias_sums) {
  using Acc = acc_t<T>;
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads);
  for_each_share<Acc>(p, static_cast<Acc*>(bias_sums), [&](int64_t begin, int64_t end, int64_t head, Acc* table) {
    std::vector<Acc> sum(dim);
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token query = token_at(p, unit % tokens);
      const int64_t batch = unit / tokens;
      const T* const row = pointer<const T>(weights) + offset_of(weights, batch, query, head);
      std::fill(sum.begin(), sum.end(), Acc(0));
      for_each_key(p, tables, query, [&](int64_t slot, int64_t bias, const Token& key) {
        const Acc weight = static_cast<Acc>(row[slot]);
        add_scaled(sum.data(), weight, pointer<const T>(values) + offset_of(values, batch, key, head / group), dim);
        if (table != nullptr) table[bias] += weight;
      });
      store_scaled(pointer<T>(sums) + offset_of(sums, batch, query, head), factor, sum.data(), dim);
    }
  });
}

// sum[key] = factor * sum over the queries that see it of weights[slot] * values[query]: dk of qk, dv of av.
template <class T>
void gather_queries(const Problem& p, const View& weights, const View& values, const View& sums, int64_t dim,
                    acc_t<T> factor) {
  using Acc = acc_t<T>;
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads);
  at::parallel_for(0, p.batch * p.kv_heads * tokens, grain(p), [&](int64_t begin, int64_t end) {
    std::vector<Acc> sum(dim);
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token key = token_at(p, unit % tokens);
      const int64_t kv_head = unit / tokens % p.kv_heads, batch = unit / tokens / p.kv_heads;
      std::fill(sum.begin(), sum.end(), Acc(0));
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        for_each_query(p, tables, key, [&](int64_t slot, int64_t, const Token& query) {
          const T weight = pointer<const T>(weights)[offset_of(weights, batch, query, head) + slot];
          add_scaled(sum.data(), static_cast<Acc>(weight),
                     pointer<const T>(values) + offset_of(values, batch, query, head), dim);
        });
      }
      store_scaled(pointer<T>(sums) + offset_of(sums, batch, key, kv_head), factor, sum.data(), dim);
    }
  });
}

template <class T>
void general_qk_gradient(const Problem& p, const View& q, const View& k, const View& dlogits, const View& dq,
                         const View& dk, void* drpb) {
  const acc_t<T> scale = static_cast<acc_t<T>>(p.scale);
  gather_keys<T>(p, dlogits, k, dq, p.dim, scale, drpb);
  gather_queries<T>(p, dlogits, q, dk, p.dim, scale);
}

template <class T>
void general_av(const Problem& p, const View& attention, const View& v, const View& out) {
  gather_keys<T>(p, attention, v, out, p.value_dim, acc_t<T>(1), nullptr);
}

template <class T>
void general_av_gradient(const Problem& p, const View& attention, const View& v, const View& dout,
                         const View& dattention, const View& dv) {
  const WindowTables tables(p);
  const int64_t tokens = p.tokens(), group = p.heads / std::max<int64_t>(1, p.kv_heads), slots = p.slots();
  const bool causal = p.axis[0].causal || p.axis[1].causal || p.axis[2].causal;
  at::parallel_for(0, p.batch * p.heads * tokens, grain(p), [&](int64_t begin, int64_t end) {
    for (int64_t unit = begin; unit < end; ++unit) {
      const Token query = token_at(p, unit % tokens);
      const int64_t head = unit / tokens % p.heads, batch = unit / tokens / p.heads;
      const T* const dout_row = pointer<const T>(dout) + offset_of(dout, batch, query, head);
      T* const row = pointer<T>(dattention) + offset_of(dattention, batch, query, head);
      if (causal) std::fill(row, row + slots, static_cast<T>(0.0f));
      for_each_key(p, tables, query, [&](int64_t slot, int64_t, const Token& key) {
        const T* const v_row = pointer<const T>(v) + offset_of(v, batch, key, head / group);
        row[slot] = static_cast<T>(dot(dout_row, v_row, p.value_dim));
      });
    }
  });
  gather_queries<T>(p, attention, dout, dv, p.value_dim, acc_t<T>(1));
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
