// How the fast axis is laid out on vector lanes, worked out once per call.
//
// A packed row is a run of independent lines: the dilation groups of the fast
// axis (tokens de-interleaved, so that a window is a run of neighbours), of one
// or several (batch, head) pairs when a single one fills the lanes badly. It is
// cut into tiles of kLanes queries. Lane l of a tile sees the packed keys
// start[l] .. start[l] + kernel - 1: inside a line one shifted load per window
// offset, at edges and seams a pick out of two vectors. Nothing is masked but
// what a causal window lacks; that rides on the bias table as -infinity.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "../problem.h"

namespace natten::cpu {
namespace NATTEN_ISA {

constexpr int kRows = 4;              // rows of queries computed together
constexpr int64_t kTilesAtATime = 8;  // of a strip whose tiles share nothing

struct Position {
  int64_t line;   // which (batch, head) of the row's
  int64_t token;  // on the fast axis
  int64_t start;  // packed position of its window's first key
  int64_t count;  // keys of its window
  int64_t bias;   // rpb entry of its first key
};

// How a tile's keys reach its lanes.
enum class Keys {
  kShifted,  // start[l] = base + l for all lanes: plain loads
  kSame,     // start[l] = base: one number for all lanes
  kPicked,
};

// How far and how an instruction set picks.
struct Picks {
  int reach;      // a window's start is less than so many positions from its tile's least
  bool by_group;  // windows that are their whole group have tiles of their own, if these have few empty lanes
};

template <class S>
constexpr Picks picks_of() {
  if constexpr (S::kNearPicks) {
    return {S::kLanes, true};
  } else {
    return {2 * S::kLanes - S::kPickedOffsets + 1, false};
  }
}

struct Tile {
  int64_t first = 0;  // packed position of lane 0
  int lanes = 0;
  Keys keys = Keys::kPicked;
  int64_t base = 0;            // the least start
  int span = 0;                // the greatest index
  bool uniform = false;        // one head and one bias entry for all lanes, nothing missing: no table needed
  int pattern = -1;            // tiles of one pattern read the same bias entries
  std::vector<int32_t> index;  // start[l] - base

  // Of each lane, where its window starts in a row that begins at position `origin`; of an empty one, where some does.
  template <int W>
  void starts(int64_t origin, int64_t (&start)[W]) const {
    for (int l = 0; l < W; ++l) start[l] = base - origin + (l < lanes ? index[l] : 0);
  }
};

// A run of tiles, and the packed positions of its queries and their keys. Stacked: up to kRows tiles of which each
// has the keys of the one before, a tile's width further on.
struct Strip {
  int64_t first_tile = 0, tiles = 0;
  bool stacked = false;
  int64_t first_query = 0, last_query = 0;
  int64_t first_key = 0, last_key = 0;
};

// The packed row of `lines` (batch, head) pairs, in tiles of `width` lanes.
struct RowPlan {
  int64_t lines = 1;
  int width = 1;  // lanes
  std::vector<Position> positions;
  std::vector<Tile> tiles;
  std::vector<Strip> strips;
  std::vector<int> patterns;      // of each pattern, the first tile that has it
  std::vector<int64_t> by_token;  // the packed positions in the order of tokens, of one token by line

