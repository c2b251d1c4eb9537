// Where packed rows lie in tensors, and their way into the cache before they are needed.
#pragma once

#include <type_traits>
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
  int64_t element, bytes;      // of a number, and of what a token has of one head
  std::vector<int64_t> at;     // of each packed position, from its row
  std::vector<int64_t> lines;  // of a whole row: the bytes at which its cache lines begin, in the order of memory

  // per_key: the tensor's heads per key head. dim: numbers of a token and head, of `element_` bytes each.
  Layout(const Problem& p, const RowPlan& plan, const View& view_, int64_t per_key_, int64_t dim, int64_t element_)
      : view(view_),
        kv_heads(p.kv_heads),
        per_key(per_key_),
        dilation{p.axis[0].dilation, p.axis[1].dilation},
        element(element_),
        bytes(dim * element_),
        at(view_.data == nullptr ? 0 : plan.length()) {
    for (size_t i = 0; i < at.size(); ++i) {
      const int64_t line = plan.positions[i].line;
      at[i] = of_head(line / kv_heads, line % kv_heads) + plan.positions[i].token * view.axis[2];
    }
    // Strips go by their positions.
    if (at.empty() || by_strips(p)) return;
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

// Fetches rows that will be packed or written soon, a few cache lines at a time between other work. Addresses are
// worked out beforehand: turns that do so themselves, or loop over tokens, cost a tenth of the forward pass.
class Prefetch {
 public:
  // Packed positions begin .. end - 1 of a row that lies as `layout` says. T: const where the row will be read.
  template <class T>
  void add(T* row, const Layout& layout, int64_t begin, int64_t end) {
    if (begin >= end) return;
    // What is fetched are whole lines, so that the lowest bit is free: it tells what will be written.
    const uintptr_t base = (reinterpret_cast<uintptr_t>(row) & ~kWrite) | (std::is_const_v<T> ? 0 : kWrite);
    if (layout.lines.empty()) {
      uintptr_t* to = room((end - begin) * ((layout.bytes + 63) / 64));
      for (int64_t i = begin; i < end; ++i) {
        const uintptr_t token = base + layout.at[i] * sizeof(T);
        for (int64_t byte = 0; byte < layout.bytes; byte += 64) *to++ = token + byte;
      }
    } else {
      const int64_t count = static_cast<int64_t>(layout.lines.size());
      uintptr_t* const to = room(count);
      for (int64_t i = 0; i < count; ++i) to[i] = base + layout.lines[i];
    }
  }
  // What is asked for is spread over so many turns.
  void spread(int64_t turns) { share_ = (size_ + turns - 1) / turns; }
  void turn() {
    if (next_ < size_) fetch(std::min(size_, next_ + share_));
  }
  void all() {
    fetch(size_);
    size_ = next_ = 0;
  }

 private:
  static constexpr uintptr_t kWrite = 1;

  // Where so many more lines go.
  uintptr_t* room(int64_t count) {
    size_ += count;
    if (size_ > static_cast<int64_t>(lines_.size())) lines_.resize(size_);
    return lines_.data() + size_ - count;
  }
  void fetch(int64_t end) {
    for (; next_ < end; ++next_) {
      const uintptr_t line = lines_[next_];
      if (line & kWrite) {
        __builtin_prefetch(reinterpret_cast<const char*>(line), 1, 2);
      } else {
        __builtin_prefetch(reinterpret_cast<const char*>(line), 0, 2);
      }
    }
  }

  std::vector<uintptr_t> lines_;  // the first size_ of them are asked for
  int64_t size_ = 0, next_ = 0, share_ = 0;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
