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

// Divides numbers below 2^31 by one that does not change during a launch: exact, as `factor` is 2^shift / number
// rounded up and the shift large enough.
struct Divisor {
  unsigned number = 1, factor = 1u << 31;
  int shift = 31;
  Divisor() = default;
  explicit Divisor(int64_t by) : number(static_cast<unsigned>(by)) {
    while ((int64_t{1} << (shift - 31)) < by) shift++;
    factor = static_cast<unsigned>(((uint64_t{1} << shift) + number - 1) / number);
  }
  NATTEN_HD int quotient(int n) const { return static_cast<int>(static_cast<uint64_t>(n) * factor >> shift); }
};

// Patches per block and blocks per axis of the largest dilation group.
struct Patching {
  int patches[kPlane];
  int blocks[kPlane];
  int dilations;                                       // product: residues
  int64_t places;                                      // blocks of one image and head: residues x blocks
  Divisor by_patches, by_blocks[kPlane], by_dilation;  // patches[1], blocks, the last axis's dilation
  // Room for the largest block: lines of its box and rows of a pane from line to line, bias tables; and groups of eight
  // columns of the largest box that a patch meets.
  int lines, pitch, tables, groups;
  NATTEN_HD int rows() const { return lines * pitch; }
  NATTEN_HD int warps() const { return patches[0] * patches[1]; }
};

// The queries that see the patch of keys which starts at `place`.
NATTEN_HD Span audience_at(const GroupAxis& axis, int place) {
  const int first = place < axis.group ? place : axis.group - 1;
  const int last = place + kPatch - 1 < axis.group ? place + kPatch - 1 : axis.group - 1;
  return queries_span(axis, first, last);
}

// One axis of one block.
struct PatchAxis {
  GroupAxis axis;
  int residue, dilation;
  int back, ahead;  // keys that a window has before its query, where no edge moves it, and may have behind it
  int origin;       // place of the first row
  int first, size;  // the block's box

  NATTEN_HD int row(int patch, int i) const { return origin + patch * kPatch + i; }
  NATTEN_HD bool exists(int patch, int i) const { return row(patch, i) < axis.group; }
  // A place that does exist, for rows that do not.
  NATTEN_HD int clamped(int place) const { return place < axis.group ? place : axis.group - 1; }
  // window_span, in fewer steps. A causal window never reaches beyond the group.
  NATTEN_HD Span window(int place) const {
    const int wanted = place - back > 0 ? place - back : 0, highest = axis.group - axis.kernel;
    const int first_key = wanted < highest ? wanted : highest, end = first_key + axis.kernel - 1;
    return {first_key, end < place + ahead ? end : place + ahead};
  }
  // What a patch sees; one behind the end is like the last row.
  NATTEN_HD Span keys(int patch) const {
    return {window(clamped(row(patch, 0))).first, window(clamped(row(patch, kPatch - 1))).last};
  }
};

NATTEN_HD PatchAxis patch_axis(const Axis& axis, int residue, int block, int patches, bool rows_are_queries) {
  PatchAxis a;
  a.residue = residue;
  a.dilation = static_cast<int>(axis.dilation);
  const int last_token = static_cast<int>(axis.length) - 1 - residue;
  const int group = (a.dilation == 1 ? last_token : last_token / a.dilation) + 1;
  const int kernel = static_cast<int>(axis.kernel);
  a.axis = {group, kernel, 1, axis.causal};
  a.back = axis.causal ? kernel - 1 : kernel / 2;
  a.ahead = axis.causal ? 0 : kernel;
  a.origin = block * patches * kPatch;
  if (a.origin >= group) {
    a.first = a.size = 0;
    return a;
  }
  if (rows_are_queries) {
    a.first = a.keys(0).first;
    a.size = a.keys(patches - 1).last - a.first + 1;
  } else {
    a.first = audience_at(a.axis, a.origin).first;
    a.size = audience_at(a.axis, a.row(patches - 1, 0)).last - a.first + 1;
  }
  return a;
}

