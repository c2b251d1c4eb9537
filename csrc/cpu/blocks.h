// What is computed at a time: a block of up to kRows rows of queries that share the keys they load.
//
// Where windows span a slow axis, the rows are neighbours on it, and the block goes through the whole packed row.
// Where they do not (sequences above all), neighbouring tiles of one query row take their place: what offset t is to
// one tile, offset t - kLanes is to the next, so they share loads as query rows do. A block then is a strip of the
// packed row, and its keys are packed as the walk reaches them.
#pragma once

#include "scores.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Window offsets of one step: sums are cut into chains of additions between steps (see sums.h).
constexpr int64_t kStepOffsets = 40;

// One key row of a block, or a part of its window offsets.
struct Step {
  int64_t z, y;       // the key row, in places of its groups
  int64_t first = 0;  // window offsets first .. first + count - 1, of row 0
  int64_t count = 0;
  int64_t bias_row = 0;  // of row `low`; each later row reads one bias row earlier
  int64_t slot = 0;      // of its first score within the chunk
  int low = 0, high = 0;
};

struct SlotRange {
  int64_t begin, end;
};

struct Chunk {
  int64_t first_step = 0, step_count = 0;
  std::vector<SlotRange> ranges[kRows];  // the slots that each row fills
};

struct Block {
  int64_t z = 0, y = 0;  // of the first row
  int rows = 0;
  bool stacked = false;                     // rows are tiles: row i is the i-th after the tile at hand
  int64_t first_tile = 0, last_tile = 0;    // tiles to go through, or the lead of the stack
  int64_t first_query = 0, last_query = 0;  // packed positions
  int64_t first_key = 0, last_key = 0;
  std::vector<Step> steps;
  std::vector<Chunk> chunks;

  // Of row i: query rows after (z, y), and lanes after the tile.
  int row_step(int i) const { return stacked ? 0 : i; }
  int64_t lane_step(int i, int width) const { return stacked ? i * width : 0; }

  // Calls of between() that a block's products make at least: of so many passes over its scores, and of sums that make
  // so many per tile and chunk (see scores.h, sums.h).
  template <class S>
  int64_t turns(int64_t passes, int64_t sums) const {
    int64_t scores = 0;
    for (const Step& step : steps) scores += offset_blocks<S>(step.high - step.low, step.count);
    return (last_tile - first_tile) * (passes * scores + static_cast<int64_t>(chunks.size()) * sums);
  }

  void clear() {
    steps.clear();
    chunks.clear();
  }
  // Cuts the steps into as few chunks as will do, of about as many scores each.
  void cut() {
    const auto scores_of = [](const Step& step) { return step.count * (step.high - step.low); };
    int64_t all = 0, before = 0, here = 0, slot = 0;  // scores; here: of the chunk
    for (const Step& step : steps) all += scores_of(step);
    const int64_t wanted = (all + kChunkScores - 1) / kChunkScores;
    for (size_t s = 0; s < steps.size(); ++s) {
      Step& step = steps[s];
      const int64_t scores = scores_of(step);
      const bool full = here + scores > kChunkScores || slot + step.count > kChunkSlots;
      if (s == 0 || full || (2 * before + scores) * wanted > 2 * all * static_cast<int64_t>(chunks.size())) {
        chunks.emplace_back();
        chunks.back().first_step = static_cast<int64_t>(s);
        here = slot = 0;
      }
      step.slot = slot;
      before += scores, here += scores, slot += step.count;
      Chunk& chunk = chunks.back();
      ++chunk.step_count;
      for (int i = step.low; i < step.high; ++i) {
        std::vector<SlotRange>& ranges = chunk.ranges[i];
        if (!ranges.empty() && ranges.back().end == step.slot) {
          ranges.back().end += step.count;
        } else {
          ranges.push_back({step.slot, step.slot + step.count});
        }
      }
    }
  }
};

// One dilation group of each slow axis, and how it is cut into blocks.
struct Group {
  int64_t residue0 = 0, residue1 = 0, size0 = 0, size1 = 0;
  int64_t strips = 0;  // of a query row; 0: blocks are query rows

  int64_t blocks_per_plane() const { return strips > 0 ? size1 * strips : (size1 + kRows - 1) / kRows; }
  int64_t blocks() const { return size0 * blocks_per_plane(); }
  int64_t block_row(int64_t b) const { return strips > 0 ? b / strips : size1 * b / blocks_per_plane(); }
  int64_t key_row(int64_t z, int64_t y) const { return z * size1 + y; }
};

