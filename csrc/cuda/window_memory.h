// On-chip memory of a window kernel: what lies where, and how much it takes.
// The host machine lays its buffer out the same way.
#pragma once

#include <cstddef>

#include "window_geometry.h"

#if defined(__CUDA_ARCH__)
#define NATTEN_UNROLL _Pragma("unroll")
#else
#define NATTEN_UNROLL
#endif

namespace natten::cuda {

enum class WindowPass { kForward, kQueryGradient, kKeyGradient };

// Of a query, for the dk, dv kernel.
struct QueryStats {
  float lse, mean;
};

// The patches of a class: the box of keys that each sees, and the bias entry of the first row and the first key.
struct PatchClass {
  int down, across, entry_y, entry_x;
};

// The entries of a head's bias, lines kBiasPitch apart; behind the last line and the last entry of each, minus
// infinity.
constexpr int kBiasPitch = 2 * kWindowLimit, kBiasValues = kBiasPitch * kBiasPitch;

// Groups of eight columns of the largest box of keys.
static_assert((2 * kWindowLimit - 1) * (2 * kWindowLimit - 1) < 256, "an entry and the one behind the last fit a byte");
constexpr int kKeyGroups = (kKeySide * kKeySide + 7) / 8;
constexpr int kSmallGroups = (kWindowLimit * kWindowLimit + 7) / 8;  // where a patch sees 7x7 keys or so

// Where element (row, column) of a patch's scores lies in a table: in the order in which the threads of a warp hold
// them, four to a thread for eight columns.
constexpr int kGroupValues = kPatchRows * 8;
NATTEN_HD int table_place(int row, int column) {
  return column / 8 * kGroupValues + (row % 8 * 4 + column % 8 / 2) * 4 + row / 8 * 2 + column % 2;
}
constexpr int kLanes = 32;
struct alignas(16) Quad {
  float at[4];
};

// Rows of a pane lie close together, their pieces of 16 bytes in an order that depends on the row: eight rows that
// follow each other have the same piece in eight different places of 128 bytes. In bytes.
template <class T, int kDim>
NATTEN_HD int pane_place(int row, int piece) {
  constexpr int kRow = kDim * static_cast<int>(sizeof(T));
  const int turn = kRow >= 128 ? row % 8 : kRow >= 64 ? row / 2 % 4 : row / 4 % 2;
  return row * kRow + ((piece ^ turn) * 16);
}

// Where it all lies, in bytes from the start; the host lays it out.
struct WindowLayout {
  int rows;         // forward: the patches' own queries, a pane of each stage; before them the panes
  int tables;       // forward and dq: what is added to the scores, one of groups * kGroupValues per class of patches
  int classes;      // dq: of each class
  int full;         // forward: barriers on which a stage's copies arrive
  int done;         // forward: patches that are done with a stage
  int bias;         // the entries; for dk, dv in a row, and behind them minus infinity, for keys that are not seen
  int stats;        // dk, dv: per pane row
  int columns;      // dk, dv: per patch and column, its pane row
  int bias_places;  // dk, dv: per patch in table order, the entry of `bias`
  int pane_values, row_values;
  int64_t bytes;
};

inline WindowLayout lay_out(WindowPass pass, const Patching& t, int groups, int entries, int stages, int dim,
                            size_t element) {
  WindowLayout layout{};
  const bool keys = pass == WindowPass::kKeyGradient, forward = pass == WindowPass::kForward;
  const auto take = [&](size_t bytes) {
    const int64_t at = layout.bytes;
    layout.bytes += static_cast<int64_t>(bytes + 127) / 128 * 128;
    return static_cast<int>(at);
  };
  layout.pane_values = (t.rows() + 7) / 8 * 8 * dim;
  layout.row_values = t.warps() * kPatchRows * dim;
  take(element * layout.pane_values * 2 * stages);
  layout.rows = take(forward ? element * layout.row_values * stages : 0);
  layout.tables = take(keys ? 0 : sizeof(float) * kGroupValues * groups * t.tables);
  layout.classes = take(pass == WindowPass::kQueryGradient ? sizeof(PatchClass) * t.tables : 0);
  layout.stats = take(keys ? sizeof(QueryStats) * t.rows() * stages : 0);
  layout.columns = take(keys ? sizeof(short) * t.warps() * groups * 8 : 0);
  layout.bias_places = take(keys ? static_cast<size_t>(t.warps()) * groups * kGroupValues : 0);
  layout.full = take(forward ? sizeof(unsigned long long) * stages : 0);
  layout.done = take(forward ? sizeof(int) * stages : 0);
  layout.bias = take(sizeof(float) * (keys ? entries + 1 : kBiasValues));
  return layout;
}

template <class T>
struct WindowMemory {
  char* base;
  const WindowLayout& at;

  NATTEN_HD T* pane(int stage, int which) const {
    return reinterpret_cast<T*>(base) + (stage * 2 + which) * at.pane_values;
  }
  NATTEN_HD T* rows_pane(int stage) const { return reinterpret_cast<T*>(base + at.rows) + stage * at.row_values; }
  NATTEN_HD float* tables() const { return reinterpret_cast<float*>(base + at.tables); }
  NATTEN_HD PatchClass* classes() const { return reinterpret_cast<PatchClass*>(base + at.classes); }
  NATTEN_HD unsigned long long* full() const { return reinterpret_cast<unsigned long long*>(base + at.full); }
  NATTEN_HD int* done() const { return reinterpret_cast<int*>(base + at.done); }
  NATTEN_HD float* bias() const { return reinterpret_cast<float*>(base + at.bias); }
  NATTEN_HD QueryStats* stats() const { return reinterpret_cast<QueryStats*>(base + at.stats); }
  NATTEN_HD unsigned short* columns() const { return reinterpret_cast<unsigned short*>(base + at.columns); }
  NATTEN_HD unsigned char* bias_places() const { return reinterpret_cast<unsigned char*>(base + at.bias_places); }
};

}  // namespace natten::cuda
