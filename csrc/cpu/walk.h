// The walk over a problem that the fused drivers share.
//
// A unit is one packed row's lines (see tiles.h) in one dilation group of each
// slow axis, or a slab of it. It is walked block by block (see blocks.h). The
// key rows that a block sees are packed once and kept in a ring while later
// blocks still need them; the block visits them in steps, in chunks small enough
// that the scores stay in the first-level cache.
#pragma once

#include <ATen/Parallel.h>

#include <vector>

#include "blocks.h"

namespace natten::cpu {
namespace NATTEN_ISA {

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

// The units of a call: row groups x dilation groups of the slow axes x slabs.
struct Units {
  int64_t groups, residues0, residues1, slabs;
  int64_t count() const { return groups * residues0 * residues1 * slabs; }
};

// The threads that a call is planned for. `deterministic`: the same plan whatever their number.
inline int64_t threads_of(bool deterministic) { return deterministic ? 4 : at::get_num_threads(); }

inline Units units_of(const Problem& p, const RowPlan& plan, int64_t threads) {
  Units units{p.batch * p.kv_heads / plan.lines, p.axis[0].dilation, p.axis[1].dilation, 1};
  const int64_t whole = units.count(), most = group_at(p, plan, 0, 0).blocks();
  // Slabs pack the key rows at their seams twice: only as many as balance wants.
  while (units.slabs < most && whole * units.slabs % threads != 0 && whole * units.slabs < 8 * threads) ++units.slabs;
  return units;
}

// One block of one unit.
struct Stop {
  int64_t unit = -1, row_group = -1;
  int64_t sample = 0, key_head = 0;  // of the row group's first line
  bool new_unit = false;
  Group group{};
  int64_t first_block = 0, last_block = 0;  // the unit's
  Block block;
};

// The blocks of units begin .. end - 1 in order.
class Walk {
 public:
  Walk(const Problem& p, const RowPlan& plan, const Units& units, int64_t begin, int64_t end)
      : p_(p),
        plan_(plan),
        head_groups_(HeadGroups(p, plan).row_groups()),
        units_(units),
        unit_(begin - 1),
        end_(end) {}

  bool next(Stop& stop) {
    bool new_unit = false;
    while (block_ >= last_) {
      if (++unit_ >= end_) return false;
      const int64_t slab = unit_ % units_.slabs, residues = unit_ / units_.slabs;
      group_ = group_at(p_, plan_, residues / units_.residues1 % units_.residues0, residues % units_.residues1);
      first_ = block_ = group_.blocks() * slab / units_.slabs;
      last_ = group_.blocks() * (slab + 1) / units_.slabs;
      new_unit = true;
    }
    stop.unit = unit_;
    stop.row_group = row_group_of(unit_);
    stop.sample = stop.row_group * plan_.lines / p_.kv_heads;
    stop.key_head = stop.row_group * plan_.lines % p_.kv_heads;
    stop.new_unit = new_unit;
    stop.group = group_;
    stop.first_block = first_;
    stop.last_block = last_;
    plan_block(p_, plan_, group_, block_++, stop.block);
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
  const RowPlan& plan_;
  const int64_t head_groups_;
  const Units units_;
  int64_t unit_, end_, first_ = 0, block_ = 0, last_ = 0;
  Group group_{};
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
