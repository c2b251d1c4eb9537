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
  // Room for the largest block: lines of its box and rows of a pane from line to line, bias tables; and columns of the
  // largest box that a patch meets.
  int lines, pitch, tables, columns;
  NATTEN_HD int rows() const { return lines * pitch; }
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

// The box of keys that a patch sees, as columns: eight of each line, then the rest of all lines, which is up to two of
// each; lines shorter than eight follow each other.
static_assert(kKeySide <= 10, "the rest of a line is two keys");
struct Columns {
  int down, across;
  NATTEN_HD int count() const { return down * across; }
  NATTEN_HD int at(int ky, int kx) const {
    if (across < 8) return ky * across + kx;
    return kx < 8 ? ky * 8 + kx : down * 8 + ky * (across - 8) + kx - 8;
  }
  NATTEN_HD void place(int column, int* ky, int* kx) const {
    if (across < 8) {
      *ky = column * (65536 / across + 1) >> 16;
      *kx = column - *ky * across;
    } else if (column < down * 8) {
      *ky = column >> 3;
      *kx = column & 7;
    } else {
      const int rest = column - down * 8, shift = across == 10 ? 1 : 0;
      *ky = rest >> shift;
      *kx = 8 + rest - (*ky << shift);
    }
  }
};

// Rows of a pane from one line of the box to the next, such that eight columns mostly lie in eight different banks.
NATTEN_HD int pane_pitch(int size, int side) {
  if (side >= 8) return size % 8 == 0 ? size + 2 : size;
  const int gap = ((side - size) % 8 + 8) % 8;
  return gap * 4 <= size ? size + gap : size;
}

// One block: both axes.
struct Block {
  PatchAxis y, x;
  int pitch;
  bool exists;  // false behind the end of a smaller group

  NATTEN_HD int pane_row(int ky, int kx) const { return (ky - y.first) * pitch + kx - x.first; }
};

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
  Block b;
  b.y = patch_axis(y, residue[0], block[0], t.patches[0], rows_are_queries);
  b.x = patch_axis(x, residue[1], block[1], t.patches[1], rows_are_queries);
  b.exists = b.y.size > 0 && b.x.size > 0;
  b.pitch = t.pitch;
  return b;
}

// Which patches of an axis have a table of masks and bias of their own: all but the inner ones, which share one. Inner
// is whose rows all exist, with windows that no edge moved.
struct PatchClasses {
  int first, skip, count;  // the first inner patch, how many more there are, and all classes
  NATTEN_HD int rank(int patch) const { return patch <= first ? patch : patch - skip > first ? patch - skip : first; }
  NATTEN_HD int leader(int rank) const { return rank <= first ? rank : rank + skip; }
};
NATTEN_HD PatchClasses classes_of(const PatchAxis& a, int patches) {
  const GroupAxis& axis = a.axis;
  const int back = axis.causal ? axis.kernel - 1 : axis.kernel / 2;
  int last = axis.group - a.side + back;  // the last row with which an inner patch may start
  if (last > axis.group - kPatch) last = axis.group - kPatch;
  if (!axis.causal && last > axis.group - axis.kernel + back - kPatch + 1) {
    last = axis.group - axis.kernel + back - kPatch + 1;
  }
  PatchClasses c;
  c.first = a.origin >= back ? 0 : (back - a.origin + kPatch - 1) / kPatch;
  int end = last < a.origin ? 0 : (last - a.origin) / kPatch + 1;
  if (end > patches) end = patches;
  c.skip = end - 1 > c.first ? end - 1 - c.first : 0;
  c.count = patches - c.skip;
  return c;
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
  int size[kPlane] = {0, 0}, tables[kPlane] = {0, 0}, side[kPlane] = {0, 0};
  t->pitch = 0;
  t->dilations = static_cast<int>(p.axis[1].dilation * p.axis[2].dilation);
  for (int a = 0; a < kPlane; a++) {
    const Axis& axis = p.axis[1 + a];
    const int group = static_cast<int>(group_size(axis, 0)), rows = t->patches[a] * kPatch;
    t->blocks[a] = (group + rows - 1) / rows;
    each_kind(axis, t->blocks[a], [&](int residue, int block) {
      const PatchAxis at = patch_axis(axis, residue, block, t->patches[a], rows_are_queries);
      if (at.size == 0) return;
      size[a] = at.size > size[a] ? at.size : size[a];
      if (a == 1 && pane_pitch(at.size, at.side) > t->pitch) t->pitch = pane_pitch(at.size, at.side);
      for (int i = 0; i < t->patches[a]; i++) {
        const Span audience = audience_at(at.axis, at.row(i, 0));
        const int meets = rows_are_queries ? at.side : audience.last - audience.first + 1;
        side[a] = meets > side[a] ? meets : side[a];
      }
      const int count = classes_of(at, t->patches[a]).count;
      tables[a] = count > tables[a] ? count : tables[a];
    });
  }
  t->places = int64_t{t->dilations} * t->blocks[0] * t->blocks[1];
  t->lines = size[0];
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
