// The bias as the lanes want it: for each pattern of tiles, row of the bias table and window offset one vector; in the
// units of the scores, -infinity where a lane has no key.
#pragma once

#include "pack.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What all threads share.
template <class E>
struct BiasTable {
  std::vector<E> scaled;  // rpb * unit
  int64_t row_entries = 1, rows = 1, kernel = 1, width = 1, patterns = 0, entries = 1;
  bool has_bias = false;
  HeadGroups heads;

  // `unit`: log2(e) where scores are exponents of 2.
  BiasTable(const Problem& p, const RowPlan& plan, const void* rpb_, E unit = static_cast<E>(1.4426950408889634))
      : row_entries(2 * p.axis[2].kernel - 1),
        rows((2 * p.axis[0].kernel - 1) * (2 * p.axis[1].kernel - 1)),
        kernel(p.axis[2].kernel),
        width(plan.width),
        patterns(static_cast<int64_t>(plan.patterns.size())),
        entries(p.bias_entries()),
        has_bias(rpb_ != nullptr),
        heads(p, plan) {
    if (!has_bias) return;
    const E* const rpb = static_cast<const E*>(rpb_);
    scaled.resize(p.heads * entries);
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] = rpb[i] * unit;
  }

  // The vectors of one group of heads.
  static double bytes(const Problem& p, const RowPlan& plan, bool has_bias) {
    const double rows = has_bias ? (2.0 * p.axis[0].kernel - 1) * (2.0 * p.axis[1].kernel - 1) : 1;
    const double heads = has_bias ? HeadGroups(p, plan).per_key : 1;
    return heads * plan.patterns.size() * rows * p.axis[2].kernel * plan.width * sizeof(E);
  }
};

// One thread's vectors, of the heads that it is at.
template <class E>
class LaneBias {
 public:
  LaneBias(const Problem& p, const RowPlan& plan, const BiasTable<E>& table)
      : plan_(plan),
        table_(table),
        // What is missing does not depend on the slow axes: without a bias one row serves all.
        rows_(table.has_bias ? table.rows : 1),
        pattern_size_(rows_ * table.kernel * table.width),
        members_(table.has_bias     ? table.heads.per_key
                 : p.axis[2].causal ? 1
                                    : 0) {}

  void turn_to(int64_t row_group) {
    const int64_t group = table_.has_bias ? table_.heads.group(row_group, 0) : 0;
    if (group == group_ || members_ == 0) return;
    if (group_ < 0) lanes_.reset(members_ * table_.patterns * pattern_size_);
    group_ = group;
    for (int64_t member = 0; member < members_; ++member) {
      for (int64_t pattern = 0; pattern < table_.patterns; ++pattern) {
        const Tile& tile = plan_.tiles[plan_.patterns[pattern]];
        if (!tile.uniform) fill(tile, group + member, lanes_.data() + at(pattern, member));
      }
    }
  }

  // Where the scores of one tile start in bias row 0: a vector for each window offset, or for a uniform tile one
  // number; null: at zero. From one bias row to the next: row_stride(tile).
  const E* of(const Tile& tile, int64_t member) const {
    if (tile.uniform) {
      if (!table_.has_bias) return nullptr;
      const Position& lead = plan_.positions[tile.first];
      return table_.scaled.data() + table_.heads.head(group_ + member, lead.line) * table_.entries + lead.bias;
    }
    return members_ == 0 ? nullptr : lanes_.data() + at(tile.pattern, table_.has_bias ? member : 0);
  }
  int64_t row_stride(const Tile& tile) const {
    return tile.uniform ? table_.row_entries : table_.has_bias ? table_.kernel * table_.width : 0;
  }

 private:
  int64_t at(int64_t pattern, int64_t member) const { return (member * table_.patterns + pattern) * pattern_size_; }

  // One tile's vectors for one group of heads, bias row by bias row. They are made at every call: no divisions here.
  void fill(const Tile& tile, int64_t group, E* to) const {
    const int64_t width = table_.width, kernel = table_.kernel;
    std::vector<const E*> from(tile.lanes, nullptr);  // of each lane: its bias of offset 0 in row 0
    std::vector<int64_t> count(tile.lanes);
    int64_t least = kernel;
    for (int l = 0; l < tile.lanes; ++l) {
      const Position& position = plan_.positions[tile.first + l];
      count[l] = position.count;
      least = std::min(least, position.count);
      if (table_.has_bias) {
        from[l] = table_.scaled.data() + table_.heads.head(group, position.line) * table_.entries + position.bias;
      }
    }
    for (int64_t row = 0; row < rows_; ++row) {
      for (int64_t t = 0; t < kernel; ++t, to += width) {
        const int64_t entry = row * table_.row_entries + t;
        std::fill(to + tile.lanes, to + width, E(0));
        if (table_.has_bias && t < least) {
          for (int l = 0; l < tile.lanes; ++l) to[l] = from[l][entry];
          continue;
        }
        for (int l = 0; l < tile.lanes; ++l) {
          to[l] = t >= count[l] ? -std::numeric_limits<E>::infinity() : table_.has_bias ? from[l][entry] : E(0);
        }
      }
    }
  }

  const RowPlan& plan_;
  const BiasTable<E>& table_;
  const int64_t rows_, pattern_size_, members_;
  int64_t group_ = -1;  // of member 0
  Buffer<E> lanes_;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
