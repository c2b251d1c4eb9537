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
  std::vector<int64_t> at;         // of each packed position, from its row
  const int64_t* order = nullptr;  // the positions as they follow each other in memory; null: as they are

  // per_key: the tensor's heads per key head.
  Layout(const Problem& p, const RowPlan& plan, const View& view_, int64_t per_key_)
      : view(view_),
        kv_heads(p.kv_heads),
        per_key(per_key_),
        dilation{p.axis[0].dilation, p.axis[1].dilation},
        at(view_.data == nullptr ? 0 : plan.length()) {
    for (size_t i = 0; i < at.size(); ++i) {
      const int64_t line = plan.positions[i].line;
      at[i] = of_head(line / kv_heads, line % kv_heads) + plan.positions[i].token * view.axis[2];
    }
    if (plan.lines == 1 || view.head < view.axis[2]) order = plan.by_token.data();
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

// Fetches rows that will be packed or written soon, a few tokens at a time between other work and in the order in
// which they lie in memory.
class Prefetch {
 public:
  void clear() {
    rows_.clear();
    row_ = 0, position_ = 0;
  }
  // Packed positions begin .. end - 1 of a row that lies as `layout` says. T: const where the row will be read.
  template <class T>
  void add(T* row, const Layout& layout, int64_t begin, int64_t end, int64_t dim) {
    if (begin >= end) return;
    const bool whole = end - begin == static_cast<int64_t>(layout.at.size());
    rows_.push_back({reinterpret_cast<const char*>(row), layout.at.data() + begin, whole ? layout.order : nullptr,
                     end - begin, static_cast<int64_t>(sizeof(T)), static_cast<int64_t>(dim * sizeof(T)),
                     !std::is_const_v<T>});
  }
  int64_t tokens() const {
    int64_t sum = 0;
    for (const Row& row : rows_) sum += row.count;
    return sum;
  }
  // What is asked for is spread over so many turns.
  void spread(int64_t turns) { share_ = (tokens() + turns - 1) / turns; }
  void turn() {
    if (row_ < rows_.size()) some(share_);
  }
  void some(int64_t tokens) {
    while (row_ < rows_.size() && tokens > 0) {
      const Row& row = rows_[row_];
      const int64_t end = std::min(row.count, position_ + tokens);
      tokens -= end - position_;
      for (; position_ < end; ++position_) {
        const int64_t position = row.order == nullptr ? position_ : row.order[position_];
        const char* const token = row.base + row.offsets[position] * row.element;
        if (row.write) {
          for (int64_t byte = 0; byte < row.bytes; byte += 64) __builtin_prefetch(token + byte, 1, 2);
        } else {
          for (int64_t byte = 0; byte < row.bytes; byte += 64) __builtin_prefetch(token + byte, 0, 2);
        }
      }
      if (position_ == row.count) ++row_, position_ = 0;
    }
  }
  void all() {
    some(tokens());
    clear();
  }

 private:
  struct Row {
    const char* base;
    const int64_t* offsets;
    const int64_t* order;
    int64_t count, element, bytes;
    bool write;
  };
  std::vector<Row> rows_;
  size_t row_ = 0;
  int64_t position_ = 0, share_ = 0;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
