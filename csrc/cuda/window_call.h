// One call of the window kernels, and where its patches, rows and keys lie.
#pragma once

#include <algorithm>

#include "window_memory.h"

namespace natten::cuda {

struct WindowCall {
  Problem p;
  Patching patching;
  View q, k, v, out, lse, dout, dq, dk, dv, mean;  // mean: dout . out, float, laid out as lse
  const float* rpb;                                // [heads, entries] or null
  float* drpb;                                     // [places * parts, heads, entries] or null
  int parts;  // blocks of one place and head; part w takes the images w, w + parts, ...
  int entries;
  int groups;  // of eight columns that a patch meets: kGroups of the machine, or, where they are listed, an even number
  int stages;  // boxes on chip: 2 to 4, the next images' arrive while one is worked on; 1: they wait for each other
  Divisor by_heads, by_places;
  WindowLayout layout;
};

inline WindowLayout layout_of(const WindowCall& call, WindowPass pass, size_t element) {
  return lay_out(pass, call.patching, call.groups, call.entries, call.stages, static_cast<int>(call.p.dim), element);
}

// Whether no patch of queries can see more keys than kSmallGroups hold. It decides the kernel and the block's shape
// alike, so it asks the problem, not what the patches of one shape happen to meet.
inline bool sees_few(const Problem& p) {
  const auto keys = [&](const Axis& axis) {
    return static_cast<int>(std::min(group_size(axis, 0), axis.kernel + kPatch - 1));
  };
  return Columns{keys(p.axis[1]), keys(p.axis[2])}.groups() <= kSmallGroups;
}
inline int groups_of(const Problem& p, const Patching& t, bool rows_are_queries) {
  return !rows_are_queries ? t.groups : sees_few(p) ? kSmallGroups : kKeyGroups;
}

// Where a patch lies in its block, in patches.
struct PatchPlace {
  int y, x;
};
NATTEN_HD PatchPlace place_of(const WindowCall& call, int patch) {
  const int y = call.patching.by_patches.quotient(patch);
  return {y, patch - y * call.patching.patches[1]};
}
NATTEN_HD bool row_exists(const WindowCall& call, const Block& block, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  return block.y.exists(at.y, row / kPatch) && block.x.exists(at.x, row % kPatch);
}
// Where a row of a patch lies in an image of `view`, in elements; a row that does not exist has one that does.
NATTEN_HD int row_offset(const WindowCall& call, const Block& block, const View& view, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  const int y = block.y.clamped(block.y.row(at.y, row / kPatch)), x = block.x.clamped(block.x.row(at.x, row % kPatch));
  return (y * block.y.dilation + block.y.residue) * static_cast<int>(view.axis[1]) +
         (x * block.x.dilation + block.x.residue) * static_cast<int>(view.axis[2]);
}
template <class M>
NATTEN_HD auto offsets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int patch, int row) { return row_offset(call, block, view, patch, row); });
}
// The same to write to: -1 where there is no row.
template <class M>
NATTEN_HD auto targets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int patch, int row) {
    return row_exists(call, block, patch, row) ? row_offset(call, block, view, patch, row) : -1;
  });
}
NATTEN_HD int kv_head_of(const Problem& p, int64_t head) {
  if (p.heads == p.kv_heads) return static_cast<int>(head);
  return static_cast<int>(head) / (static_cast<int>(p.heads) / static_cast<int>(p.kv_heads));
}

// Where it lies in a pane of the patches' own rows.
NATTEN_HD int rows_place(const WindowCall& call, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  const int across = call.patching.patches[1] * kPatch;
  return (at.y * kPatch + row / kPatch) * across + at.x * kPatch + row % kPatch;
}

template <class T>
NATTEN_HD T* image_of(const View& view, int64_t image, int64_t head) {
  return static_cast<T*>(view.data) + image * view.batch + head * view.head;
}

// number / divisor for numbers below 2^20, where `inverse` is 1 / divisor: as Box::coordinates.
NATTEN_HD int quotient(int number, float inverse) {
  return static_cast<int>((static_cast<float>(number) + 0.5f) * inverse);
}

// A block's box in an image of a tensor, in elements: where its first token lies, and how far lines and tokens are
// apart.
struct Lines {
  int first, down, across;
};
NATTEN_HD Lines lines_of(const Block& block, const View& view) {
  const int down = static_cast<int>(view.axis[1]), across = static_cast<int>(view.axis[2]);
  return {(block.y.first * block.y.dilation + block.y.residue) * down +
              (block.x.first * block.x.dilation + block.x.residue) * across,
          block.y.dilation * down, block.x.dilation * across};
}

// The keys that a patch sees.
struct Keys {
  Span y, x;
  NATTEN_HD Columns columns() const { return {y.last - y.first + 1, x.last - x.first + 1}; }
};
NATTEN_HD Keys keys_of(const WindowCall& call, const Block& block, int patch) {
  const PatchPlace at = place_of(call, patch);
  return {block.y.keys(at.y), block.x.keys(at.x)};
}

// Steps of sixteen columns: a patch that sees fewer keys than others takes fewer. The first ones all take, so that
// their work is one piece for the compiler.
template <class M>
struct Steps {
  // The one whose scores say how large scores are: the lines in the middle, of which all rows see some.
  static constexpr int kMiddle = M::kSteps / 3;
  static constexpr int kAlways = M::kSteps / 2 + 1;
  static_assert(kMiddle < kAlways, "all take the one in the middle");
  NATTEN_HD static int of(const Columns& columns) {
    const int steps = (columns.groups() + 1) / 2;
    return steps > kAlways ? steps : kAlways;
  }
};

}  // namespace natten::cuda