// The box of keys that a patch sees, as columns in groups of eight: the first eight keys of each line, padded to a
// power of two; then what is left of the lines, up to two keys of each. Columns of a group that follow each other lie
// side by side or a line apart.
static_assert(kKeySide <= 10, "the rest of a line is two keys");
struct Columns {
  int down, across;
  NATTEN_HD int log() const { return across > 4 ? 3 : across > 2 ? 2 : 1; }  // of a line's columns
  NATTEN_HD int rest_log() const { return across > 9 ? 1 : 0; }
  // Groups before the rest of the lines, and all.
  NATTEN_HD int line_groups() const { return ((down << log()) + 7) / 8; }
  NATTEN_HD int groups() const { return line_groups() + (across > 8 ? ((down << rest_log()) + 7) / 8 : 0); }
  NATTEN_HD int at(int ky, int kx) const {
    return kx < 8 ? (ky << log()) + kx : down * 8 + (ky << rest_log()) + kx - 8;
  }
  // Of a column that is padding, a place outside of the box.
  NATTEN_HD void place(int column, int* ky, int* kx) const {
    const bool rest = across > 8 && column >= down * 8;
    const int number = rest ? column - down * 8 : column, shift = rest ? rest_log() : log();
    *ky = number >> shift;
    *kx = (rest ? 8 : 0) + number - (*ky << shift);
  }
};

// Rows of a pane from one line of a box to the next, such that the eight columns of a group, whose lines have `width`
// each, lie in eight different banks; where that takes few more.
NATTEN_HD int pane_pitch(int size, int width) {
  int pitch = size;
  while (width < 8 && pitch % (2 * width) != width) pitch++;
  return pitch <= size + 2 ? pitch : size;
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
  int block[kPlane], residue[kPlane] = {0, 0};
  int rest = t.by_blocks[1].quotient(place);
  block[1] = place - rest * t.blocks[1];
  block[0] = rest;
  if (t.dilations > 1) {
    const int residues = t.by_blocks[0].quotient(rest);
    block[0] = rest - residues * t.blocks[0];
    residue[0] = t.by_dilation.quotient(residues);
    residue[1] = residues - residue[0] * static_cast<int>(x.dilation);
  }
  Block b;
  b.y = patch_axis(y, residue[0], block[0], t.patches[0], rows_are_queries);
  b.x = patch_axis(x, residue[1], block[1], t.patches[1], rows_are_queries);
  b.exists = b.y.size > 0 && b.x.size > 0;
  b.pitch = t.pitch;
  return b;
}

// Which patches of an axis have a table of masks and bias of their own: all but the inner ones, which share the first
// one's. Inner is whose rows all exist, with windows that no edge moved.
struct PatchClasses {
  int first, skip, count;  // the first inner patch, how many more there are, and all classes
  NATTEN_HD int rank(int patch) const { return patch <= first ? patch : patch - skip > first ? patch - skip : first; }
  NATTEN_HD bool leads(int patch) const { return patch <= first || patch - skip > first; }
};
NATTEN_HD PatchClasses classes_of(const PatchAxis& a, int patches) {
  const GroupAxis& axis = a.axis;
  // The last row with which an inner patch may start.
  const int back = a.back, last = axis.group - kPatch - (axis.kernel - 1 - back);
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
    t->by_blocks[a] = Divisor(t->blocks[a]);
    each_kind(axis, t->blocks[a], [&](int residue, int block) {
      const PatchAxis at = patch_axis(axis, residue, block, t->patches[a], rows_are_queries);
      if (at.size == 0) return;
      size[a] = at.size > size[a] ? at.size : size[a];
      for (int i = 0; i < t->patches[a]; i++) {
        const Span met = rows_are_queries ? at.keys(i) : audience_at(at.axis, at.row(i, 0));
        side[a] = met.last - met.first + 1 > side[a] ? met.last - met.first + 1 : side[a];
      }
      const int count = classes_of(at, t->patches[a]).count;
      tables[a] = count > tables[a] ? count : tables[a];
    });
  }
  t->by_patches = Divisor(t->patches[1]);
  t->by_dilation = Divisor(p.axis[2].dilation);
  t->places = int64_t{t->dilations} * t->blocks[0] * t->blocks[1];
  t->lines = size[0];
  t->tables = tables[0] * tables[1];
  if (rows_are_queries) {
    t->groups = Columns{side[0], side[1]}.groups();
    t->pitch = pane_pitch(size[1], side[1] > 8 ? 2 : 1 << Columns{side[0], side[1]}.log());
  } else {
    t->groups = (side[0] * side[1] + 15) / 16 * 2;
    t->pitch = size[1] % 8 == 0 ? size[1] + 2 : size[1];
  }
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
