// Where the blocks of the window kernels lie. A warp has a patch of 4x4
// queries (or keys) of one dilation group; what a patch meets is a box small
// enough to be held as a whole. A block has a few patches side by side and
// loads the box that they meet together. Two axes; host and device.
#pragma once

#include "tile_geometry.h"

namespace natten::cuda {

constexpr int kPatch = 4;                            // tokens of a patch along an axis
constexpr int kPatchRows = kPatch * kPatch;          // the rows of a warp
constexpr int kWindowLimit = 7;                      // largest kernel
constexpr int kKeySide = kPatch - 1 + kWindowLimit;  // keys that a patch sees along an axis, at most
constexpr int kQuerySide = 2 * kWindowLimit;         // queries that see a patch along an axis, at most
constexpr int kPatchesLimit = 16;                    // patches (warps) of a block
constexpr int kPlane = 2;                            // the two axes

// Patches per block and blocks per axis of the largest dilation group.
struct Patching {
  int patches[kPlane];
  int blocks[kPlane];
  int dilations;   // product: residues
  int64_t places;  // blocks of one image and head: residues x blocks
  // Room for the largest block: tokens of the box, rows of the pane that holds it, bias tables; and columns of the
  // largest box that a patch meets.
  int tokens, rows, tables, columns;
  NATTEN_HD int warps() const { return patches[0] * patches[1]; }
};

// One axis of one block. `side` places of the other kind meet a patch (or fewer: see audience_at).
struct PatchAxis {
  GroupAxis axis;
  int residue, dilation;
  int origin;       // place of the first row
  int side;         // of every patch's box of keys
  int first, size;  // the block's box

  NATTEN_HD int row(int patch, int i) const { return origin + patch * kPatch + i; }
  NATTEN_HD bool exists(int patch, int i) const { return row(patch, i) < axis.group; }
  // A place that does exist, for rows that do not.
  NATTEN_HD int clamped(int place) const { return place < axis.group ? place : axis.group - 1; }
};

// The first key of the box of a patch that starts at `place`.
NATTEN_HD int key_start(const GroupAxis& axis, int side, int place) {
  const int first = window_span(axis, place < axis.group ? place : axis.group - 1).first;
  return first < axis.group - side ? first : axis.group - side;
}

// The queries that see the patch of keys which starts at `place`.
NATTEN_HD Span audience_at(const GroupAxis& axis, int place) {
  const int first = place < axis.group ? place : axis.group - 1;
  const int last = place + kPatch - 1 < axis.group ? place + kPatch - 1 : axis.group - 1;
  return queries_span(axis, first, last);
}

NATTEN_HD PatchAxis patch_axis(const Axis& axis, int residue, int block, int patches, bool rows_are_queries) {
  PatchAxis a;
  a.residue = residue;
  a.dilation = static_cast<int>(axis.dilation);
  const int group = static_cast<int>(axis.length - 1 - residue) / a.dilation + 1;
  a.axis = {group, static_cast<int>(axis.kernel), 1, axis.causal};
  a.origin = block * patches * kPatch;
  a.side = group < kKeySide ? group : kKeySide;
  if (a.origin >= group) {
    a.first = a.size = 0;
    return a;
  }
  const int last = a.origin + (patches - 1) * kPatch;
  if (rows_are_queries) {
    a.first = key_start(a.axis, a.side, a.origin);
    a.size = key_start(a.axis, a.side, last) + a.side - a.first;
  } else {
    a.first = audience_at(a.axis, a.origin).first;
    a.size = audience_at(a.axis, last).last - a.first + 1;
  }
  return a;
}

// Rows of a pane from one line of the box to the next. Where it costs at most a quarter of the room, eight tokens that
// follow each other within a patch's box lie in eight different banks, also where they pass from line to line.
NATTEN_HD int pane_pitch(int size, int side) {
  const int gap = ((side - size) % 8 + 8) % 8;
  return gap * 4 <= size ? size + gap : size;
}

// One block: both axes.
struct Block {
  PatchAxis y, x;
  int pitch;
  bool exists;  // false behind the end of a smaller group

