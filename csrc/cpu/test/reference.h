// Neighborhood attention written from its definition, in double: what the
// kernels are tested against. Plain loops over all keys, no windows table.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "../../problem.h"

namespace natten::cpu::test {

// Dense arrays: q, dout and the like [batch, head, token, dim]; logits [batch, head, token, slot].
struct Reference {
  std::vector<double> q, k, v, rpb, dout;                   // inputs
  std::vector<double> logits, weights, out, lse;            // forward
  std::vector<double> dq, dk, dv, drpb, dweights, dlogits;  // gradients of sum(out * dout)
};

// The slot of a key in a query's window on one axis, or -1.
inline int64_t slot_on_axis(const Axis& axis, int64_t query, int64_t key) {
  if (query % axis.dilation != key % axis.dilation) return -1;
  const int64_t residue = query % axis.dilation;
  const int64_t group = (axis.length - 1 - residue) / axis.dilation + 1;
  const int64_t place = query / axis.dilation, other = key / axis.dilation;
  const int64_t block = place / axis.stride * axis.stride;
  int64_t start;
  if (axis.causal) {
    if (other > place) return -1;
    start = std::max<int64_t>(std::min(block + axis.stride - 1, group - 1) - axis.kernel + 1, 0);
  } else {
    const int64_t leader = std::min(block + axis.stride / 2, group - 1);
    start = std::min(std::max<int64_t>(leader - axis.kernel / 2, 0), group - axis.kernel);
  }
  return other >= start && other < start + axis.kernel ? other - start : -1;
}

template <class Visit>
void for_each_pair(const Problem& p, const Visit& visit) {
  const int64_t tokens = p.tokens();
  const auto coordinate = [&](int64_t token, int a) {
    return a == 2   ? token % p.axis[2].length
           : a == 1 ? token / p.axis[2].length % p.axis[1].length
                    : token / p.axis[2].length / p.axis[1].length;
  };
  for (int64_t query = 0; query < tokens; ++query) {
    for (int64_t key = 0; key < tokens; ++key) {
      int64_t slot = 0, bias = 0;
      bool seen = true;
      for (int a = 0; a < kAxes && seen; ++a) {
        const int64_t i = coordinate(query, a), j = coordinate(key, a);
        const int64_t t = slot_on_axis(p.axis[a], i, j);
        seen = t >= 0;
        slot = slot * p.axis[a].kernel + t;
        bias = bias * (2 * p.axis[a].kernel - 1) + (j - i) / p.axis[a].dilation + p.axis[a].kernel - 1;
      }
      if (seen) visit(query, key, slot, bias);
    }
  }
}

// Fills everything but the inputs. rpb may be empty.
inline void compute(const Problem& p, Reference& r) {
  const int64_t tokens = p.tokens(), slots = p.slots(), entries = p.bias_entries(), group = p.heads / p.kv_heads;
  const double infinity = std::numeric_limits<double>::infinity();
  r.logits.assign(p.batch * p.heads * tokens * slots, -infinity);
  r.weights.assign(r.logits.size(), 0);
  r.dweights.assign(r.logits.size(), 0);
  r.dlogits.assign(r.logits.size(), 0);
  r.out.assign(p.batch * p.heads * tokens * p.value_dim, 0);
  r.lse.assign(p.batch * p.heads * tokens, 0);
  r.dq.assign(r.q.size(), 0);
  r.dk.assign(r.k.size(), 0);
  r.dv.assign(r.v.size(), 0);
  r.drpb.assign(p.heads * entries, 0);
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      const int64_t queries = (b * p.heads + h) * tokens, keys = (b * p.kv_heads + h / group) * tokens;
      for_each_pair(p, [&](int64_t i, int64_t j, int64_t slot, int64_t bias) {
        double sum = 0;
        for (int64_t d = 0; d < p.dim; ++d) sum += r.q[(queries + i) * p.dim + d] * r.k[(keys + j) * p.dim + d];
        r.logits[(queries + i) * slots + slot] = p.scale * sum + (r.rpb.empty() ? 0 : r.rpb[h * entries + bias]);
      });
      for (int64_t i = 0; i < tokens; ++i) {
        const double* row = &r.logits[(queries + i) * slots];
        double highest = -infinity, total = 0;
        for (int64_t t = 0; t < slots; ++t) highest = std::max(highest, row[t]);
        for (int64_t t = 0; t < slots; ++t) total += std::exp(row[t] - highest);
        for (int64_t t = 0; t < slots; ++t) r.weights[(queries + i) * slots + t] = std::exp(row[t] - highest) / total;
        r.lse[queries + i] = highest + std::log(total);
      }
      for_each_pair(p, [&](int64_t i, int64_t j, int64_t slot, int64_t) {
        const double weight = r.weights[(queries + i) * slots + slot];
        double sum = 0;
        for (int64_t d = 0; d < p.value_dim; ++d) {
          r.out[(queries + i) * p.value_dim + d] += weight * r.v[(keys + j) * p.value_dim + d];
          r.dv[(keys + j) * p.value_dim + d] += weight * r.dout[(queries + i) * p.value_dim + d];
          sum += r.dout[(queries + i) * p.value_dim + d] * r.v[(keys + j) * p.value_dim + d];
        }
        r.dweights[(queries + i) * slots + slot] = sum;
      });
      for_each_pair(p, [&](int64_t i, int64_t j, int64_t slot, int64_t bias) {
        double mean = 0;
        for (int64_t d = 0; d < p.value_dim; ++d) {
          mean += r.dout[(queries + i) * p.value_dim + d] * r.out[(queries + i) * p.value_dim + d];
        }
        const int64_t at = (queries + i) * slots + slot;
        const double slope = r.weights[at] * (r.dweights[at] - mean);
        r.dlogits[at] = slope;
        r.drpb[h * entries + bias] += slope;
        for (int64_t d = 0; d < p.dim; ++d) {
          r.dq[(queries + i) * p.dim + d] += p.scale * slope * r.k[(keys + j) * p.dim + d];
          r.dk[(keys + j) * p.dim + d] += p.scale * slope * r.q[(queries + i) * p.dim + d];
        }
      });
    }
  }
}

}  // namespace natten::cpu::test