// Whether blocks are strips: no window spans a slow axis.
inline bool by_strips(const Problem& p) { return p.axis[0].kernel == 1 && p.axis[1].kernel == 1; }

inline Group group_at(const Problem& p, const RowPlan& plan, int64_t residue0, int64_t residue1) {
  return {residue0, residue1, group_size(p.axis[0], residue0), group_size(p.axis[1], residue1),
          by_strips(p) ? static_cast<int64_t>(plan.strips.size()) : 0};
}

// Positions of a key row that are at hand at a time: all of them, or of a strip's what a few strips need, so that they
// stay in the second-level cache however long the row is.
inline int64_t room_of(const Problem& p, const RowPlan& plan) {
  const int64_t width = plan.width, whole = round_up(plan.length(), width);
  if (!by_strips(p)) return whole;
  int64_t most = 0;
  for (const Strip& strip : plan.strips) {
    most = std::max(most, round_up(strip.last_key, width) - round_down(strip.first_key, width));
  }
  return std::min(whole, 2 * most + 16 * width);
}

// So many steps `count` window offsets of a key row take.
inline int64_t pieces_of(int64_t count) { return (count + kStepOffsets - 1) / kStepOffsets; }

// Query rows y .. y + rows - 1 of plane z.
inline void plan_rows(const Problem& p, const RowPlan& plan, const Group& group, int64_t index, Block& block) {
  const int64_t b = index % group.blocks_per_plane();
  block.z = index / group.blocks_per_plane();
  block.y = group.block_row(b);
  block.rows = static_cast<int>(group.block_row(b + 1) - block.y);
  block.stacked = false;
  block.first_tile = block.first_query = block.first_key = 0;
  block.last_tile = static_cast<int64_t>(plan.tiles.size());
  block.last_query = block.last_key = plan.length();
  block.clear();
  const Window planes = group_window(p.axis[0], group.size0, block.z);
  RowWindow rows[kRows];
  int64_t last = 0;
  for (int i = 0; i < block.rows; ++i) {
    rows[i] = row_window(p.axis[1], group.size1, block.y + i);
    last = std::max(last, rows[i].first + rows[i].count);
  }
  const int64_t kernel2 = p.axis[2].kernel, pieces = pieces_of(kernel2);
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
        block.steps.push_back(step);
      }
    }
  }
  block.cut();
}

// A strip of one query row. Of a stack, row i has offset t where row 0 would have t + i * width: the steps are the
// runs of offsets that the same rows see.
inline void plan_strip(const Problem& p, const RowPlan& plan, const Group& group, int64_t index, Block& block) {
  const Strip& strip = plan.strips[index % group.strips];
  const int64_t row = index / group.strips, kernel = p.axis[2].kernel, width = plan.width;
  block.z = row / group.size1;
  block.y = row % group.size1;
  block.rows = strip.stacked ? static_cast<int>(strip.tiles) : 1;
  block.stacked = strip.stacked;
  block.first_tile = strip.first_tile;
  block.last_tile = strip.first_tile + (strip.stacked ? 1 : strip.tiles);
  block.first_query = strip.first_query, block.last_query = strip.last_query;
  block.first_key = strip.first_key, block.last_key = strip.last_key;
  block.clear();
  const int64_t end = kernel + (block.rows - 1) * width;
  for (int64_t from = 0, to; from < end; from = to) {
    Step step;
    step.z = block.z;
    step.y = block.y;
    step.low = from < kernel ? 0 : static_cast<int>((from - kernel) / width + 1);
    step.high = static_cast<int>(std::min<int64_t>(block.rows, from / width + 1));
    step.bias_row = -step.low;
    // Until a row comes in or goes out.
    to = kernel + step.low * width;
    if (step.high < block.rows) to = std::min(to, step.high * width);
    const int64_t pieces = pieces_of(to - from);
    for (int64_t piece = 0; piece < pieces; ++piece) {
      step.first = from + (to - from) * piece / pieces;
      step.count = from + (to - from) * (piece + 1) / pieces - step.first;
      block.steps.push_back(step);
    }
  }
  block.cut();
}

inline void plan_block(const Problem& p, const RowPlan& plan, const Group& group, int64_t index, Block& block) {
  if (group.strips > 0) {
    plan_strip(p, plan, group, index, block);
  } else {
    plan_rows(p, plan, group, index, block);
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
