// Queries and keys packed as the scores of their products read them.
#pragma once

#include "pack.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// A tile's queries, transposed: dst[d * stride + lane] for d below ScoreKeys::dims(). Pairs are left as they are: their
// products are scaled.
template <class S, class O, class T, class E>
inline void pack_queries(const T* row, const int64_t* offset, int n, int64_t dim, E factor, E* dst, int64_t stride) {
  if constexpr (O::kWidth == 1) {
    pack_transposed<S>(row, offset, n, dim, factor, dst, stride);
  } else {
    pack_transposed_pairs<O>(row, offset, n, dim, dst, stride);
  }
}

// One matrix of a packed key row: [channel][position], or [position][channel] where products are of matrices.
template <class S, class O, class E>
class ScoreKeys {
  static constexpr int W = S::kLanes;

 public:
  ScoreKeys(int64_t dim, int64_t room)
      : dim_(dim),
        dims_(O::kMatrices ? round_up((dim + 1) / 2, W) : (dim + O::kWidth - 1) / O::kWidth),
        channel_(O::kMatrices ? 1 : odd_lines<E>(room)),
        position_(O::kMatrices ? dims_ : 1),
        // Matrices have whole vectors of positions from wherever a tile's keys begin.
        size_(O::kMatrices ? (room + W) * dims_ : dims_ * channel_) {}

  int64_t dims() const { return dims_; }  // channels, pairs of them with Pairs, filled up with zeros for Matrices
  int64_t size() const { return size_; }
  int64_t channel() const { return channel_; }    // from channel to channel
  int64_t position() const { return position_; }  // from position to position

  // Packed positions begin .. end - 1 of a row whose matrix begins at `origin`; begin lies on a whole vector.
  template <class T>
  void pack(const T* row, const int64_t* offset, int64_t begin, int64_t end, int64_t origin, E* matrix) const {
    if constexpr (O::kMatrices) {
      pack_natural_as_is<O>(row, offset + begin, end - begin, dim_, matrix + (begin - origin) * position_, position_);
    } else {
      for (int64_t i = begin; i < end; i += W) {
        const int n = static_cast<int>(std::min<int64_t>(W, end - i));
        pack_queries<S, O>(row, offset + i, n, dim_, E(1), matrix + i - origin, channel_);
      }
    }
  }

  // `count` positions to the matrix's beginning, from `by` on.
  void move(E* matrix, int64_t by, int64_t count) const {
    if constexpr (O::kMatrices) {
      move_rows(matrix, by, count, position_);
    } else {
      for (int64_t d = 0; d < dims_; ++d) move_rows(matrix + d * channel_, by, count, 1);
    }
  }

 private:
  const int64_t dim_, dims_, channel_, position_, size_;
};

// Before the first pack_queries: fills the channels up that matrices have beyond the queries'.
template <class S, class O, class E>
inline void clear_queries(const ScoreKeys<S, O, E>& keys, E* tile) {
  if constexpr (O::kMatrices) std::fill(tile, tile + keys.dims() * kRows * S::kLanes, E(0));
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