  RowPlan() = default;
  RowPlan(const Axis& axis, int64_t lines_, int width_, Picks picks) : lines(lines_), width(width_) {
    std::vector<int64_t> origins;  // of the dilation groups of one line
    positions.reserve(lines * axis.length);
    by_token.reserve(lines * axis.length);
    for (int64_t line = 0; line < lines; ++line) {
      for (int64_t residue = 0; residue < axis.dilation; ++residue) {
        const int64_t group = group_size(axis, residue), origin = positions.size();
        if (line == 0) origins.push_back(origin);
        for (int64_t place = 0; place < group; ++place) {
          const Window window = group_window(axis, group, place);
          positions.push_back(
              {line, residue + place * axis.dilation, origin + window.first, window.count, window.bias});
        }
      }
    }
    for (int64_t token = 0; token < axis.length; ++token) {
      const int64_t in_line = origins[token % axis.dilation] + token / axis.dilation;
      for (int64_t line = 0; line < lines; ++line) by_token.push_back(line * axis.length + in_line);
    }
    for (int64_t first = 0; first < length();) {
      tiles.push_back(cut(first, picks));
      first += tiles.back().lanes;
    }
    for (size_t i = 0; i < tiles.size(); ++i) {
      Tile& tile = tiles[i];
      const Position& lead = positions[tile.first];
      tile.uniform = true;
      for (int l = 0; l < tile.lanes; ++l) {
        const Position& position = positions[tile.first + l];
        tile.uniform &= position.line == lead.line && position.bias == lead.bias && position.count == axis.kernel;
      }
      for (size_t j = 0; j < patterns.size() && tile.pattern < 0; ++j) {
        if (alike(tile, tiles[patterns[j]])) tile.pattern = static_cast<int>(j);
      }
      if (tile.pattern < 0) {
        tile.pattern = static_cast<int>(patterns.size());
        patterns.push_back(static_cast<int>(i));
      }
    }
    for (size_t first = 0; first < tiles.size(); first += strips.back().tiles) {
      strips.push_back(strip_at(static_cast<int64_t>(first), axis.kernel));
    }
  }

  int64_t length() const { return static_cast<int64_t>(positions.size()); }

 private:
  // The longest tile from `first` that `picks` allow.
  Tile cut(int64_t first, Picks picks) const {
    Tile tile;
    tile.first = first;
    int64_t least = positions[first].start, greatest = least;
    while (tile.lanes < width && first + tile.lanes < length()) {
      const int64_t start = positions[first + tile.lanes].start;
      if (picks.by_group && least == greatest && start > least + 1 && 4 * tile.lanes >= 3 * width) break;
      const int64_t low = std::min(least, start), high = std::max(greatest, start);
      if (high - low >= picks.reach) break;
      least = low, greatest = high;
      ++tile.lanes;
    }
    tile.base = least;
    tile.span = static_cast<int>(greatest - least);
    tile.index.assign(width, 0);
    bool shifted = true;
    for (int l = 0; l < tile.lanes; ++l) {
      tile.index[l] = static_cast<int32_t>(positions[first + l].start - least);
      shifted &= tile.index[l] == l;
    }
    tile.keys = shifted ? Keys::kShifted : tile.span == 0 && picks.by_group ? Keys::kSame : Keys::kPicked;
    return tile;
  }

  // Windows no longer than a tile have nothing to share with the next tile.
  Strip strip_at(int64_t first, int64_t kernel) const {
    const int64_t left = static_cast<int64_t>(tiles.size()) - first;
    Strip strip;
    strip.first_tile = first;
    strip.tiles = kernel > width ? 1 : std::min(left, kTilesAtATime);
    if (kernel > width && stackable(tiles[first])) {
      const Tile& lead = tiles[first];
      while (strip.tiles < std::min<int64_t>(left, kRows)) {
        const Tile& next = tiles[first + strip.tiles];
        if (!stackable(next) || next.pattern != lead.pattern || next.base != lead.base + strip.tiles * width) break;
        ++strip.tiles;
      }
    }
    strip.stacked = kernel > width && strip.tiles > 1;
    const Tile& last = tiles[first + strip.tiles - 1];
    strip.first_query = tiles[first].first;
    strip.last_query = last.first + last.lanes;
    strip.first_key = tiles[first].base;
    strip.last_key = std::min(last.base + last.span + kernel, length());
    return strip;
  }
  bool stackable(const Tile& tile) const { return tile.keys == Keys::kShifted && tile.uniform && tile.lanes == width; }

