// Weighted sums of one tile, from where its chunks left them to where they go: values into outputs, keys into dq.
#pragma once

#include "products.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What becomes of the sums of a block: where they come from and where they go.
template <class E, class T>
struct Output {
  bool first, last;
  const E* rescale;  // [rows][lanes], from the first column on
  const E* inverse;
  E* partial;  // [rows][lanes][stride]
  int64_t partial_row, partial_stride;
  T* rows[kRows];
  const int64_t* offset;  // of each column
  int64_t offset_row;     // from row to row
  int columns;            // of C that exist
  int row_count;
  int64_t channels;
};

// About so many window offsets make a chain of additions: what a chain rounds off grows with its length.
constexpr int64_t kSumChain = 32;

// After so many steps the sums go to memory and start anew.
template <class E>
int64_t steps_per_chain(const SumJob<E>& job) {
  int64_t offsets = 0;
  for (int64_t s = 0; s < job.step_count; ++s) offsets += job.steps[s].count;
  const int64_t chains = std::max<int64_t>(1, (offsets + kSumChain / 2) / kSumChain);
  return (job.step_count + chains - 1) / chains;
}

template <class S, class O, class E, class T, int C, int R, int N>
void sum_block(const SumJob<E>& job, const Output<E, T>& out, int64_t channel, int64_t chain) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  for (int64_t begin = 0; begin < job.step_count; begin += chain) {
    const int64_t end = std::min(begin + chain, job.step_count);
    V sum[C][R][N];
    // Rows that the block lacks are summed from nothing and go nowhere.
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) {
      NATTEN_UNROLL
      for (int i = 0; i < R; ++i) {
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) sum[c][i][n] = S::zero();
      }
    }
    sum_steps<S, O, E, C, R, N>(sum, job, begin, end, channel);
    const auto partial = [&](int c, int i) {
      return out.partial + i * out.partial_row + c * out.partial_stride + channel;
    };
    if (begin > 0) {
      NATTEN_UNROLL
      for (int c = 0; c < C; ++c) {
        NATTEN_UNROLL
        for (int i = 0; i < R; ++i) {
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) sum[c][i][n] = S::add(sum[c][i][n], S::load(partial(c, i) + n * W));
        }
      }
    } else if (!out.first) {
      NATTEN_UNROLL
      for (int c = 0; c < C; ++c) {
        NATTEN_UNROLL
        for (int i = 0; i < R; ++i) {
          const V rescale = S::set(out.rescale[i * W + c]);
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) sum[c][i][n] = S::fma(rescale, S::load(partial(c, i) + n * W), sum[c][i][n]);
        }
      }
    }
    if (!out.last || end < job.step_count) {
      NATTEN_UNROLL
      for (int c = 0; c < C; ++c) {
        NATTEN_UNROLL
        for (int i = 0; i < R; ++i) {
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) S::store(partial(c, i) + n * W, sum[c][i][n]);
        }
      }
      continue;
    }
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) {
      NATTEN_UNROLL
      for (int i = 0; i < R; ++i) {
        if (i >= out.row_count || c >= out.columns) continue;
        const V factor = S::set(out.inverse[i * W + c]);
        T* to = out.rows[i] + out.offset[i * out.offset_row + c] + channel;
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) {
          const int64_t left = std::min<int64_t>(W, out.channels - channel - n * W);
          if (left > 0) S::store_as(to + n * W, S::mul(factor, sum[c][i][n]), static_cast<int>(left));
        }
      }
    }
  }
}

// All query columns and channels of a tile; between() is called after each few columns.
template <class S, class O, class E, class T, int R, int N, int C, class Between>
void sum_columns(SumJob<E> job, Output<E, T> out, int lanes, int64_t channel, int64_t chain, const Between& between) {
  const Output<E, T> whole = out;
  const SumJob<E> all = job;
  for (int c = 0; c < lanes; c += C) {
    job.start = all.start + c;
    job.scores = all.scores + c;
    out.rescale = whole.rescale + c;
    out.inverse = whole.inverse + c;
    out.partial = whole.partial + c * whole.partial_stride;
    out.offset = whole.offset + c;
    out.columns = lanes - c;
    sum_block<S, O, E, T, C, R, N>(job, out, channel, chain);
    between();
  }
}

// Vectors of channels at a time, at most.
constexpr int kSumVectors = 4;

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
void sum_rows(SumJob<E> job, Output<E, T> out, int first, int lanes, int64_t channel, int64_t chain,
              const Between& between) {
  job.first_row = first;
  job.scores += first * job.row_stride;
  out.rescale += first * S::kLanes;
  out.inverse += first * S::kLanes;
  out.partial += first * out.partial_row;
  out.offset += first * out.offset_row;
  out.row_count -= first;
  std::copy(out.rows + first, out.rows + kRows, out.rows);
  sum_columns<S, O, E, T, R, N, columns_at_a_time<S>(R, N)>(job, out, lanes, channel, chain, between);
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
  constexpr int W = S::kLanes;
  const int64_t vectors = padded_channels / W, pieces = (vectors + kSumVectors - 1) / kSumVectors;
  const int64_t chain = steps_per_chain(job);
  int64_t channel = 0;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t n = vectors * (piece + 1) / pieces - channel / W;
    if (n == 4) sum_channels<S, O, E, T, 4>(job, out, lanes, channel, chain, between);
    if (n == 3) sum_channels<S, O, E, T, 3>(job, out, lanes, channel, chain, between);
    if (n == 2) sum_channels<S, O, E, T, 2>(job, out, lanes, channel, chain, between);
    if (n == 1) sum_channels<S, O, E, T, 1>(job, out, lanes, channel, chain, between);
    channel += n * W;
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