  NATTEN_HD int tokens() const { return y.size * x.size; }
  NATTEN_HD int pane_rows() const { return (y.size - 1) * pitch + x.size; }
  NATTEN_HD int pane_row(int ky, int kx) const { return (ky - y.first) * pitch + kx - x.first; }
};

NATTEN_HD Block block_at(const Axis& y, const Axis& x, const int* residue, const int* block, const int* patches,
                         bool rows_are_queries) {
  Block b;
  b.y = patch_axis(y, residue[0], block[0], patches[0], rows_are_queries);
  b.x = patch_axis(x, residue[1], block[1], patches[1], rows_are_queries);
  b.exists = b.y.size > 0 && b.x.size > 0;
  b.pitch = pane_pitch(b.x.size, b.x.side);
  return b;
}

// Block number `place` of an image.
NATTEN_HD Block block_of(const Problem& p, const Patching& t, int place, bool rows_are_queries) {
  const Axis &y = p.axis[1], &x = p.axis[2];
  int rest = place, block[kPlane], residue[kPlane] = {0, 0};
  block[1] = rest % t.blocks[1];
  rest /= t.blocks[1];
  block[0] = rest % t.blocks[0];
  rest /= t.blocks[0];
  if (t.dilations > 1) {
    residue[1] = rest % static_cast<int>(x.dilation);
    residue[0] = rest / static_cast<int>(x.dilation);
  }
  return block_at(y, x, residue, block, t.patches, rows_are_queries);
}

// All that masks and bias of a patch depend on, along one axis: patches of one code share a table. A field each for
// the rows there are, the first row's distance from the box, and the starts of the rows' windows within it.
NATTEN_HD int patch_code(const PatchAxis& a, int patch) {
  const int start = key_start(a.axis, a.side, a.row(patch, 0));
  int code = 0, rows = 0;
  for (int i = 0; i < kPatch; i++) {
    if (!a.exists(patch, i)) continue;
    rows++;
    code = code * 16 + window_span(a.axis, a.row(patch, i)).first - start;
  }
  const int from = rows > 0 ? a.row(patch, 0) - start : 0;
  return (code * 16 + from) * 8 + rows;
}

// The first patch with the code of patch `patch`.
NATTEN_HD int leader_of(const int* codes, int patch) {
  int leader = 0;
  while (codes[leader] != codes[patch]) leader++;
  return leader;
}

// Which table an axis' patch has: how many leaders come before its own.
NATTEN_HD int rank_of(const int* codes, int patch) {
  const int leader = leader_of(codes, patch);
  int rank = 0;
  for (int i = 0; i < leader; i++) rank += leader_of(codes, i) == i ? 1 : 0;
  return rank;
}

// Calls f with the block numbers and residues of an axis that can differ from the others in what they take.
template <class F>
void each_kind(const Axis& axis, int blocks, const F& f) {
  for (int64_t residue = 0; residue < axis.dilation;
       residue = residue + 1 == axis.dilation ? axis.dilation : axis.dilation - 1) {
    for (int block = 0; block < blocks; block = block == 2 && blocks > 7 ? blocks - 4 : block + 1) {
      f(static_cast<int>(residue), block);
    }
  }
}

// Fills in the room that blocks of these patches take.
inline void measure(const Problem& p, bool rows_are_queries, Patching* t) {
  int size[kPlane] = {0, 0}, tables[kPlane] = {0, 0}, side[kPlane] = {0, 0}, pitch = 0;
  t->dilations = static_cast<int>(p.axis[1].dilation * p.axis[2].dilation);
  for (int a = 0; a < kPlane; a++) {
    const Axis& axis = p.axis[1 + a];
    const int group = static_cast<int>(group_size(axis, 0)), rows = t->patches[a] * kPatch;
    t->blocks[a] = (group + rows - 1) / rows;
    each_kind(axis, t->blocks[a], [&](int residue, int block) {
      const PatchAxis at = patch_axis(axis, residue, block, t->patches[a], rows_are_queries);
      if (at.size == 0) return;
      size[a] = at.size > size[a] ? at.size : size[a];
      if (a == 1 && pane_pitch(at.size, at.side) > pitch) pitch = pane_pitch(at.size, at.side);
      int codes[kPatchesLimit], last = 0;
      for (int i = 0; i < t->patches[a]; i++) {
        const Span audience = audience_at(at.axis, at.row(i, 0));
        const int meets = rows_are_queries ? at.side : audience.last - audience.first + 1;
        side[a] = meets > side[a] ? meets : side[a];
        codes[i] = patch_code(at, i);
        last = rank_of(codes, i) > last ? rank_of(codes, i) : last;
      }
      tables[a] = last + 1 > tables[a] ? last + 1 : tables[a];
    });
  }
  t->places = int64_t{t->dilations} * t->blocks[0] * t->blocks[1];
  t->tokens = size[0] * size[1];
  t->rows = (size[0] - 1) * pitch + size[1];
  t->tables = tables[0] * tables[1];
  t->columns = side[0] * side[1];
}

// As many patches side by side as go evenly, at most `widest`; lines of them up to `most` in a block.
inline Patching patching_of(const Problem& p, int most, int widest, bool rows_are_queries) {
  Patching t;
  for (int a = kPlane - 1; a >= 0; a--) {
    const int group = static_cast<int>(group_size(p.axis[1 + a], 0)), patches = (group + kPatch - 1) / kPatch;
    const int limit = a == 1 ? widest : most / t.patches[1];
    const int parts = (patches + limit - 1) / limit;
    t.patches[a] = (patches + parts - 1) / parts;
  }
  measure(p, rows_are_queries, &t);
  return t;
}

}  // namespace natten::cuda
