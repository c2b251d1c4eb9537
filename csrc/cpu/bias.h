// The bias as the lanes want it: for each pattern of tiles, row of the bias table and window offset one vector; in the
// units of the scores, -infinity where a lane has no key. Where the vectors of all patterns were too many, those of one
// tile are made as it comes, of the bias rows that its block reads.
#pragma once

#include "pack.h"
#include "table.h"
#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What all threads share.
template <class E>
struct BiasTable {
  std::vector<E> scaled;  // rpb * unit
  int64_t row_entries = 1, rows = 1, kernel = 1, width = 1, patterns = 0, entries = 1;
  bool has_bias = false;
  HeadGroups heads;
  bool by_tile;  // vectors of one tile at a time

  // gradient: there is one to gather, with or without a bias. `unit`: log2(e) where scores are exponents of 2.
  BiasTable(const Problem& p, const RowPlan& plan, const void* rpb_, bool gradient,
            E unit = static_cast<E>(1.4426950408889634))
      : row_entries(2 * p.axis[2].kernel - 1),
        rows((2 * p.axis[0].kernel - 1) * (2 * p.axis[1].kernel - 1)),
        kernel(p.axis[2].kernel),
        width(plan.width),
        patterns(static_cast<int64_t>(plan.patterns.size())),
        entries(p.bias_entries()),
        has_bias(rpb_ != nullptr),
        heads(p, plan),
        by_tile(bytes(has_bias || gradient) >= most_bias_bytes) {
    if (!has_bias) return;
    const E* const rpb = static_cast<const E*>(rpb_);
    scaled.resize(p.heads * entries);
    for (size_t i = 0; i < scaled.size(); ++i) scaled[i] = rpb[i] * unit;
  }

  // A thread's vectors are tables of `rows` rows, or of one where there is no bias: so many, and which is a tile's.
  int64_t tables(int64_t members) const { return by_tile ? 1 : members * patterns; }
  int64_t table_of(int64_t pattern, int64_t member) const { return by_tile ? 0 : member * patterns + pattern; }

 private:
  // The vectors of one group of heads.
  double bytes(bool with_rows) const {
    const double rows_ = with_rows ? static_cast<double>(rows * heads.per_key) : 1;
    return rows_ * static_cast<double>(patterns * kernel * width) * sizeof(E);
  }
};

// Which bias rows a thread's vectors are of at present: all of them, or those that the rows of a block read.
class BiasRows {
 public:
  void set_all(int64_t rows) {
    rows_.resize(rows);
    std::iota(rows_.begin(), rows_.end(), 0);
  }
  void set(const Block& block) {
    if (block.stacked) return set_all(1);
    rows_.clear();
    for (const Step& step : block.steps) {
      for (int i = step.low; i < step.high; ++i) rows_.push_back(step.bias_row - (i - step.low));
    }
    std::sort(rows_.begin(), rows_.end());
    rows_.erase(std::unique(rows_.begin(), rows_.end()), rows_.end());
  }
  auto begin() const { return rows_.begin(); }
  auto end() const { return rows_.end(); }

 private:
  std::vector<int64_t> rows_;
};

// One thread's vectors, of the heads that it is at.
template <class E>
class LaneBias {
 public:
  LaneBias(const Problem& p, const RowPlan& plan, const BiasTable<E>& table)
      : plan_(plan),
        table_(table),
        // What is missing does not depend on the slow axes: without a bias one row serves all.
        row_count_(table.has_bias ? table.rows : 1),
        table_size_(row_count_ * table.kernel * table.width),
        members_(table.has_bias     ? table.heads.per_key
                 : p.axis[2].causal ? 1
                                    : 0) {}

  // Before a block.
  void turn_to(const Stop& stop) {
    if (members_ == 0) return;
    if (group_ < 0) {
      lanes_.reset(table_.tables(members_) * table_size_);
      rows_.set_all(row_count_);
    }
    const int64_t group = table_.has_bias ? table_.heads.group(stop.row_group, 0) : 0;
    const bool same = std::exchange(group_, group) == group;
    if (table_.by_tile) {
      if (table_.has_bias) rows_.set(stop.block);
      return;
    }
    if (same) return;
    for (int64_t member = 0; member < members_; ++member) {
      for (const int tile : plan_.patterns) fill(plan_.tiles[tile], member);
    }
  }
  // Before a tile of it.
  void turn_to(const Tile& tile, int64_t member) {
    if (table_.by_tile && members_ > 0) fill(tile, member);
  }

  // Where the scores of one tile start in bias row 0: a vector for each window offset, or for a uniform tile one
  // number; null: at zero. From one bias row to the next: row_stride(tile).
  const E* of(const Tile& tile, int64_t member) const {
    if (tile.uniform) {
      if (!table_.has_bias) return nullptr;
      const Position& lead = plan_.positions[tile.first];
      return table_.scaled.data() + table_.heads.head(group_ + member, lead.line) * table_.entries + lead.bias;
    }
    return members_ == 0 ? nullptr : at(tile, table_.has_bias ? member : 0);
  }
  int64_t row_stride(const Tile& tile) const {
    return tile.uniform ? table_.row_entries : table_.has_bias ? table_.kernel * table_.width : 0;
  }

 private:
  E* at(const Tile& tile, int64_t member) const {
    return lanes_.data() + table_.table_of(tile.pattern, member) * table_size_;
  }

  // One tile's vectors, bias row by bias row. They are made at every call: no divisions here.
  void fill(const Tile& tile, int64_t member) const {
    if (tile.uniform) return;
    const int64_t width = table_.width, kernel = table_.kernel;
    std::vector<const E*> from(tile.lanes, nullptr);  // of each lane: its bias of offset 0 in row 0
    std::vector<int64_t> count(tile.lanes);
    int64_t least = kernel;
    for (int l = 0; l < tile.lanes; ++l) {
      const Position& position = plan_.positions[tile.first + l];
      count[l] = position.count;
      least = std::min(least, position.count);
      if (table_.has_bias) {
        const int64_t head = table_.heads.head(group_ + member, position.line);
        from[l] = table_.scaled.data() + head * table_.entries + position.bias;
      }
    }
    for (const int64_t row : rows_) {
      E* to = at(tile, member) + row * kernel * width;
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
  const int64_t row_count_, table_size_, members_;
  int64_t group_ = -1;  // of member 0
  BiasRows rows_;
  Buffer<E> lanes_;
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
