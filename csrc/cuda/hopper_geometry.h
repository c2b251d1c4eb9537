// Where the wgmma kernel works: a tile of 128 queries in two halves, one for
// each consuming warpgroup, and the box of keys it sees in chunks that are
// boxes themselves, so that one copy of the tensor engine brings a chunk.
// Host and device; test/hopper_test.cpp runs it against the definition.
#pragma once

#include <algorithm>

#include "tile_geometry.h"

namespace natten::cuda::hopper {

constexpr int kRows = 128;     // queries of a tile
constexpr int kHalves = 2;     // of a tile, 64 rows each: what one wgmma takes
constexpr int kColumns = 176;  // keys of a chunk at most
constexpr int kGroups = kColumns / 8;
constexpr int kLogRows = 7;
constexpr int kBoxSide = 256;      // of a tensor copy, in tokens passed over
constexpr int kSpanLimit = 32767;  // keys of a tile on one axis: RowWindow has 16 bits

// The shape of all tiles and chunks of a call.
struct Plan {
  Tiling tiling;     // 2^log rows per axis, kRows together
  int chunk[kAxes];  // keys per axis; the last a multiple of 8, the product at most kColumns
};

// The axis on which a tile is cut into halves: the slowest on which it has more than one row.
NATTEN_HD int split_axis(const Tiling& tiling) { return tiling.log[0] > 0 ? 0 : tiling.log[1] > 0 ? 1 : 2; }

// How many chunks there are on each axis of a tile's box.
struct ChunkGrid {
  int count[kAxes];
  NATTEN_HD int total() const { return count[0] * count[1] * count[2]; }
  // Where chunk `number` starts, in places from the start of the box.
  NATTEN_HD void origin(const Plan& plan, int number, int* at) const {
    const int rest = count[2] > 1 ? number / count[2] : number;
    const int first = count[1] > 1 ? rest / count[1] : rest;
    at[2] = (number - rest * count[2]) * plan.chunk[2];
    at[1] = (rest - first * count[1]) * plan.chunk[1];
    at[0] = first * plan.chunk[0];
  }
};

NATTEN_HD ChunkGrid grid_of(const Plan& plan, const Box& keys) {
  ChunkGrid grid;
  for (int a = 0; a < kAxes; a++) grid.count[a] = (keys.size[a] + plan.chunk[a] - 1) / plan.chunk[a];
  return grid;
}

// The chunks begin..end-1 are all that a half of a tile needs, and few besides.
NATTEN_HD Reach chunks_of_half(const Plan& plan, const Tile& tile, const Box& keys, const ChunkGrid& grid, int half) {
  const int split = split_axis(plan.tiling), rows = (1 << plan.tiling.log[split]) / kHalves;
  Reach reach{0, 0};
  if (half * rows >= tile.rows[split]) return reach;
  for (int a = 0; a < kAxes; a++) {
    int low = tile.origin[a], high = low + tile.rows[a] - 1;
    if (a == split) {
      low += half * rows;
      if (high > low + rows - 1) high = low + rows - 1;
    }
    const int first = window_span(tile.axis[a], low).first - keys.first[a];
    const int last = window_span(tile.axis[a], high).last - keys.first[a];
    reach.begin = reach.begin * grid.count[a] + first / plan.chunk[a];
    reach.end = reach.end * grid.count[a] + last / plan.chunk[a];
  }
  reach.end++;
  return reach;
}

// A query's window in places of the box, 16 bits for each end: first | last << 16. A row that does not exist has an
// empty one.
struct RowWindow {
  uint32_t ends[kAxes];
  NATTEN_HD int first(int a) const { return static_cast<int>(ends[a] & 0xffff); }
  NATTEN_HD int last(int a) const { return static_cast<int>(ends[a] >> 16); }
};

NATTEN_HD RowWindow row_window(const Plan& plan, const Tile& tile, const Box& keys, int row) {
  RowWindow window{{1, 1, 1}};
  int at[kAxes];
  if (!row_place(plan.tiling, tile, row, at)) return window;
  for (int a = 0; a < kAxes; a++) {
    const Span span = window_span(tile.axis[a], tile.origin[a] + at[a]);
    window.ends[a] =
        static_cast<uint32_t>(span.first - keys.first[a]) | (static_cast<uint32_t>(span.last - keys.first[a]) << 16);
  }
  return window;
}

// A thread of a warp has two neighbouring columns of each eight: 8 g + 2 quarter and the next, bits 2 g and 2 g + 1.
// How many of its columns in a line lie before place x.
NATTEN_HD int columns_before(int x, int quarter) {
  const int past = x - 2 * quarter;
  if (past <= 0) return 0;
  const int rest = past & 7;
  return 2 * (past >> 3) + (rest < 2 ? rest : 2);
}

constexpr uint64_t kAllColumns = (uint64_t{1} << (2 * kGroups)) - 1;

// Which of a thread's columns of a chunk its row sees; `origin` counts from the start of the box. A line of the chunk,
// its keys along the last axis, takes 2 bits of each eight keys.
NATTEN_HD uint64_t visible_columns(const Plan& plan, const RowWindow& window, const int* origin, int quarter) {
  const int width = plan.chunk[2] / 4;
  int low = columns_before(window.first(2) - origin[2], quarter);
  int high = columns_before(window.last(2) + 1 - origin[2], quarter);
  if (high > width) high = width;
  if (low >= high) return 0;
  const uint64_t line = (uint64_t{1} << high) - (uint64_t{1} << low);
  uint64_t bits = 0;
  int shift = 0;
  for (int i0 = 0; i0 < plan.chunk[0]; i0++) {
    const int place0 = origin[0] + i0;
    const bool plane = place0 >= window.first(0) && place0 <= window.last(0);
    for (int i1 = 0; i1 < plan.chunk[1]; i1++) {
      const int place1 = origin[1] + i1;
      if (plane && place1 >= window.first(1) && place1 <= window.last(1)) bits |= line << shift;
      shift += width;
    }
  }
  return bits;
}

// Which lines of a chunk a row sees, all of each: visible_columns, were the row to see the whole of the last axis.
NATTEN_HD uint64_t visible_lines(const Plan& plan, const RowWindow& window, const int* origin) {
  const int width = plan.chunk[2] / 4;
  int low = window.first(1) - origin[1], high = window.last(1) - origin[1];
  if (low < 0) low = 0;
  if (high > plan.chunk[1] - 1) high = plan.chunk[1] - 1;
  if (low > high) return 0;
  const uint64_t plane = (uint64_t{1} << (width * (high + 1))) - (uint64_t{1} << (width * low));
  uint64_t bits = 0;
  for (int i0 = 0; i0 < plan.chunk[0]; i0++) {
    const int place0 = origin[0] + i0;
    if (place0 >= window.first(0) && place0 <= window.last(0)) bits |= plane << (width * plan.chunk[1] * i0);
  }
  return bits;
}

// A row whose window is all there is on the first two axes.
NATTEN_HD RowWindow along_last_axis(const RowWindow& window) {
  return RowWindow{{0xffff0000u, 0xffff0000u, window.ends[2]}};
}

// Keys of a chunk that a copy brings.
NATTEN_HD int chunk_size(const Plan& plan) { return plan.chunk[0] * plan.chunk[1] * plan.chunk[2]; }

// The widest box any tile of `rows` queries meets on an axis.
inline int64_t span_of(const Axis& axis, int64_t rows) { return typical_span(axis, rows); }

// The cheapest shapes: fewest products of rows and columns. `products`: how many there are, about; negative where no
// box of the copy engine holds a chunk.
inline Plan plan_of(const Problem& p, double* products) {
  Plan best{};
  double cheapest = -1;
  for (int l0 = 0; l0 <= (p.rank == 3 ? kLogRows : 0); l0++) {
    for (int l1 = 0; l1 <= (p.rank >= 2 ? kLogRows - l0 : 0); l1++) {
      Plan plan{};
      const int logs[kAxes] = {l0, l1, kLogRows - l0 - l1};
      double tiles = static_cast<double>(p.batch);
      int64_t span[kAxes], half_span[kAxes];
      plan.tiling.dilations = 1;
      for (int a = 0; a < kAxes; a++) plan.tiling.log[a] = logs[a];
      const int split = split_axis(plan.tiling);
      for (int a = 0; a < kAxes; a++) {
        const Axis& axis = p.axis[a];
        const int64_t rows = int64_t{1} << logs[a], group = group_size(axis, 0);
        plan.tiling.tiles[a] = static_cast<int>((group + rows - 1) / rows);
        plan.tiling.dilations *= static_cast<int>(axis.dilation);
        tiles *= static_cast<double>(plan.tiling.tiles[a] * axis.dilation);
        span[a] = span_of(axis, rows < group ? rows : group);
        half_span[a] = a == split ? span_of(axis, rows / 2 < group ? rows / 2 : group) : span[a];
      }
      for (int64_t pieces = (span[2] + kColumns - 1) / kColumns; pieces < 4 + span[2] / kColumns; pieces++) {
        const auto shared_out = [](int64_t length, int64_t most) {  // the least that needs no more pieces than `most`
          const int64_t pieces_of = (length + most - 1) / most;
          return (length + pieces_of - 1) / pieces_of;
        };
        int64_t chunk[kAxes];
        chunk[2] = ((span[2] + pieces - 1) / pieces + 7) / 8 * 8;
        if (chunk[2] > kColumns) continue;
        chunk[1] = shared_out(span[1], kColumns / chunk[2]);
        chunk[0] = shared_out(span[0], kColumns / (chunk[2] * chunk[1]));
        double cost = tiles * kRows;
        bool fits = true;
        for (int a = 0; a < kAxes; a++) {
          cost *= static_cast<double>((half_span[a] + chunk[a] - 1) / chunk[a]);
          const int64_t side = std::max(chunk[a], int64_t{1} << logs[a]);
          fits = fits && (side - 1) * p.axis[a].dilation + 1 <= kBoxSide;
          plan.chunk[a] = static_cast<int>(chunk[a]);
        }
        if (fits && (cheapest < 0 || cost < cheapest)) {
          cheapest = cost;
          best = plan;
        }
      }
    }
  }
  best.tiling.items =
      p.batch * best.tiling.dilations * best.tiling.tiles[0] * best.tiling.tiles[1] * best.tiling.tiles[2];
  if (products != nullptr) *products = cheapest * kColumns;
  return best;
}

}  // namespace natten::cuda::hopper
