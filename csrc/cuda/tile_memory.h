// On-chip memory of a tile kernel: what lies where, and how much it takes.
// The host machine lays its buffer out the same way.
#pragma once

#include "tile_program.h"

namespace natten::cuda {

enum class Pass { kForward, kQueryGradient, kKeyGradient };

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
  using PaneType = Pane<T, kDim>;
  PaneType rows[2];
  Ends* ends;
  float* slopes;
  float* bias;
  float* drpb;

  // What a chunk of columns needs, twice: while one is worked on the next arrives.
  NATTEN_HD PaneType k(int stage) const { return {k_.data + stage * PaneType::kStride * kColumns}; }
  NATTEN_HD PaneType v(int stage) const { return {v_.data + stage * PaneType::kStride * kColumns}; }
  NATTEN_HD Column* columns(int stage) const { return columns_ + stage * kColumns; }
  NATTEN_HD QueryColumn* queries(int stage) const { return queries_ + stage * kColumns; }
  NATTEN_HD int* query_bias(int stage) const { return query_bias_ + stage * kColumns; }

  // Lays it out from `base` (null to measure) and returns the bytes.
  NATTEN_HD size_t place(char* base, Pass pass, int bias_entries, bool bias_gradient) {
    size_t used = 0;
    const auto take = [&](size_t bytes) {
      char* const at = base == nullptr ? nullptr : base + used;
      used += (bytes + 15) / 16 * 16;
      return at;
    };
    constexpr size_t kRow = sizeof(T) * PaneType::kStride;
    for (int i = 0; i < (pass == Pass::kForward ? 1 : 2); i++) {
      rows[i].data = reinterpret_cast<T*>(take(kRow * kTileRows));
    }
    k_.data = reinterpret_cast<T*>(take(2 * kRow * kColumns));
    v_.data = reinterpret_cast<T*>(take(2 * kRow * kColumns));
    if (pass == Pass::kKeyGradient) {
      queries_ = reinterpret_cast<QueryColumn*>(take(2 * sizeof(QueryColumn) * kColumns));
      query_bias_ = reinterpret_cast<int*>(take(2 * sizeof(int) * kColumns));
    } else {
      columns_ = reinterpret_cast<Column*>(take(2 * sizeof(Column) * kColumns));
    }
    if (pass == Pass::kKeyGradient) ends = reinterpret_cast<Ends*>(take(sizeof(Ends) * kAxisLimit));
    bias = reinterpret_cast<float*>(take(sizeof(float) * bias_entries));
    if (bias_gradient) {
      slopes = reinterpret_cast<float*>(take(sizeof(float) * kSlopeStride * kTileRows));
      drpb = reinterpret_cast<float*>(take(sizeof(float) * bias_entries));
    }
    return used;
  }

 private:
  PaneType k_, v_;
  Column* columns_;
  QueryColumn* queries_;
  int* query_bias_;
};

// Columns of a chunk: half as many where the sums of the dk, dv kernel fill the registers.
constexpr int columns_of(Pass pass, int dim) { return pass == Pass::kKeyGradient && dim > 64 ? 32 : 64; }

}  // namespace natten::cuda
