// The walk over a problem that the fused drivers share.
//
// A unit is one packed row's lines (see tiles.h) in one dilation group of each
// slow axis, or a slab of it. It is walked in blocks of up to kRows query rows.
// The key rows that a block sees are packed once and kept in a ring while later
// blocks still need them; the block visits them in steps, in chunks small enough
// that the scores stay in the first-level cache.
#pragma once

#include <type_traits>
#include <vector>

#include "products.h"

namespace natten::cpu {
namespace NATTEN_ISA {

constexpr int64_t kChunkSlots = 80;
constexpr int64_t kMostAhead = 65536;  // bytes of one packed row; longer ones would push each other out of the cache

// Where the lines of one unit lie in a tensor.
struct Offsets {
  std::vector<int64_t> at;         // of each packed position, from the row's base
  const int64_t* order = nullptr;  // the positions as they follow each other in memory; null: as they are

  // first_pair: the row group's first (batch, key head); per_key: the tensor's heads per key head.
  void place(const Problem& p, const RowPlan& plan, const View& view, int64_t first_pair, int64_t per_key) {
    at.resize(plan.length());
    const int64_t length = p.axis[2].length;
    for (int64_t line = 0; line < plan.lines; ++line) {
      const int64_t pair = first_pair + line;
      const int64_t base = pair / p.kv_heads * view.batch + pair % p.kv_heads * per_key * view.head;
      for (int64_t i = line * length; i < (line + 1) * length; ++i) {
        at[i] = base + plan.positions[i].token * view.axis[2];
      }
    }
    order = plan.lines == 1 || view.head < view.axis[2] ? plan.by_token.data() : nullptr;
  }
};

// One key row of a block, or a part of its window offsets.
struct Step {
  int64_t z, y;       // the key row, in places of its groups
  int64_t first = 0;  // window offsets first .. first + count - 1
  int64_t count = 0;
  int64_t bias_row = 0;  // of query row `low`; each later row reads one bias row earlier
  int64_t slot = 0;      // of its first score within the chunk
  int low = 0, high = 0;
};

struct SlotRange {
  int64_t begin, end;
};

struct Chunk {
  int64_t first_step = 0, step_count = 0;
  std::vector<SlotRange> ranges[kRows];  // the slots that each query row fills
};

struct Block {
  int64_t z = 0, y = 0;
  int rows = 0;
  std::vector<Step> steps;
  std::vector<Chunk> chunks;
};

struct Group {
  int64_t residue0, residue1, size0, size1;
  int64_t blocks_per_plane() const { return (size1 + kRows - 1) / kRows; }
  int64_t blocks() const { return size0 * blocks_per_plane(); }
  int64_t block_row(int64_t b) const { return size1 * b / blocks_per_plane(); }
};

inline Group group_at(const Problem& p, int64_t residue0, int64_t residue1) {
  return {residue0, residue1, group_size(p.axis[0], residue0), group_size(p.axis[1], residue1)};
}

// The row (z, y) of a group in a tensor.
template <class T>
inline T* row_of(const Problem& p, const Group& group, const View& view, int64_t z, int64_t y) {
  return static_cast<T*>(view.data) + (group.residue0 + z * p.axis[0].dilation) * view.axis[0] +
         (group.residue1 + y * p.axis[1].dilation) * view.axis[1];
}

// Fills the block with the steps of query rows y .. y + rows - 1 of plane z, in chunks.
inline void plan_block(const Problem& p, const Group& group, int64_t index, Block& block) {
  const int64_t b = index % group.blocks_per_plane();
  block.z = index / group.blocks_per_plane();
  block.y = group.block_row(b);
  block.rows = static_cast<int>(group.block_row(b + 1) - block.y);
  block.steps.clear();
  block.chunks.clear();
  const Window planes = group_window(p.axis[0], group.size0, block.z);
  RowWindow rows[kRows];
  int64_t last = 0;
  for (int i = 0; i < block.rows; ++i) {
    rows[i] = row_window(p.axis[1], group.size1, block.y + i);
    last = std::max(last, rows[i].first + rows[i].count);
  }
  const int64_t kernel2 = p.axis[2].kernel, pieces = (kernel2 + kChunkSlots - 1) / kChunkSlots;
  int64_t used = kChunkSlots;
  for (int64_t t = 0; t < planes.count; ++t) {
    for (int64_t y = rows[0].first; y < last; ++y) {
      Step step;
      step.z = planes.first + t;
      step.y = y;
      while (step.low < block.rows && y >= rows[step.low].first + rows[step.low].count) ++step.low;
      step.high = step.low;
      while (step.high < block.rows && y >= rows[step.high].first) ++step.high;
      if (step.low == step.high) continue;
      step.bias_row = (planes.bias + t) * (2 * p.axis[1].kernel - 1) + y - (block.y + step.low) + p.axis[1].kernel - 1;
      for (int64_t piece = 0; piece < pieces; ++piece) {
        step.first = kernel2 * piece / pieces;
        step.count = kernel2 * (piece + 1) / pieces - step.first;
        if (used + step.count > kChunkSlots) {
          block.chunks.emplace_back();
          block.chunks.back().first_step = block.steps.size();
          used = 0;
        }
        Chunk& chunk = block.chunks.back();
        step.slot = used;
        used += step.count;
        ++chunk.step_count;
        for (int i = step.low; i < step.high; ++i) {
          std::vector<SlotRange>& ranges = chunk.ranges[i];
          if (!ranges.empty() && ranges.back().end == step.slot) {
            ranges.back().end = used;
          } else {
            ranges.push_back({step.slot, used});
          }
        }
        block.steps.push_back(step);
      }
    }
  }
}

// The packed key rows that blocks still need: a ring over the outermost axis that windows span.
template <class E>
class Ring {
 public:
  Ring() = default;
  // row_size: elements of one packed row.
  void reset(const Problem& p, const Group& group, int64_t row_size) {
    by_plane_ = p.axis[0].kernel > 1;
    size1_ = group.size1;
    if (by_plane_) {
      depth_ = std::min(group.size0, p.axis[0].kernel);
    } else {
      depth_ = 1;
      for (int64_t b = 0; b < group.blocks_per_plane(); ++b) {
        const RowWindow low = row_window(p.axis[1], group.size1, group.block_row(b));
        for (int64_t y = group.block_row(b); y < group.block_row(b + 1); ++y) {
          const RowWindow high = row_window(p.axis[1], group.size1, y);
          depth_ = std::max(depth_, high.first + high.count - low.first);
        }
      }
    }
    const int64_t rows = by_plane_ ? depth_ * size1_ : depth_;
    if (rows * row_size > capacity_) {
      capacity_ = rows * row_size;
      memory_.reset(capacity_);
    }
    row_size_ = row_size;
    tags_.assign(rows, -1);
  }
  bool holds(int64_t z, int64_t y) const { return tags_[slot(z, y)] == z * size1_ + y; }
  // The row's memory; `fresh` when the caller must fill it.
  E* row(int64_t z, int64_t y, bool& fresh) {
    fresh = !holds(z, y);
    tags_[slot(z, y)] = z * size1_ + y;
    return memory_.data() + slot(z, y) * row_size_;
  }
  // Calls visit(z, y, memory) for the row that (z, y) would replace.
  template <class Visit>
  void visit_replaced(int64_t z, int64_t y, const Visit& visit) const {
    if (!holds(z, y)) visit_slot(slot(z, y), visit);
  }
  template <class Visit>
  void visit_all(const Visit& visit) const {
    for (size_t i = 0; i < tags_.size(); ++i) visit_slot(static_cast<int64_t>(i), visit);
  }

