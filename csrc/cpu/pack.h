// From tensors to the packed rows that the inner loops read: transposed
// ([channel][position], for products along lanes) and natural
// ([position][channel], for sums along lanes). Low precision widens here.
#pragma once

#include "scratch.h"
#include "tiles.h"

namespace natten::cpu {
namespace NATTEN_ISA {

inline int64_t round_down(int64_t n, int64_t multiple) { return n / multiple * multiple; }
inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The stride of a packed matrix: whole cache lines, and an odd number of them, since powers of two share cache sets.
template <class E>
int64_t odd_lines(int64_t n) {
  const int64_t line = 64 / sizeof(E);
  return (round_up(n, line) / line | 1) * line;
}

// Places `count` rows of a packed matrix, from row `by` on, where its first `count` are.
template <class E>
inline void move_rows(E* matrix, int64_t by, int64_t count, int64_t stride) {
  std::memmove(matrix, matrix + by * stride, count * stride * sizeof(E));
}

// dst[d * stride + i] = factor * (row + offset[i])[d] for i < n <= lanes, d < dim; lanes beyond n become zero.
template <class S, class T, class E>
__attribute__((noinline)) void pack_transposed(const T* row, const int64_t* offset, int n, int64_t dim, E factor,
                                               E* dst, int64_t stride) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V scale = S::set(factor);
  for (int64_t d = 0; d < dim; d += W) {
    const int width = static_cast<int>(std::min<int64_t>(W, dim - d));
    V tile[W];
    if (n == W) {
      for (int i = 0; i < W; ++i) tile[i] = S::load_as(row + offset[i] + d, width);
    } else {
      for (int i = 0; i < W; ++i) tile[i] = i < n ? S::load_as(row + offset[i] + d, width) : S::zero();
    }
    S::transpose(tile);
    E* to = dst + d * stride;
    if (width == W) {
      for (int j = 0; j < W; ++j) S::store(to + j * stride, S::mul(tile[j], scale));
    } else {
      for (int j = 0; j < width; ++j) S::store(to + j * stride, S::mul(tile[j], scale));
    }
  }
}

// dst[i * stride + d] = factor * (row + offset[i])[d], zero from dim to the next whole vector.
template <class S, class T, class E>
__attribute__((noinline)) void pack_natural(const T* row, const int64_t* offset, int64_t n, int64_t dim, E* dst,
                                            int64_t stride, E factor = E(1)) {
  constexpr int W = S::kLanes;
  const typename S::Vector scale = S::set(factor);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = 0; d < dim; d += W) {
      const int width = static_cast<int>(std::min<int64_t>(W, dim - d));
      S::store(dst + i * stride + d, S::mul(scale, S::load_as(row + offset[i] + d, width)));
    }
  }
}

// The way back: (row + offset[i])[d] = src[i * stride + d].
template <class S, class T, class E>
inline void unpack_natural(T* row, const int64_t* offset, int64_t n, int64_t dim, const E* src, int64_t stride) {
  constexpr int W = S::kLanes;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = 0; d < dim; d += W) {
      S::store_as(row + offset[i] + d, S::load(src + i * stride + d), static_cast<int>(std::min<int64_t>(W, dim - d)));
    }
  }
}

// How inner products are formed: element by element, two at a time (see Pairs), or as products of matrices (see
// Matrices).
template <class S>
struct Single {
  using Vector = typename S::Vector;
  using Sums = Single;  // how weighted sums are
  struct Session {      // lives while a thread forms products
    Session() {}
  };
  static constexpr int kWidth = 1;
  static constexpr bool kMatrices = false;
  static Vector fma(Vector a, Vector b, Vector sum) { return S::fma(a, b, sum); }
};

// How those of elements T are. An instruction set says what it has for bfloat16 beside single ones.
template <class S, class T>
struct ProductsOf {
  using type = Single<S>;
};
#ifdef NATTEN_BFLOAT16_PRODUCTS
template <class S>
struct ProductsOf<S, c10::BFloat16> {
  using type = NATTEN_BFLOAT16_PRODUCTS;
};
#endif

// pack_transposed of pairs of channels: dst[d / 2 * stride + i].
template <class O, class T, class E>
inline void pack_transposed_pairs(const T* row, const int64_t* offset, int n, int64_t dim, E* dst, int64_t stride) {
  using S = typename O::S;
  constexpr int W = S::kLanes;
  for (int64_t d = 0; d < dim; d += 2 * W) {
    const int64_t width = std::min<int64_t>(2 * W, dim - d);
    typename S::Vector tile[W];
    if (n == W) {
      for (int i = 0; i < W; ++i) tile[i] = O::load(row + offset[i] + d, width);
    } else {
      for (int i = 0; i < W; ++i) tile[i] = i < n ? O::load(row + offset[i] + d, width) : S::zero();
    }
    S::transpose(tile);
    for (int j = 0; j < (width + 1) / 2; ++j) S::store(dst + (d / 2 + j) * stride, tile[j]);
  }
}

// pack_natural of pairs of positions: dst[i * stride + d] holds channel d of positions i and i + 1.
template <class O, class T, class E>
inline void pack_natural_pairs(const T* row, const int64_t* offset, int64_t n, int64_t dim, E* dst, int64_t stride) {
  using S = typename O::S;
  constexpr int W = S::kLanes;
  for (int64_t d = 0; d < dim; d += 2 * W) {
    const int64_t width = dim - d;
    E* to = dst + d;
    typename S::Vector here = O::load(row + offset[0] + d, width), first, second;
    for (int64_t i = 0; i < n; ++i, to += stride) {
      const typename S::Vector next = i + 1 < n ? O::load(row + offset[i + 1] + d, width) : S::zero();
      O::interleave(here, next, first, second);
      S::store(to, first);
      if (width > W) S::store(to + W, second);
      here = next;
    }
  }
}

// pack_natural of pairs of channels, as they are.
template <class O, class T, class E>
inline void pack_natural_as_is(const T* row, const int64_t* offset, int64_t n, int64_t dim, E* dst, int64_t stride) {
  using S = typename O::S;
  constexpr int W = S::kLanes;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t d = 0; d < dim; d += 2 * W) {
      S::store(dst + i * stride + d / 2, O::load(row + offset[i] + d, std::min<int64_t>(2 * W, dim - d)));
    }
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
