// Sums of value rows weighted by scores (lanes are channels), from where a tile's chunks left them to where they go:
// values into outputs, keys into dq.
#pragma once

#include "scores.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// One key row's share in the sums: rows low .. high - 1 of the block weigh its values.
template <class E>
struct SumStep {
  const E* values;  // the key row, [position][stride]
  int64_t scores;   // offset of its first vector in each row's scores
  int64_t count;    // window offsets, or whole pairs of them
  int low, high;
  bool odd = false;  // of pairs: one offset is left
};

// A step as some rows of the block see it, counted from the first of them: what all query columns need, worked out
// once.
template <class E>
struct RowsStep {
  const E* values;
  const E* scores;
  int64_t count;
  int rows;  // rows_code(low, high)
  bool odd;
};

// Rows low .. high - 1 of a block as one number.
constexpr int rows_code(int low, int high) { return low * 8 + high; }

// Calls visit(low, high) with the rows of a code as integral constants: loops over them are then unrolled.
template <class Visit>
inline __attribute__((always_inline)) void with_rows(int code, const Visit& visit) {
  switch (code) {
#define NATTEN_ROWS(low, high) \
  case rows_code(low, high):   \
    return visit(std::integral_constant<int, low>(), std::integral_constant<int, high>());
    NATTEN_ROWS(0, 4)
    NATTEN_ROWS(0, 3)
    NATTEN_ROWS(0, 2)
    NATTEN_ROWS(0, 1)
    NATTEN_ROWS(1, 4)
    NATTEN_ROWS(1, 3)
    NATTEN_ROWS(1, 2)
    NATTEN_ROWS(2, 4)
    NATTEN_ROWS(2, 3)
    NATTEN_ROWS(3, 4)
#undef NATTEN_ROWS
  }
}

// Adds to sum[c][i] the values under query column c's window, for rows Low .. High - 1.
template <class S, class O, class E, int C, int R, int N, int Low, int High>
inline __attribute__((always_inline)) void sum_step(typename S::Vector (&sum)[C][R][N], const RowsStep<E>& step,
                                                    const int64_t (&at)[C], int64_t stride, int64_t column) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const E* values[C];
  NATTEN_UNROLL
  for (int c = 0; c < C; ++c) values[c] = step.values + at[c];
  const E* weights = step.scores + column;
  const auto add = [&](const auto& load) __attribute__((always_inline)) {
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) {
      // The fewer are held in registers, the others pass through one.
      if constexpr (High - Low < N) {
        V weight[R];
        NATTEN_UNROLL
        for (int i = Low; i < High; ++i) weight[i] = S::pinned(S::set(weights[i * kScoresRow<S> + c]));
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) {
          const V value = S::pinned(load(values[c] + n * W));
          NATTEN_UNROLL
          for (int i = Low; i < High; ++i) sum[c][i][n] = O::fma(weight[i], value, sum[c][i][n]);
        }
      } else {
        V value[N];
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) value[n] = S::pinned(load(values[c] + n * W));
        NATTEN_UNROLL
        for (int i = Low; i < High; ++i) {
          const V weight = S::pinned(S::set(weights[i * kScoresRow<S> + c]));
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) sum[c][i][n] = O::fma(weight, value[n], sum[c][i][n]);
        }
      }
      values[c] += O::kWidth * stride;
    }
  };
  for (const E* const end = weights + step.count * W; weights < end; weights += W) {
    add([](const E* at) __attribute__((always_inline)) { return S::load(at); });
  }
  // The neighbour of the last one may be out of the window: its weight is zero, but it need not be a number.
  if constexpr (O::kWidth == 2) {
    if (step.odd) add([](const E* at) __attribute__((always_inline)) { return O::load_first(at); });
  }
}

template <class E>
struct SumJob {
  const SumStep<E>* steps;
  int64_t step_count;
  int64_t value_stride;
  const int64_t* start;  // of each query column: its window's first packed position
  const E* scores;       // of the block's first row
};

// Adds what query columns column .. column + C - 1 see in the steps, to accumulators that stay in registers throughout.
// at: where in each key row a column's values begin.
template <class S, class O, class E, int C, int R, int N>
inline __attribute__((always_inline)) void sum_steps(typename S::Vector (&sum)[C][R][N], const RowsStep<E>* step,
                                                     const RowsStep<E>* end, const int64_t (&at)[C], int64_t stride,
                                                     int64_t column) {
  for (; step < end; ++step) {
    with_rows(step->rows, [&](auto low, auto high) __attribute__((always_inline)) {
      if constexpr (high() <= R) sum_step<S, O, E, C, R, N, low(), high()>(sum, *step, at, stride, column);
    });
  }
}

// What becomes of the sums of a block: where they come from and where they go.
template <class E, class T>
struct Output {
  bool first, last;
  const E* rescale;  // [rows][lanes]
  const E* inverse;
  E* partial;  // [rows][lanes][stride]
  int64_t partial_row, partial_stride;
  T* rows[kRows];
  const int64_t* offset;  // of each query column
  int64_t offset_row;     // from row to row
  int row_count;
  int64_t channels;
};