 private:
  template <class Visit>
  void visit_slot(int64_t slot, const Visit& visit) const {
    const int64_t tag = tags_[slot];
    if (tag >= 0) visit(tag / size1_, tag % size1_, memory_.data() + slot * row_size_);
  }
  int64_t slot(int64_t z, int64_t y) const { return by_plane_ ? z % depth_ * size1_ + y : y % depth_; }

  Buffer<E> memory_;
  std::vector<int64_t> tags_;
  int64_t capacity_ = 0, row_size_ = 0, depth_ = 1, size1_ = 1;
  bool by_plane_ = false;
};

// Fetches rows that will be packed or written soon, a few tokens at a time between other work and in the order in
// which they lie in memory.
class Prefetch {
 public:
  void clear() {
    rows_.clear();
    row_ = 0, position_ = 0;
  }
  // T: const where the row will be read.
  template <class T>
  void add(T* row, const Offsets& offsets, int64_t dim) {
    rows_.push_back({reinterpret_cast<const char*>(row), &offsets, static_cast<int64_t>(sizeof(T)),
                     static_cast<int64_t>(dim * sizeof(T)), !std::is_const_v<T>});
  }
  int64_t tokens() const {
    int64_t sum = 0;
    for (const Row& row : rows_) sum += static_cast<int64_t>(row.offsets->at.size());
    return sum;
  }
  void some(int64_t tokens) {
    while (row_ < rows_.size() && tokens > 0) {
      const Row& row = rows_[row_];
      const int64_t size = static_cast<int64_t>(row.offsets->at.size()), end = std::min(size, position_ + tokens);
      tokens -= end - position_;
      for (; position_ < end; ++position_) {
        const int64_t position = row.offsets->order == nullptr ? position_ : row.offsets->order[position_];
        const char* const token = row.base + row.offsets->at[position] * row.element;
        if (row.write) {
          for (int64_t byte = 0; byte < row.bytes; byte += 64) __builtin_prefetch(token + byte, 1, 2);
        } else {
          for (int64_t byte = 0; byte < row.bytes; byte += 64) __builtin_prefetch(token + byte, 0, 2);
        }
      }
      if (position_ == size) ++row_, position_ = 0;
    }
  }
  void all() {
    some(tokens());
    clear();
  }

