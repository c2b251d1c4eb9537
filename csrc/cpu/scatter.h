// The inner loop that the backward pass adds: gradients of keys and values gather where the keys and values lie
// (lanes are channels).
#pragma once

#include "sums.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What a tile's columns have in common: keys that all of them see, whose gradients stay in registers while the columns
// and rows go by. The others are gone through column by column.
struct CommonKeys {
  int64_t first = 0,
          spread = 0;  // packed positions: the greatest start of a window, and how far the least is before it

  CommonKeys(const int64_t* start, int lanes) {
    const auto [least, greatest] = std::minmax_element(start, start + lanes);
    first = *greatest, spread = *greatest - *least;
  }
  // Of windows of `count` keys; few are not worth a pass of their own.
  int64_t of(int64_t count) const { return count - spread >= 8 ? count - spread : 0; }
};

// gradient[key] += sum over columns and rows low .. high - 1 of weight[row][column][key] * x[row][column], for T keys
// and N vectors of channels.
template <class S, class E, int N, int T>
__attribute__((noinline)) void scatter_keys(E* gradient, int64_t stride, const E* weights, const int64_t* weight_at,
                                            const E* x, int lanes, int low, int high) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  V sum[T][N];
  NATTEN_UNROLL
  for (int t = 0; t < T; ++t) {
    NATTEN_UNROLL
    for (int n = 0; n < N; ++n) sum[t][n] = S::zero();
  }
  for (int l = 0; l < lanes; ++l) {
    const E* weight_row = weights + weight_at[l] + low * kScoresRow<S>;
    const E* x_row = x + (low * W + l) * stride;
    for (int i = low; i < high; ++i, weight_row += kScoresRow<S>, x_row += W * stride) {
      // The fewer are held in registers, the others pass through one.
      if constexpr (T < N) {
        V weight[T];
        NATTEN_UNROLL
        for (int t = 0; t < T; ++t) weight[t] = S::pinned(S::set(weight_row[t * W]));
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) {
          const V at = S::pinned(S::load(x_row + n * W));
          NATTEN_UNROLL
          for (int t = 0; t < T; ++t) sum[t][n] = S::fma(weight[t], at, sum[t][n]);
        }
      } else {
        V at[N];
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) at[n] = S::pinned(S::load(x_row + n * W));
        NATTEN_UNROLL
        for (int t = 0; t < T; ++t) {
          const V weight = S::pinned(S::set(weight_row[t * W]));
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) sum[t][n] = S::fma(weight, at[n], sum[t][n]);
        }
      }
    }
  }
  NATTEN_UNROLL
  for (int t = 0; t < T; ++t) {
    NATTEN_UNROLL
    for (int n = 0; n < N; ++n) {
      E* const to = gradient + t * stride + n * W;
      S::store(to, S::add(S::load(to), sum[t][n]));
    }
  }
}

// Runs the block of `size` keys, 1 .. T.
template <class S, class E, int N, int T>
inline void scatter_keys_of(int64_t size, E* gradient, int64_t stride, const E* weights, const int64_t* weight_at,
                            const E* x, int lanes, int low, int high) {
  if constexpr (T > 1) {
    if (size < T) {
      return scatter_keys_of<S, E, N, T - 1>(size, gradient, stride, weights, weight_at, x, lanes, low, high);
    }
  }
  scatter_keys<S, E, N, T>(gradient, stride, weights, weight_at, x, lanes, low, high);
}

// The keys that all columns see, over all steps. SumStep::values is the gradient here; offset: of their first in it.
template <class S, class E, int N>
void scatter_common(const SumStep<E>* steps, int64_t step_count, const CommonKeys& common, int64_t offset,
                    int64_t stride, const E* weights, const int64_t* weight_at, const E* x, int lanes) {
  constexpr int T = S::scatter_keys(N);
  for (int64_t s = 0; s < step_count; ++s) {
    const SumStep<E>& step = steps[s];
    const int64_t keys = common.of(step.count), blocks = (keys + T - 1) / T;
    int64_t t = 0;
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t size = keys * (b + 1) / blocks - t;
      scatter_keys_of<S, E, N, T>(size, const_cast<E*>(step.values) + offset + t * stride, stride,
                                  weights + step.scores + t * S::kLanes, weight_at, x, lanes, step.low, step.high);
      t += size;
    }
  }
}

// gradient[key] += sum over rows Low .. High - 1 of weight[row][key] * x[row], for the keys of one query column.
template <class S, class E, int N, int Low, int High>
inline __attribute__((always_inline)) void scatter_step(E* gradient, int64_t stride, const E* weights,
                                                        const typename S::Vector (&x)[kRows][N], int64_t begin,
                                                        int64_t end) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  for (int64_t t = begin; t < end; ++t) {
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

// One query column's share in the gradient of its keys over all steps; SumStep::values is the gradient here.
// kSplit: but of those that scatter_common goes through, which follow the first `before`.
template <class S, class E, int N, bool kSplit>
void scatter_column(const SumStep<E>* steps, int64_t step_count, const CommonKeys& common, int64_t before,
                    int64_t offset, int64_t stride, const E* weights, const E* x_, int64_t x_row) {
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
    const int64_t skipped = kSplit ? common.of(step.count) : 0, end = skipped > 0 ? before : step.count;
    with_rows(rows_code(step.low, step.high), [&](auto low, auto high) __attribute__((always_inline)) {
      scatter_step<S, E, N, low(), high()>(gradient, stride, w, x, 0, end);
      if constexpr (kSplit) {
        scatter_step<S, E, N, low(), high()>(gradient, stride, w, x, end + skipped, step.count);
      }
    });
  }
}

// All columns and channels of a tile; x is [rows][lanes][channels].
template <class S, class E>
void scatter_tile(const SumStep<E>* steps, int64_t step_count, const int64_t* start, int64_t stride, const E* weights,
                  const E* x, int lanes) {
  constexpr int W = S::kLanes;
  const int64_t x_row = W * stride;
  const CommonKeys common(start, lanes);
  int64_t longest = 0;
  for (int64_t s = 0; s < step_count; ++s) longest = std::max(longest, steps[s].count);
  const auto columns = [&](auto split) {
    for_channels<S::kScatterVectors>(stride / W, [&](int64_t vector, auto n) {
      for (int l = 0; l < lanes; ++l) {
        scatter_column<S, E, decltype(n)::value, decltype(split)::value>(
            steps, step_count, common, common.first - start[l], start[l] * stride + vector * W, stride, weights + l,
            x + l * stride + vector * W, x_row);
      }
    });
  };
  if (common.of(longest) == 0) return columns(std::false_type());
  int64_t weight_at[W];
  for (int l = 0; l < lanes; ++l) weight_at[l] = (common.first - start[l]) * W + l;
  for_channels<kSumVectors>(stride / W, [&](int64_t vector, auto n) {
    scatter_common<S, E, decltype(n)::value>(steps, step_count, common, common.first * stride + vector * W, stride,
                                             weights, weight_at, x + vector * W, lanes);
  });
  if (common.spread > 0) columns(std::true_type());
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