// About so many window offsets make a chain of additions: what a chain rounds off grows with its length.
constexpr int64_t kSumChain = 32;

// After so many steps the sums go to memory and start anew.
template <class E>
int64_t steps_per_chain(const SumJob<E>& job) {
  int64_t offsets = 0;
  for (int64_t s = 0; s < job.step_count; ++s) offsets += job.steps[s].count + job.steps[s].odd;
  const int64_t chains = std::max<int64_t>(1, (offsets + kSumChain / 2) / kSumChain);
  return (job.step_count + chains - 1) / chains;
}

// Calls visit(c, i, n) for each of C query columns, `rows` rows of R and N vectors of channels, unrolled.
template <int C, int R, int N, class Visit>
inline __attribute__((always_inline)) void each_sum(int rows, const Visit& visit) {
  NATTEN_UNROLL
  for (int c = 0; c < C; ++c) {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      if (i >= rows) break;
      NATTEN_UNROLL
      for (int n = 0; n < N; ++n) visit(c, i, n);
    }
  }
}

// Results out of sums[C][R][N], of R rows and query columns column .. column + C - 1, where the tile has fewer columns
// or its last vectors of channels are not whole.
template <class S, class E, class T, int C, int R, int N>
__attribute__((noinline)) void store_part(const E* sums, const Output<E, T>& out, int column, int lanes,
                                          int64_t channel) {
  constexpr int W = S::kLanes;
  for (int c = 0; c < std::min(lanes - column, C); ++c) {
    for (int i = 0; i < std::min(out.row_count, R); ++i) {
      const int l = column + c;
      const typename S::Vector factor = S::set(out.inverse[i * W + l]);
      T* const to = out.rows[i] + out.offset[i * out.offset_row + l] + channel;
      for (int n = 0; n < N; ++n) {
        const int64_t left = out.channels - channel - n * W;
        if (left <= 0) break;
        const typename S::Vector sum = S::load(sums + ((c * R + i) * N + n) * W);
        S::store_as(to + n * W, S::mul(factor, sum), static_cast<int>(std::min<int64_t>(W, left)));
      }
    }
  }
}

// All query columns of a tile, N vectors of channels of R rows; between() is called after each few columns.
template <class S, class O, class E, class T, int C, int R, int N, class Between>
void sum_columns(const RowsStep<E>* steps, int64_t step_count, const SumJob<E>& job, const Output<E, T>& out, int lanes,
                 int64_t channel, int64_t chain, const Between& between) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const RowsStep<E>* const last = steps + step_count;
  // Copies: after a store of vectors the compiler would read the structures again.
  const int64_t stride = job.value_stride, offset_row = out.offset_row;
  const int64_t *const start = job.start, *const offset = out.offset;
  const int64_t partial_row = out.partial_row, partial_stride = out.partial_stride;
  const E *const inverse = out.inverse, *const rescale = out.rescale;
  E* const partial = out.partial + channel;
  const bool first_chunk = out.first, last_chunk = out.last;
  const int row_count = std::min(out.row_count, R);
  T* rows[R];
  for (int i = 0; i < row_count; ++i) rows[i] = out.rows[i] + channel;
  const bool whole = lanes % C == 0 && channel + N * W <= out.channels;
  alignas(64) E held[C * R * N * W];  // what the chunk's chains came to so far
  for (int column = 0; column < lanes; column += C) {
    int64_t at[C];
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) at[c] = start[column + c] * stride + channel;
    // Rows that see nothing of a chunk have sums, too: zeros, or those of the chunks before.
    for (const RowsStep<E>* begin = steps;; begin += chain) {
      V sum[C][R][N];
      // Rows that the block lacks are summed from nothing and go nowhere.
      each_sum<C, R, N>(R, [&](int c, int i, int n) { sum[c][i][n] = S::zero(); });
      const bool done = last - begin <= chain;
      sum_steps<S, O, E, C, R, N>(sum, begin, done ? last : begin + chain, at, stride, column);
      const auto held_at = [&](int c, int i, int n) { return held + ((c * R + i) * N + n) * W; };
      const auto partial_at = [&](int c, int i, int n) {
        return partial + i * partial_row + (column + c) * partial_stride + n * W;
      };
      if (begin > steps) {
        each_sum<C, R, N>(R,
                          [&](int c, int i, int n) { sum[c][i][n] = S::add(sum[c][i][n], S::load(held_at(c, i, n))); });
      }
      if (!done) {
        each_sum<C, R, N>(R, [&](int c, int i, int n) { S::store(held_at(c, i, n), sum[c][i][n]); });
        continue;
      }
      if (!first_chunk) {
        each_sum<C, R, N>(row_count, [&](int c, int i, int n) {
          const V factor = S::set(rescale[i * W + column + c]);
          sum[c][i][n] = S::fma(factor, S::load(partial_at(c, i, n)), sum[c][i][n]);
        });
      }
      if (!last_chunk) {
        each_sum<C, R, N>(row_count, [&](int c, int i, int n) { S::store(partial_at(c, i, n), sum[c][i][n]); });
      } else if (whole) {
        each_sum<C, R, N>(row_count, [&](int c, int i, int n) {
          const V factor = S::set(inverse[i * W + column + c]);
          S::store_as(rows[i] + offset[i * offset_row + column + c] + n * W, S::mul(factor, sum[c][i][n]), W);
        });
      } else {
        each_sum<C, R, N>(R, [&](int c, int i, int n) { S::store(held_at(c, i, n), sum[c][i][n]); });
        store_part<S, E, T, C, R, N>(held, out, column, lanes, channel);
      }
      break;
    }
    between();
  }
}

