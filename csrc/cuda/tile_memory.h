// On-chip memory of a tile kernel: what lies where, and how much it takes.
// The host machine lays its buffer out the same way.
#pragma once

#include "tile_pair.h"

namespace natten::cuda {

enum class Pass { kForward, kQueryGradient, kKeyGradient, kDots, kGatherKeys, kGatherQueries };

// Whether rows of the tile are keys and columns of the box queries.
NATTEN_HD constexpr bool rows_are_keys(Pass pass) { return pass == Pass::kKeyGradient || pass == Pass::kGatherQueries; }
NATTEN_HD constexpr bool is_fused(Pass pass) { return pass < Pass::kDots; }

// Ends of a window on one axis, each shifted to its field.
struct Ends {
  uint32_t low, high;
};

// Rows of a pane lie 16 bytes further apart than they are long: eight rows of 16 bytes then hit all banks once.
template <class T, int kDim_>
struct Pane {
  static constexpr int kDim = kDim_;
  static constexpr int kStride = kDim_ + 16 / static_cast<int>(sizeof(T));
  T* data;
  NATTEN_HD T* row(int r) const { return data + r * kStride; }
};

template <class T, int kDim, int kColumns>
struct TileMemory {
  static constexpr int kSlopeStride = kColumns + 4;
  using Value = value_t<T>;
  using PaneType = Pane<T, kDim>;
  PaneType rows[2];
  Ends* ends;
  int* slots;  // of the ends: what a window's start takes off a slot
  Value* slopes;
  Value* bias;
  Value* drpb;

  // What a chunk of columns needs, twice: while one is worked on the next arrives.
  NATTEN_HD PaneType k(int stage) const { return {k_.data + stage * PaneType::kStride * kColumns}; }
  NATTEN_HD PaneType v(int stage) const { return {v_.data + stage * PaneType::kStride * kColumns}; }
  NATTEN_HD Column* columns(int stage) const { return columns_ + stage * kColumns; }
  NATTEN_HD QueryColumn<Value>* queries(int stage) const { return queries_ + stage * kColumns; }
  // A column's part of a bias index or of a slot.
  NATTEN_HD int* parts(int stage) const { return parts_ + stage * kColumns; }

  // Lays it out from `base` (null to measure) and returns the bytes.
  NATTEN_HD size_t place(char* base, Pass pass, int bias_entries, bool bias_gradient) {
    size_t used = 0;
    const auto take = [&](size_t bytes) {
      char* const at = base == nullptr ? nullptr : base + used;
      used += (bytes + 15) / 16 * 16;
      return at;
    };
    constexpr size_t kRow = sizeof(T) * PaneType::kStride;
    for (int i = 0; i < (pass == Pass::kQueryGradient || pass == Pass::kKeyGradient ? 2 : 1); i++) {
      rows[i].data = reinterpret_cast<T*>(take(kRow * kTileRows));
    }
    k_.data = reinterpret_cast<T*>(take(2 * kRow * kColumns));
    if (is_fused(pass)) v_.data = reinterpret_cast<T*>(take(2 * kRow * kColumns));
    if (rows_are_keys(pass)) {
      queries_ = reinterpret_cast<QueryColumn<Value>*>(take(2 * sizeof(QueryColumn<Value>) * kColumns));
      ends = reinterpret_cast<Ends*>(take(sizeof(Ends) * kAxisLimit));
    } else {
      columns_ = reinterpret_cast<Column*>(take(2 * sizeof(Column) * kColumns));
    }
    if (rows_are_keys(pass) || !is_fused(pass)) parts_ = reinterpret_cast<int*>(take(2 * sizeof(int) * kColumns));
    if (pass == Pass::kGatherQueries) slots = reinterpret_cast<int*>(take(sizeof(int) * kAxisLimit));
    bias = reinterpret_cast<Value*>(take(sizeof(Value) * bias_entries));
    if (bias_gradient) {
      slopes = reinterpret_cast<Value*>(take(sizeof(Value) * kSlopeStride * kTileRows));
      drpb = reinterpret_cast<Value*>(take(sizeof(Value) * bias_entries));
    }
    return used;
  }

 private:
  PaneType k_, v_;
  Column* columns_;
  QueryColumn<Value>* queries_;
  int* parts_;
};

// Columns of a chunk: half as many where sums fill the registers or rows the shared memory.
constexpr int columns_of(Pass pass, int dim, int element_size) {
  const bool backward = pass == Pass::kQueryGradient || pass == Pass::kKeyGradient;
  if (element_size == 2) return pass == Pass::kKeyGradient && dim > 64 ? 32 : 64;
  if (element_size == 4) return dim > (backward ? 32 : 64) ? 32 : 64;
  return dim > 32 || backward ? 32 : 64;
}

}  // namespace natten::cuda
