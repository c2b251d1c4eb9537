// Where slabs of one unit meet: key positions that more than one of them sees. Each slab leaves its share of their
// gradients, and a last pass adds the shares up in the slabs' order.
#pragma once

#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Gradients of the packed positions begin .. end - 1 of a key row, as one slab left them.
template <class E>
struct Seam {
  int64_t z, y, begin, end;
  std::vector<E> keys, values;
};

struct Range {
  int64_t begin, end;
};

// Which positions of a group's key rows the slab at hand sees alone.
class Ownership {
 public:
  void reset(const Problem& p, const RowPlan& plan, const Stop& stop, int64_t slabs) {
    plan_ = &plan;
    strips_ = stop.group.strips;
    first_block_ = stop.first_block, last_block_ = stop.last_block;
    shared_.clear();
    if (slabs > 1 && strips_ == 0) find_shared_rows(p, stop.group, slabs);
  }

  Range of(int64_t key_row) const {
    if (strips_ == 0) return {0, shared_.empty() || !shared_[key_row] ? plan_->length() : 0};
    Range own{0, plan_->length()};
    if (key_row * strips_ < first_block_) own.begin = plan_->strips[(first_block_ - 1) % strips_].last_key;
    if ((key_row + 1) * strips_ > last_block_) own.end = plan_->strips[last_block_ % strips_].first_key;
    return own;
  }

 private:
  void find_shared_rows(const Problem& p, const Group& group, int64_t slabs) {
    shared_.assign(group.size0 * group.size1, 0);
    std::vector<int64_t> seen(shared_.size(), -1);
    Block block;
    for (int64_t slab = 0; slab < slabs; ++slab) {
      for (int64_t b = group.blocks() * slab / slabs; b < group.blocks() * (slab + 1) / slabs; ++b) {
        plan_block(p, *plan_, group, b, block);
        for (const Step& step : block.steps) {
          const int64_t row = group.key_row(step.z, step.y);
          if (seen[row] >= 0 && seen[row] != slab) shared_[row] = 1;
          seen[row] = slab;
        }
      }
    }
  }

  const RowPlan* plan_ = nullptr;
  int64_t strips_ = 0, first_block_ = 0, last_block_ = 0;
  std::vector<char> shared_;  // key rows; empty: none is
};

// Finished gradients of positions begin .. end - 1 of a key row: write(keys, values, first, last) for those that the
// slab sees alone, seams for the rest. keys and values are those of `begin`, or of `first`.
template <class E, class Write>
void settle(const Range& own, int64_t z, int64_t y, const E* keys, int64_t channels, const E* values,
            int64_t value_channels, int64_t begin, int64_t end, std::vector<Seam<E>>& seams, const Write& write) {
  const int64_t first = std::clamp(own.begin, begin, end), last = std::clamp(own.end, first, end);
  const auto leave = [&](int64_t from, int64_t to) {
    if (from == to) return;
    const int64_t low = from - begin, high = to - begin;
    seams.push_back({z, y, from, to, std::vector<E>(keys + low * channels, keys + high * channels),
                     std::vector<E>(values + low * value_channels, values + high * value_channels)});
  };
  leave(begin, first);
  write(keys + (first - begin) * channels, values + (first - begin) * value_channels, first, last);
  leave(last, end);
}

// The stretches that ranges cover together.
inline std::vector<Range> joined(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.begin < b.begin; });
  std::vector<Range> runs;
  for (const Range& range : ranges) {
    if (!runs.empty() && range.begin <= runs.back().end) {
      runs.back().end = std::max(runs.back().end, range.end);
    } else {
      runs.push_back(range);
    }
  }
  return runs;
}

// Adds up what the slabs of one unit, from first_unit on, left of the rows at their seams, in the slabs' order. Calls
// write(stop, z, y, keys, values, begin, end) for every run of positions; keys and values are those of `begin`.
template <class E, class Write>
void join_seams(const Problem& p, const RowPlan& plan, const Units& units, int64_t first_unit,
                const std::vector<std::vector<Seam<E>>>& seams, int64_t channels, int64_t value_channels,
                const Write& write) {
  Stop stop;  // of the first slab that has a row: some have none
  if (!Walk(p, plan, units, first_unit, first_unit + units.slabs).next(stop)) return;
  std::vector<std::vector<const Seam<E>*>> of_row(stop.group.size0 * stop.group.size1);
  for (int64_t unit = first_unit; unit < first_unit + units.slabs; ++unit) {
    for (const Seam<E>& seam : seams[unit]) of_row[stop.group.key_row(seam.z, seam.y)].push_back(&seam);
  }
  std::vector<E> keys, values;
  const auto add = [](const std::vector<E>& from, E* to) {
    for (size_t i = 0; i < from.size(); ++i) to[i] += from[i];
  };
  for (const std::vector<const Seam<E>*>& row : of_row) {
    std::vector<Range> ranges;
    for (const Seam<E>* seam : row) ranges.push_back({seam->begin, seam->end});
    for (const Range& run : joined(ranges)) {
      keys.assign((run.end - run.begin) * channels, E(0));
      values.assign((run.end - run.begin) * value_channels, E(0));
      for (const Seam<E>* seam : row) {
        if (seam->begin < run.begin || seam->end > run.end) continue;
        add(seam->keys, keys.data() + (seam->begin - run.begin) * channels);
        add(seam->values, values.data() + (seam->begin - run.begin) * value_channels);
      }
      write(stop, row.front()->z, row.front()->y, keys.data(), values.data(), run.begin, run.end);
    }
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
