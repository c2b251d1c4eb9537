// Between tiles, whose lanes are queries, and tensors that have the slots of a query side by side.
#pragma once

#include "layout.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// A run of slots that lie side by side in the tensor and in a chunk's scores.
struct SlotRun {
  int64_t slot, at, count;
};

// Where the slots of a block's chunks and rows lie in the tensor's last dimension.
class SlotMap {
 public:
  // width: lanes.
  void reset(const Problem& p, const Stop& stop, int width) {
    const Block& block = stop.block;
    const Window planes = group_window(p.axis[0], stop.group.size0, block.z);
    const int64_t kernel1 = p.axis[1].kernel, kernel2 = p.axis[2].kernel;
    runs_.resize(block.chunks.size() * kRows);
    for (std::vector<SlotRun>& runs : runs_) runs.clear();
    for (int i = 0; i < block.rows; ++i) {
      const RowWindow window = row_window(p.axis[1], stop.group.size1, block.y + block.row_step(i));
      holes_[i] = planes.count * window.count < p.axis[0].kernel * kernel1;
      for (size_t c = 0; c < block.chunks.size(); ++c) {
        const Chunk& chunk = block.chunks[c];
        std::vector<SlotRun>& runs = runs_[c * kRows + i];
        for (int64_t s = chunk.first_step; s < chunk.first_step + chunk.step_count; ++s) {
          const Step& step = block.steps[s];
          if (i < step.low || i >= step.high) continue;
          const int64_t row = (step.z - planes.first) * kernel1 + step.y - window.first;
          const int64_t slot = row * kernel2 + step.first - block.lane_step(i, width);
          if (!runs.empty() && runs.back().slot + runs.back().count == slot &&
              runs.back().at + runs.back().count == step.slot) {
            runs.back().count += step.count;
          } else {
            runs.push_back({slot, step.slot, step.count});
          }
        }
      }
    }
  }

  const std::vector<SlotRun>& runs(size_t chunk, int row) const { return runs_[chunk * kRows + row]; }
  // Causal slow axes: the row lacks whole key rows.
  bool has_holes(int row) const { return holes_[row]; }

 private:
  std::vector<std::vector<SlotRun>> runs_;
  bool holes_[kRows] = {};
};

// `n` slots of one query row of a tile, [slot][lane], to where its queries have them: row + offset[lane].
template <class S, class T, class E>
__attribute__((noinline)) void store_slots(const E* from, int64_t n, T* row, const int64_t* offset, int lanes) {
  constexpr int W = S::kLanes;
  constexpr int64_t kFew = W / 8;  // fewer are not worth a transposition
  int64_t s = 0;
  for (; s + kFew < n; s += W) {
    const int width = static_cast<int>(std::min<int64_t>(W, n - s));
    typename S::Vector tile[W];
    if (width == W) {
      for (int j = 0; j < W; ++j) tile[j] = S::load(from + (s + j) * W);
    } else {
      for (int j = 0; j < W; ++j) tile[j] = j < width ? S::load(from + (s + j) * W) : S::zero();
    }
    S::transpose(tile);
    if (width == W && lanes == W) {
      for (int l = 0; l < W; ++l) S::store_as(row + offset[l] + s, tile[l], W);
    } else {
      for (int l = 0; l < lanes; ++l) S::store_as(row + offset[l] + s, tile[l], width);
    }
  }
  for (; s < n; ++s) {
    for (int l = 0; l < lanes; ++l) row[offset[l] + s] = static_cast<T>(from[s * W + l]);
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