  bool alike(const Tile& a, const Tile& b) const {
    if (a.lanes != b.lanes) return false;
    for (int l = 0; l < a.lanes; ++l) {
      const Position &x = positions[a.first + l], &y = positions[b.first + l];
      if (x.bias != y.bias || x.count != y.count || x.line != y.line) return false;
    }
    return true;
  }
};

// What one row of queries sees on the two slow axes.
struct RowWindow {
  int64_t first = 0, count = 0;
};

inline RowWindow row_window(const Axis& axis, int64_t group, int64_t place) {
  const Window window = group_window(axis, group, place);
  return {window.first, window.count};
}

// Rows are packed for lines of (batch, key head) pairs. Row groups of lines start at every plan.lines-th pair, so
// this many of them differ in their heads, times the query heads of one key head.
struct HeadGroups {
  int64_t kv_heads, lines, per_key;  // query heads per key head

  HeadGroups(const Problem& p, const RowPlan& plan)
      : kv_heads(p.kv_heads), lines(plan.lines), per_key(p.heads / p.kv_heads) {}
  int64_t row_groups() const { return std::max<int64_t>(1, kv_heads / lines); }
  int64_t count() const { return row_groups() * per_key; }
  int64_t group(int64_t row_group, int64_t member) const { return row_group % row_groups() * per_key + member; }
  int64_t head(int64_t group, int64_t line) const {
    return (group / per_key * lines + line) % kv_heads * per_key + group % per_key;
  }
};

// Whether all key heads of a sample should share a packed row, full lanes or not: tokens are then read as they lie in
// memory, no line or page twice. That pays where the call's tensors, of from_memory bytes at least, do not come from a
// cache, and the packed key rows stay in one.
inline bool whole_tokens_pay(const Problem& p, int width, int64_t threads, double from_memory) {
  constexpr int64_t second_level = 448 << 10;  // bytes, of cores that have little
  const Axis &plane = p.axis[0], &row = p.axis[1];
  const int64_t planes = (plane.length + plane.dilation - 1) / plane.dilation;
  const int64_t rows = (row.length + row.dilation - 1) / row.dilation;
  const int64_t key_rows =
      plane.kernel > 1 ? std::min(planes, plane.kernel) * rows : std::min(rows, row.kernel + kRows - 1);
  const int64_t positions = p.kv_heads * p.axis[2].length, token = (p.dim + p.value_dim) * sizeof(float);
  return positions <= 32 * width && p.batch * plane.dilation * row.dilation >= threads &&
         key_rows * positions * token <= second_level &&
         static_cast<double>(p.batch * p.tokens() * (p.heads + p.kv_heads) * token) >= from_memory;
}

// How many (batch, key head) pairs share a packed row: the fewest that fill the lanes best, or a sample's all.
// Pairs of one row are neighbours in batch * kv_heads, so the number divides kv_heads or is a multiple of it.
inline int64_t lines_per_row(const Problem& p, int width, int64_t threads, double from_memory) {
  const int64_t pairs = p.batch * p.kv_heads, length = p.axis[2].length;
  // Of a unit at least. Where units are fewer than threads they are cut between blocks, and what is packed twice at the
  // seams must be little beside what full lanes gain.
  const int64_t blocks =
      (p.axis[0].length / p.axis[0].dilation) * ((p.axis[1].length / p.axis[1].dilation + kRows - 1) / kRows);
  int64_t best = 1;
  double best_fill = 0;
  for (int64_t lines = 1; lines <= std::min<int64_t>(pairs, 16); ++lines) {
    if (pairs % lines != 0 || (p.kv_heads % lines != 0 && lines % p.kv_heads != 0)) continue;
    if (lines > 1 && lines * length > 8 * width) break;
    const int64_t units = (pairs / lines) * p.axis[0].dilation * p.axis[1].dilation;
    if (lines > 1 && units < threads && units * blocks < 8 * threads) break;
    const int64_t vectors = (lines * length + width - 1) / width;
    const double fill = static_cast<double>(lines * length) / static_cast<double>(vectors * width);
    if (fill > best_fill + 0.04) best = lines, best_fill = fill;
  }
  if (best < p.kv_heads && whole_tokens_pay(p, width, threads, from_memory)) return p.kv_heads;
  return best;
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
