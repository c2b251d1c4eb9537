// Where one tile of the fused kernels lies: a box of queries (or keys) of one
// dilation group, and the box of keys (or queries) that it meets. 32 bits
// within a group, 64 bits in memory. Host and device.
#pragma once

#include "index.h"

namespace natten::cuda {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kTileRows = 64;       // rows of a tile: queries forward and for dq, keys for dk and dv
constexpr int kBoxLimit = 1 << 20;  // tokens in the box a tile meets
constexpr int kAxisLimit = 1024;    // summed over the axes: table entries of the dk, dv kernel
constexpr int kBiasLimit = 4096;    // bias entries of one head kept on chip

// One axis of a dilation group, in places.
struct GroupAxis {
  int group;  // tokens in the group
  int kernel;
  int stride;
  bool causal;
};

struct Span {
  int first;
  int last;
};

// group_window of problem.h in 32 bits; stride 1, the common one, without a division.
NATTEN_HD Span window_span(const GroupAxis& a, int place) {
  const int block = a.stride == 1 ? place : place / a.stride * a.stride;
  int first, last;
  if (a.causal) {
    const int end = block + a.stride - 1;
    const int leader = end < a.group - 1 ? end : a.group - 1;
    first = leader - a.kernel + 1 > 0 ? leader - a.kernel + 1 : 0;
    last = first + a.kernel - 1 < place ? first + a.kernel - 1 : place;
  } else {
    const int middle = block + a.stride / 2;
    const int leader = middle < a.group - 1 ? middle : a.group - 1;
    const int wanted = leader - a.kernel / 2, highest = a.group - a.kernel;
    first = wanted < 0 ? 0 : (wanted > highest ? highest : wanted);
    last = first + a.kernel - 1;
  }
  return {first, last};
}

// Coordinates on three axes in one word, a field each with a guard bit on top, so that one subtraction compares all
// three: after (guards | a) - b a guard survives where a >= b.
struct Fields {
  int width[kAxes];  // bits of a field, its guard included
  int shift[kAxes];
  uint32_t guards;
  NATTEN_HD uint32_t pack(int a0, int a1, int a2) const {
    return (uint32_t(a0) << shift[0]) | (uint32_t(a1) << shift[1]) | (uint32_t(a2) << shift[2]);
  }
  // Larger than any coordinate: outside every window.
  NATTEN_HD uint32_t outside() const { return (1u << (width[2] - 1)) - 1; }
};

inline Fields fields_of(int rank) {
  // An axis that a rank lacks has the one coordinate 0 and needs its guard alone.
  static const int widths[kAxes][kAxes] = {{1, 1, 30}, {1, 15, 15}, {10, 10, 10}};
  Fields f;
  for (int a = 0; a < kAxes; a++) f.width[a] = widths[rank - 1][a];
  f.shift[2] = 0;
  f.shift[1] = f.width[2];
  f.shift[0] = f.shift[1] + f.width[1];
  f.guards = 0;
  for (int a = 0; a < kAxes; a++) f.guards |= 1u << (f.shift[a] + f.width[a] - 1);
  return f;
}

// The shape of all tiles of a call; 2^log rows per axis, kTileRows together.
struct Tiling {
  int log[kAxes];
  int tiles[kAxes];  // per axis of the largest group
  int dilations;     // product: residues
  int64_t items;     // tiles of one head: batch x residues x tiles
  Fields fields;
};

// What a tile number stands for. `exists` is false for tiles behind the end of a smaller group.
struct Tile {
  int64_t batch;
  int residue[kAxes];
  int origin[kAxes];  // place of its first row
  int rows[kAxes];    // rows that exist
  GroupAxis axis[kAxes];
  bool exists;
};

NATTEN_HD Tile tile_at(const Problem& p, const Tiling& tiling, int64_t item) {
  Tile tile;
  tile.exists = true;
  // 32 bits: the launch sees to it that tiles can be counted in them.
  const unsigned tiles = tiling.tiles[0] * tiling.tiles[1] * tiling.tiles[2];
  const unsigned image = static_cast<unsigned>(item) / tiles;
  unsigned place = static_cast<unsigned>(item) - image * tiles;
  unsigned residue = 0;
  tile.batch = image;
  if (tiling.dilations > 1) {
    tile.batch = image / static_cast<unsigned>(tiling.dilations);
    residue = image % static_cast<unsigned>(tiling.dilations);
  }
  for (int a = kAxes - 1; a >= 0; a--) {
    const Axis& axis = p.axis[a];
    const unsigned dilation = static_cast<unsigned>(axis.dilation);
    int group = static_cast<int>(axis.length);
    tile.residue[a] = 0;
    if (tiling.dilations > 1) {
      tile.residue[a] = static_cast<int>(residue % dilation);
      residue /= dilation;
      group = static_cast<int>(static_cast<unsigned>(group - 1 - tile.residue[a]) / dilation) + 1;
    }
    const unsigned across = tiling.tiles[a], rest = across > 1 ? place / across : place;
    tile.origin[a] = static_cast<int>(place - rest * across) << tiling.log[a];
    place = rest;
    tile.axis[a] = {group, static_cast<int>(axis.kernel), static_cast<int>(axis.stride), axis.causal};
    const int left = group - tile.origin[a], most = 1 << tiling.log[a];
    tile.rows[a] = left < most ? left : most;
    tile.exists = tile.exists && left > 0;
  }
  return tile;
}

// A box of places that a tile meets, its tokens counted row-major.
struct Box {
  int first[kAxes];
  int size[kAxes];
  float inverse[2];  // of size[2] and size[1]
  NATTEN_HD int count() const { return size[0] * size[1] * size[2]; }
  // Exact below kBoxLimit: the quotient is at least half a step from where it would round wrongly.
  NATTEN_HD void coordinates(int number, int* at) const {
    const int row = static_cast<int>((static_cast<float>(number) + 0.5f) * inverse[0]);
    at[2] = number - row * size[2];
    at[0] = static_cast<int>((static_cast<float>(row) + 0.5f) * inverse[1]);
    at[1] = row - at[0] * size[1];
  }
};

NATTEN_HD Box box_of(const Span* spans) {
  Box box;
  for (int a = 0; a < kAxes; a++) {
    box.first[a] = spans[a].first;
    box.size[a] = spans[a].last - spans[a].first + 1;
  }
  box.inverse[0] = 1.0f / static_cast<float>(box.size[2]);
  box.inverse[1] = 1.0f / static_cast<float>(box.size[1]);
  return box;
}

// The keys that a tile of queries sees.
NATTEN_HD Box keys_of_tile(const Tile& tile) {
  Span spans[kAxes];
  for (int a = 0; a < kAxes; a++) {
    spans[a].first = window_span(tile.axis[a], tile.origin[a]).first;
    spans[a].last = window_span(tile.axis[a], tile.origin[a] + tile.rows[a] - 1).last;
  }
  return box_of(spans);
}

// The queries that see any of the keys first..last: as queries_of in index.h, without a search where it can be told.
NATTEN_HD Span queries_span(const GroupAxis& axis, int first, int last) {
  if (axis.stride == 1) {
    const int back = axis.causal ? axis.kernel - 1 : axis.kernel / 2;  // keys a window has before its query
    const int ahead = axis.kernel - 1 - back;
    const bool to_start = !axis.causal && first - axis.kernel + 1 <= 0;
    const bool to_end = !axis.causal && last >= axis.group - axis.kernel;
    const int end = last + back;
    return {to_start ? 0 : first - ahead, to_end || end > axis.group - 1 ? axis.group - 1 : end};
  }
  int low = 0, high = axis.group;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (window_span(axis, middle).last >= first) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const int begin = low;
  high = axis.group;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (window_span(axis, middle).first > last) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return {begin, low - 1};
}

NATTEN_HD Box queries_of_tile(const Tile& tile) {
  Span spans[kAxes];
  for (int a = 0; a < kAxes; a++) {
    spans[a] = queries_span(tile.axis[a], tile.origin[a], tile.origin[a] + tile.rows[a] - 1);
  }
  return box_of(spans);
}

// Row r of a tile, in places counted from its origin; false behind the end of the group.
NATTEN_HD bool row_place(const Tiling& tiling, const Tile& tile, int row, int* at) {
  at[2] = row & ((1 << tiling.log[2]) - 1);
  at[1] = (row >> tiling.log[2]) & ((1 << tiling.log[1]) - 1);
  at[0] = row >> (tiling.log[2] + tiling.log[1]);
  return at[0] < tile.rows[0] && at[1] < tile.rows[1] && at[2] < tile.rows[2];
}

// Columns begin..end-1 of a box: all that a band of rows of the tile meets, and few besides.
struct Reach {
  int begin;
  int end;
};

// Band b: the sixteen rows from 16 b. They are a box too, from its first row to its last.
constexpr int kBandRows = 16;
NATTEN_HD Reach reach_of(const Tiling& tiling, const Tile& tile, const Box& box, int band, bool columns_are_keys) {
  int low[kAxes], high[kAxes];
  if (!row_place(tiling, tile, band * kBandRows, low)) return {0, 0};
  row_place(tiling, tile, band * kBandRows + kBandRows - 1, high);
  Reach reach{0, 0};
  for (int a = 0; a < kAxes; a++) {
    const int first = tile.origin[a] + low[a];
    const int last = tile.origin[a] + (high[a] < tile.rows[a] ? high[a] : tile.rows[a] - 1);
    Span span;
    if (columns_are_keys) {
      span = {window_span(tile.axis[a], first).first, window_span(tile.axis[a], last).last};
    } else {
      span = queries_span(tile.axis[a], first, last);
    }
    reach.begin = reach.begin * box.size[a] + span.first - box.first[a];
    reach.end = reach.end * box.size[a] + span.last - box.first[a];
  }
  reach.end++;
  return reach;
}

// Memory of a box: where its first token of (batch, head) lies and how far neighbours are, in elements. One image spans
// less than 2^31 of them, or the tile kernels do not take the call; where it lies takes 64 bits.
struct Lattice {
  int64_t base;
  int step[kAxes];
  NATTEN_HD int64_t at(const int* place) const {
    return base + (place[0] * step[0] + place[1] * step[1] + place[2] * step[2]);
  }
};

// Places count from `origin`.
NATTEN_HD Lattice lattice_of(const Problem& p, const View& view, const Tile& tile, int64_t head, const int* origin) {
  Lattice l;
  l.base = tile.batch * view.batch + head * view.head;
  for (int a = 0; a < kAxes; a++) {
    const int stride = static_cast<int>(view.axis[a]);
    l.step[a] = static_cast<int>(p.axis[a].dilation) * stride;
    l.base += tile.residue[a] * stride + origin[a] * l.step[a];
  }
  return l;
}

// Whether Lattice holds for a tensor, and for `row` elements behind each of its rows.
inline bool fits_lattice(const Problem& p, const View& view, int64_t row = 0) {
  int64_t reach = row;
  for (int a = 0; a < kAxes; a++) reach += (p.axis[a].length - 1) * (view.axis[a] < 0 ? -view.axis[a] : view.axis[a]);
  return reach < (int64_t{1} << 31);
}

// The largest box any tile of this shape meets, per axis: for limits and for the choice of the shape.
inline int64_t widest_span(const Axis& axis, int64_t rows) {
  const int64_t group = group_size(axis, 0), reach = rows + 2 * axis.kernel + 2 * axis.stride;
  return group < reach ? group : reach;
}

// Work of one tile of keys, seen from the typical one inside: the keys or queries it meets.
inline int64_t typical_span(const Axis& axis, int64_t rows) {
  const int64_t group = group_size(axis, 0), reach = rows + axis.kernel - 1 + axis.stride - 1;
  return group < reach ? group : reach;
}

// The cheapest shape of a tile: fewest (rows x columns) products over all tiles.
inline Tiling tiling_of(const Problem& p) {
  Tiling best;
  double cheapest = -1;
  int log_rows = 0;
  while ((1 << log_rows) < kTileRows) log_rows++;
  for (int l0 = 0; l0 <= (p.rank == 3 ? log_rows : 0); l0++) {
    for (int l1 = 0; l1 <= (p.rank >= 2 ? log_rows - l0 : 0); l1++) {
      Tiling t;
      t.log[0] = l0;
      t.log[1] = l1;
      t.log[2] = log_rows - l0 - l1;
      double cost = 1, columns = 1;
      t.dilations = 1;
      for (int a = 0; a < kAxes; a++) {
        const int64_t rows = int64_t{1} << t.log[a], group = group_size(p.axis[a], 0);
        t.tiles[a] = static_cast<int>((group + rows - 1) / rows);
        t.dilations *= static_cast<int>(p.axis[a].dilation);
        cost *= t.tiles[a];
        columns *= static_cast<double>(typical_span(p.axis[a], rows < group ? rows : group));
      }
      // Columns come in chunks; a little for what every tile costs.
      cost *= 64.0 * static_cast<int64_t>((columns + 63) / 64) + 32.0;
      if (cheapest < 0 || cost < cheapest) {
        cheapest = cost;
        best = t;
      }
    }
  }
  best.items = p.batch * best.dilations * best.tiles[0] * best.tiles[1] * best.tiles[2];
  best.fields = fields_of(p.rank);
  return best;
}

}  // namespace natten::cuda