// Vectors of channels at a time, at most.
constexpr int kSumVectors = 4;

// Calls visit(first, n) for runs of `vectors` vectors of channels, n (an integral_constant) of 1 .. kMost vectors each.
template <int kMost, class Visit>
inline void for_channels(int64_t vectors, const Visit& visit) {
  const int64_t pieces = (vectors + kMost - 1) / kMost;
  int64_t first = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t n = vectors * (piece + 1) / pieces - first;
    if constexpr (kMost >= 4) {
      if (n == 4) visit(first, std::integral_constant<int, 4>());
      if (n == 3) visit(first, std::integral_constant<int, 3>());
    }
    if (n == 2) visit(first, std::integral_constant<int, 2>());
    if (n == 1) visit(first, std::integral_constant<int, 1>());
    first += n;
  }
}

// Query columns that `rows` rows take at a time, with n vectors of channels.
template <class S>
constexpr int columns_at_a_time(int rows, int n) {
  return std::clamp(S::kAccumulators / rows / n, 1, std::min(S::kLanes, 4));
}

// Calls of between() for a whole tile.
template <class S>
int64_t sum_turns(int rows, int64_t padded_channels) {
  const int64_t vectors = padded_channels / S::kLanes, pieces = (vectors + kSumVectors - 1) / kSumVectors;
  const int n = static_cast<int>((vectors + pieces - 1) / pieces), together = S::sum_rows(rows, n);
  return pieces * ((rows + together - 1) / together) * (S::kLanes / columns_at_a_time<S>(together, n));
}

// N vectors of channels of rows first .. first + R - 1.
template <class S, class O, class E, class T, int N, int R, class Between>
void sum_rows(const SumJob<E>& job, Output<E, T> out, int first, int lanes, int64_t channel, int64_t chain,
              const Between& between) {
  RowsStep<E> steps[kChunkScores];
  int64_t count = 0;
  for (int64_t s = 0; s < job.step_count; ++s) {
    const SumStep<E>& step = job.steps[s];
    const int low = std::max(step.low - first, 0), high = std::min(step.high - first, R);
    if (low < high) {
      steps[count++] = {step.values, job.scores + first * kScoresRow<S> + step.scores, step.count, rows_code(low, high),
                        step.odd};
    }
  }
  out.rescale += first * S::kLanes;
  out.inverse += first * S::kLanes;
  out.partial += first * out.partial_row;
  out.offset += first * out.offset_row;
  out.row_count -= first;
  std::copy(out.rows + first, out.rows + kRows, out.rows);
  sum_columns<S, O, E, T, columns_at_a_time<S>(R, N), R, N>(steps, count, job, out, lanes, channel, chain, between);
}

// N vectors of channels of a tile, as many rows at a time as share a value.
template <class S, class O, class E, class T, int N, class Between>
void sum_channels(const SumJob<E>& job, const Output<E, T>& out, int lanes, int64_t channel, int64_t chain,
                  const Between& between) {
  const int together = S::sum_rows(out.row_count, N);
  const auto rows_at = [&](int first, auto count) {
    constexpr int R = decltype(count)::value;
    if constexpr (S::sum_rows(1, N) == R || S::sum_rows(2, N) == R || S::sum_rows(3, N) == R ||
                  S::sum_rows(4, N) == R) {
      if (together == R) sum_rows<S, O, E, T, N, R>(job, out, first, lanes, channel, chain, between);
    }
  };
  for (int first = 0; first < out.row_count; first += together) {
    rows_at(first, std::integral_constant<int, 1>());
    rows_at(first, std::integral_constant<int, 2>());
    rows_at(first, std::integral_constant<int, 3>());
    rows_at(first, std::integral_constant<int, 4>());
  }
}

// All channels of a tile.
template <class S, class O, class E, class T, class Between>
void sum_tile(const SumJob<E>& job, const Output<E, T>& out, int lanes, int64_t padded_channels,
              const Between& between) {
  const int64_t chain = steps_per_chain(job);
  for_channels<kSumVectors>(padded_channels / S::kLanes, [&](int64_t first, auto n) {
    sum_channels<S, O, E, T, decltype(n)::value>(job, out, lanes, first * S::kLanes, chain, between);
  });
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