 private:
  struct Row {
    const char* base;
    const Offsets* offsets;
    int64_t element, bytes;
    bool write;
  };
  std::vector<Row> rows_;
  size_t row_ = 0;
  int64_t position_ = 0;
};

// The units of a call: row groups x dilation groups of the slow axes x slabs.
struct Units {
  int64_t groups, residues0, residues1, slabs;
  int64_t count() const { return groups * residues0 * residues1 * slabs; }
};

inline Units units_of(const Problem& p, const RowPlan& plan, int64_t threads) {
  Units units{p.batch * p.kv_heads / plan.lines, p.axis[0].dilation, p.axis[1].dilation, 1};
  const int64_t whole = units.count(), most = group_at(p, 0, 0).blocks();
  // Slabs pack the key rows at their seams twice: only as many as balance wants.
  while (units.slabs < most && whole * units.slabs % threads != 0 && whole * units.slabs < 8 * threads) ++units.slabs;
  return units;
}

// One block of one unit.
struct Stop {
  int64_t unit = -1, row_group = -1;
  int64_t parity = 0;  // of the row group's turn
  bool new_unit = false;
  Group group{};
  Block block;
};

// The blocks of units begin .. end - 1 in order.
class Walk {
 public:
  Walk(const Problem& p, const RowPlan& plan, const Units& units, int64_t begin, int64_t end)
      : p_(p), head_groups_(HeadGroups(p, plan).row_groups()), units_(units), unit_(begin - 1), end_(end) {}

  bool next(Stop& stop) {
    bool new_unit = false;
    while (block_ >= last_) {
      if (++unit_ >= end_) return false;
      const int64_t slab = unit_ % units_.slabs, residues = unit_ / units_.slabs;
      group_ = group_at(p_, residues / units_.residues1 % units_.residues0, residues % units_.residues1);
      block_ = group_.blocks() * slab / units_.slabs;
      last_ = group_.blocks() * (slab + 1) / units_.slabs;
      new_unit = true;
    }
    stop.unit = unit_;
    stop.row_group = row_group_of(unit_);
    stop.parity = turn_of(unit_) & 1;
    stop.new_unit = new_unit;
    stop.group = group_;
    plan_block(p_, group_, block_++, stop.block);
    return true;
  }

  // Row groups of the same heads follow each other: they share bias tables.
  int64_t row_group_of(int64_t unit) const {
    const int64_t repeats = units_.groups / head_groups_;
    return turn_of(unit) % repeats * head_groups_ + turn_of(unit) / repeats;
  }

 private:
  int64_t turn_of(int64_t unit) const { return unit / units_.slabs / units_.residues1 / units_.residues0; }

  const Problem& p_;
  const int64_t head_groups_;
  const Units units_;
  int64_t unit_, end_, block_ = 0, last_ = 0;
  Group group_{};
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
