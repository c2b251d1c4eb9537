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
      : plan_(plan), bias_(bias), member_size_(bias.patterns * bias.rows * bias.kernel * W) {}

  void reset() {
    lanes_.reset(bias_.heads.per_key * member_size_);
    clear();
  }

  // The slopes of a tile's chunk, rows kScoresRow apart, of [slot][lanes].
  void add(const Block& block, const Chunk& chunk, const Tile& tile, int64_t member, const E* slopes) {
    const int64_t row_size = (block.stacked ? W : bias_.kernel) * W;
    E* const table = lanes_.data() + member * member_size_ + tile.pattern * bias_.rows * bias_.kernel * W;
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

  // At a unit's end. The next unit goes on adding where it is of the same heads, unless sums are by unit.
  void finish_unit(const Stop& stop, const Stop* next, bool by_unit, std::vector<E>& sums) {
    const HeadGroups& heads = bias_.heads;
    const bool goes_on =
        next != nullptr && !by_unit && heads.group(stop.row_group, 0) == heads.group(next->row_group, 0);
    if (!goes_on) hand_over(sums);
  }

 private:
  // Folds the lanes' sums into [member][line][entry] and starts again.
  void hand_over(std::vector<E>& sums) {
    sums.assign(bias_.heads.per_key * plan_.lines * bias_.entries, E(0));
    const E* at = lanes_.data();
    for (int64_t member = 0; member < bias_.heads.per_key; ++member) {
      for (int64_t pattern = 0; pattern < bias_.patterns; ++pattern) {
        const Tile& tile = plan_.tiles[plan_.patterns[pattern]];
        for (int64_t row = 0; row < bias_.rows; ++row) {
          for (int64_t t = 0; t < bias_.kernel; ++t, at += W) {
            for (int l = 0; l < tile.lanes; ++l) {
              const Position& position = plan_.positions[tile.first + l];
              if (t >= position.count) continue;
              sums[(member * plan_.lines + position.line) * bias_.entries + row * bias_.row_entries + position.bias +
                   t] += at[l];
            }
          }
        }
      }
    }
    clear();
  }

  void clear() { std::fill(lanes_.data(), lanes_.data() + bias_.heads.per_key * member_size_, E(0)); }

  const RowPlan& plan_;
  const BiasTable<E>& bias_;
  const int64_t member_size_;
  Buffer<E> lanes_;
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
