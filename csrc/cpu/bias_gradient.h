// The gradient of the bias: each thread adds up slopes lane by lane, folds them into the entries of its heads when it
// leaves them, and at the end of a call what the threads folded is added in the order of the units.
#pragma once

#include "bias.h"
#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class S, class E>
class BiasSums {
  static constexpr int W = S::kLanes;

 public:
  BiasSums(const RowPlan& plan, const BiasTable<E>& bias)
      : plan_(plan), bias_(bias), table_size_(bias.rows * bias.kernel * W) {}

  void reset() {
    const int64_t size = bias_.tables(bias_.heads.per_key) * table_size_;
    lanes_.reset(size);
    std::fill(lanes_.data(), lanes_.data() + size, E(0));
    folded_.assign(bias_.heads.per_key * plan_.lines * bias_.entries, E(0));
    rows_.set_all(bias_.rows);
  }

  // Before a block.
  void turn_to(const Stop& stop) {
    if (bias_.by_tile) rows_.set(stop.block);
  }

  // The slopes of a tile's chunk, rows kScoresRow apart, of [slot][lanes].
  void add(const Block& block, const Chunk& chunk, const Tile& tile, int64_t member, const E* slopes) {
    const int64_t row_size = (block.stacked ? W : bias_.kernel) * W;
    E* const table = table_of(tile, member);
    for (int64_t s = chunk.first_step; s < chunk.first_step + chunk.step_count; ++s) {
      const Step& step = block.steps[s];
      for (int i = step.low; i < step.high; ++i) {
        E* const to = table + (step.bias_row - (i - step.low)) * row_size + step.first * W;
        const E* const from = slopes + i * kScoresRow<S> + step.slot * W;
        for (int64_t t = 0; t < step.count; ++t) {
          S::store(to + t * W, S::add(S::load(to + t * W), S::load(from + t * W)));
        }
      }
    }
  }
  // After a tile's chunks.
  void finish_tile(const Tile& tile, int64_t member) {
    if (bias_.by_tile) fold(tile, member);
  }

  // At a unit's end. The next unit goes on adding where it is of the same heads, unless sums are by unit.
  void finish_unit(const Stop& stop, const Stop* next, bool by_unit, std::vector<E>& sums) {
    const HeadGroups& heads = bias_.heads;
    const bool goes_on =
        next != nullptr && !by_unit && heads.group(stop.row_group, 0) == heads.group(next->row_group, 0);
    if (!goes_on) hand_over(sums);
  }

 private:
  E* table_of(const Tile& tile, int64_t member) const {
    return lanes_.data() + bias_.table_of(tile.pattern, member) * table_size_;
  }

  // Hands over the sums by [member][line][entry] and starts again.
  void hand_over(std::vector<E>& sums) {
    for (int64_t member = 0; member < bias_.heads.per_key && !bias_.by_tile; ++member) {
      for (const int tile : plan_.patterns) fold(plan_.tiles[tile], member);
    }
    sums = folded_;
    std::fill(folded_.begin(), folded_.end(), E(0));
  }

  // Adds the sums of a tile's lanes to their entries and clears them.
  void fold(const Tile& tile, int64_t member) {
    for (const int64_t row : rows_) {
      E* at = table_of(tile, member) + row * bias_.kernel * W;
      for (int64_t t = 0; t < bias_.kernel; ++t, at += W) {
        for (int l = 0; l < tile.lanes; ++l) {
          const Position& position = plan_.positions[tile.first + l];
          if (t >= position.count) continue;
          folded_[(member * plan_.lines + position.line) * bias_.entries + row * bias_.row_entries + position.bias +
                  t] += at[l];
        }
        S::store(at, S::zero());
      }
    }
  }

  const RowPlan& plan_;
  const BiasTable<E>& bias_;
  const int64_t table_size_;
  BiasRows rows_;
  Buffer<E> lanes_;
  std::vector<E> folded_;
};

// by_unit: what BiasSums handed over at the end of a unit, or nothing.
template <class E>
void sum_up(const Problem& p, const RowPlan& plan, const BiasTable<E>& bias, const Units& units,
            const std::vector<std::vector<E>>& by_unit, E* drpb) {
  std::fill(drpb, drpb + p.heads * bias.entries, E(0));
  const Walk walk(p, plan, units, 0, 0);
  for (int64_t unit = 0; unit < units.count(); ++unit) {
    const std::vector<E>& sums = by_unit[unit];
    if (sums.empty()) continue;
    const int64_t row_group = walk.row_group_of(unit);
    for (int64_t member = 0; member < bias.heads.per_key; ++member) {
      for (int64_t line = 0; line < plan.lines; ++line) {
        const E* const from = sums.data() + (member * plan.lines + line) * bias.entries;
        E* const to = drpb + bias.heads.head(bias.heads.group(row_group, member), line) * bias.entries;
        for (int64_t i = 0; i < bias.entries; ++i) to[i] += from[i];
      }
    }
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
