// Where packed rows lie in tensors.
#pragma once

#include <vector>

#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Whether the rows of a block are fetched ahead, of a tensor with so many bytes for each query: longer ones would push
// each other out of the cache.
inline bool fits_ahead(const Block& block, int64_t bytes) {
  return (block.last_query - block.first_query) * bytes <= 65536;
}

// A tensor's rows as the walk meets them. Row groups differ in where their first line starts, not in the rest: their
// lines divide the heads of a sample, or are those of whole samples.
struct Layout {
  View view;
  int64_t kv_heads, per_key, dilation[2];
  int64_t bytes;               // of what a token has of one head
  std::vector<int64_t> at;     // of each packed position, from its row
  std::vector<int64_t> lines;  // of a whole row: the bytes at which its cache lines begin, in the order of memory

  // per_key: the tensor's heads per key head. dim: numbers of a token and head, of `element` bytes each; none of a
  // tensor that is not fetched ahead.
  Layout(const Problem& p, const RowPlan& plan, const View& view_, int64_t per_key_, int64_t dim = 0,
         int64_t element = 0)
      : view(view_),
        kv_heads(p.kv_heads),
        per_key(per_key_),
        dilation{p.axis[0].dilation, p.axis[1].dilation},
        bytes(dim * element),
        at(view_.data == nullptr ? 0 : plan.length()) {
    for (size_t i = 0; i < at.size(); ++i) {
      const int64_t line = plan.positions[i].line;
      at[i] = of_head(line / kv_heads, line % kv_heads) + plan.positions[i].token * view.axis[2];
    }
    // Strips go by their positions.
    if (at.empty() || bytes == 0 || by_strips(p)) return;
    lines.reserve(at.size() * ((bytes + 63) / 64));
    const bool by_token = plan.lines == 1 || view.head < view.axis[2];
    for (size_t i = 0; i < at.size(); ++i) {
      const int64_t begin = at[by_token ? plan.by_token[i] : static_cast<int64_t>(i)] * element;
      for (int64_t byte = begin; byte < begin + bytes; byte += 64) {
        // Short tokens share lines.
        if (lines.empty() || byte / 64 != lines.back() / 64) lines.push_back(byte);
      }
    }
  }

  // The row (z, y) of a unit's group.
  template <class T>
  T* row(const Stop& stop, int64_t z, int64_t y) const {
    return static_cast<T*>(view.data) + of_head(stop.sample, stop.key_head) +
           (stop.group.residue0 + z * dilation[0]) * view.axis[0] +
           (stop.group.residue1 + y * dilation[1]) * view.axis[1];
  }
  // Row i of a block of queries, of the `member`-th head of each key head.
  template <class T>
  T* query_row(const Stop& stop, int i, int64_t member) const {
    return row<T>(stop, stop.block.z, stop.block.y + stop.block.row_step(i)) + member * view.head;
  }

 private:
  int64_t of_head(int64_t sample, int64_t key_head) const {
    return sample * view.batch + key_head * per_key * view.head;
  }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
