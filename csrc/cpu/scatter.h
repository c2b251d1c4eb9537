// The inner loop that the backward pass adds: gradients of keys and values gather where the keys and values lie
// (lanes are channels).
#pragma once

#include "sums.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// gradient[key] += sum over rows Low .. High - 1 of weight[row][key] * x[row], for the keys of one query column.
template <class S, class E, int N, int Low, int High>
inline __attribute__((always_inline)) void scatter_step(E* gradient, int64_t stride, const E* weights,
                                                        const typename S::Vector (&x)[kRows][N], int64_t count) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  for (int64_t t = 0; t < count; ++t) {
    V sum[N];
    NATTEN_UNROLL
    for (int n = 0; n < N; ++n) sum[n] = S::load(gradient + t * stride + n * W);
    NATTEN_UNROLL
    for (int i = Low; i < High; ++i) {
      const V weight = S::pinned(S::set(weights[i * kScoresRow<S> + t * W]));
      NATTEN_UNROLL
      for (int n = 0; n < N; ++n) sum[n] = S::fma(weight, x[i][n], sum[n]);
    }
    NATTEN_UNROLL
    for (int n = 0; n < N; ++n) S::store(gradient + t * stride + n * W, sum[n]);
  }
}

// One query column's share in the gradient of its keys over all steps. SumStep::values is the gradient here.
template <class S, class E, int N>
void scatter_column(const SumStep<E>* steps, int64_t step_count, int64_t offset, int64_t stride, const E* weights,
                    const E* x_, int64_t x_row) {
  constexpr int W = S::kLanes;
  typename S::Vector x[kRows][N];
  NATTEN_UNROLL
  for (int i = 0; i < kRows; ++i) {
    NATTEN_UNROLL
    for (int n = 0; n < N; ++n) x[i][n] = S::load(x_ + i * x_row + n * W);
  }
  for (int64_t s = 0; s < step_count; ++s) {
    const SumStep<E>& step = steps[s];
    E* const gradient = const_cast<E*>(step.values) + offset;
    const E* const w = weights + step.scores;
#define NATTEN_SCATTER(low, high)                                         \
  case (low) * 8 + (high):                                                \
    scatter_step<S, E, N, low, high>(gradient, stride, w, x, step.count); \
    break;
    switch (step.low * 8 + step.high) {
      NATTEN_SCATTER(0, 4)
      NATTEN_SCATTER(0, 3)
      NATTEN_SCATTER(0, 2)
      NATTEN_SCATTER(0, 1)
      NATTEN_SCATTER(1, 4)
      NATTEN_SCATTER(1, 3)
      NATTEN_SCATTER(1, 2)
      NATTEN_SCATTER(2, 4)
      NATTEN_SCATTER(2, 3)
      NATTEN_SCATTER(3, 4)
    }
#undef NATTEN_SCATTER
  }
}

// All columns and channels of a tile; x is [rows][lanes][channels].
template <class S, class E>
void scatter_tile(const SumStep<E>* steps, int64_t step_count, const int64_t* start, int64_t stride, const E* weights,
                  const E* x, int lanes) {
  constexpr int W = S::kLanes, N = S::kScatterVectors;
  const int64_t vectors = stride / W, x_row = W * stride;
  for (int l = 0; l < lanes; ++l) {
    for (int64_t at = 0; at < vectors;) {
      const int64_t n = std::min<int64_t>(N, vectors - at), channel = at * W;
      const int64_t offset = start[l] * stride + channel;
      const E* const from = x + l * stride + channel;
      if constexpr (N >= 4) {
        if (n == 4) scatter_column<S, E, 4>(steps, step_count, offset, stride, weights + l, from, x_row);
        if (n == 3) scatter_column<S, E, 3>(steps, step_count, offset, stride, weights + l, from, x_row);
      }
      if (n == 2) scatter_column<S, E, 2>(steps, step_count, offset, stride, weights + l, from, x_row);
      if (n == 1) scatter_column<S, E, 1>(steps, step_count, offset, stride, weights + l, from, x_row);
      at += n;
    }
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
