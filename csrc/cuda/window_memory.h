// On-chip memory of a window kernel: what lies where, and how much it takes.
// The host machine lays its buffer out the same way.
#pragma once

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

// A row of a patch along one axis: its window in places of the patch's box, and the bias entry of the box's first key.
struct PatchRow {
  int low, high, bias;
  bool exists;
};

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

template <class T, int kDim>
struct WindowMemory {
  T* panes;
  T* rows;        // forward: the patches' own queries, a pane of each stage
  float* tables;  // forward and dq: what is added to the scores, one of kGroups * kGroupValues per class of patches
  PatchRow* patch_rows[kPlane];  // forward and dq: of each class
  unsigned long long* full;      // forward: barriers on which a stage's copies arrive
  int* done;                     // forward: patches that are done with a stage
  float* bias;                   // the entries; for dk, dv also minus infinity, for keys that are not seen
  QueryStats* stats;             // dk, dv: per pane row
  unsigned short* columns;       // dk, dv: per patch and column, its pane row
  unsigned char* bias_places;    // dk, dv: per patch in table order, the entry of `bias`
  int pane_values, row_values;

  NATTEN_HD T* pane(int stage, int which) const { return panes + (stage * 2 + which) * pane_values; }

  NATTEN_HD T* rows_pane(int stage) const { return rows + stage * row_values; }

  // Lays it out from `base` (null to measure) and returns the bytes.
  NATTEN_HD size_t place(char* base, WindowPass pass, const Patching& t, int groups, int entries, int stages) {
    size_t used = 0;
    const auto take = [&](size_t bytes) {
      char* const at = base == nullptr ? nullptr : base + used;
      used += (bytes + 127) / 128 * 128;
      return at;
    };
    pane_values = (t.rows() + 7) / 8 * 8 * kDim;
    panes = reinterpret_cast<T*>(take(sizeof(T) * pane_values * 2 * stages));
    row_values = t.warps() * kPatchRows * kDim;
    rows = reinterpret_cast<T*>(take(pass == WindowPass::kForward ? sizeof(T) * row_values * stages : 0));
    if (pass != WindowPass::kKeyGradient) {
      tables = reinterpret_cast<float*>(take(sizeof(float) * kGroupValues * groups * t.tables));
      NATTEN_UNROLL
      for (int a = 0; a < kPlane; a++) {
        patch_rows[a] = reinterpret_cast<PatchRow*>(take(sizeof(PatchRow) * t.patches[a] * kPatch));
      }
    } else {
      stats = reinterpret_cast<QueryStats*>(take(sizeof(QueryStats) * t.rows() * stages));
      columns = reinterpret_cast<unsigned short*>(take(sizeof(short) * t.warps() * groups * 8));
      bias_places = reinterpret_cast<unsigned char*>(take(t.warps() * groups * kGroupValues));
    }
    full = reinterpret_cast<unsigned long long*>(take(sizeof(*full) * stages));
    done = reinterpret_cast<int*>(take(sizeof(*done) * stages));
    bias = reinterpret_cast<float*>(take(sizeof(float) * (entries + 1)));
    return used;
  }
};

}  // namespace natten::cuda
