// The two inner loops: products of query tiles with packed keys (lanes are
// queries), and sums of value rows weighted by scores (lanes are channels).
#pragma once

#include "pack.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Accumulators stay in registers only if the loops over them are gone before gcc looks at the array.
#define NATTEN_UNROLL _Pragma("GCC unroll 16")
// Of a long loop: fewer branches, and loads that run ahead.
#define NATTEN_UNROLL_TWICE _Pragma("GCC unroll 2")

// The products of so many channels make one chain of additions: what a chain rounds off grows with its length.
inline int64_t chain_of(int64_t channels) {
  const int64_t chains = std::max<int64_t>(channels > 8 ? 2 : 1, (channels + 31) / 32);
  return (channels + chains - 1) / chains;
}

// scores[i][t] = bias + q_i . k_(start + t) for rows i and offsets t of one tile and one key row.
template <class E>
struct ScoreJob {
  const E* q;  // [dim][kRows][lanes], at the first row
  const E* k;  // [dim][k_stride], at the tile's first key of offset 0
  int64_t k_stride;
  int64_t dim, chain;
  Keys keys;
  const int32_t* index;  // the tile's picks
  // What is added: one vector per offset (bias_step = lanes) or one number (bias_step = 1), row i
  // bias_row entries before row 0; null: nothing.
  const E* bias;
  int64_t bias_step;
  int64_t bias_row;
  E* scores;  // [rows][row_stride] of [offset][lanes]
  int64_t row_stride;
  E factor;  // of pairs' products; single ones bring it along in q
};

// Adds to the products of some channels the bias, or later the scores so far. Not the other way round: sums that start
// at the bias round at its size throughout.
template <class S, class O, class E, int R, int T>
inline __attribute__((always_inline)) void add_rest(const ScoreJob<E>& job, int64_t t0, bool first,
                                                    typename S::Vector (&sum)[R][T]) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V factor = S::set(job.factor);
  const auto add_to = [&](V rest, V& products) {
    if constexpr (O::kWidth == 1) {
      products = S::add(products, rest);
    } else {
      products = S::fma(factor, products, rest);
    }
  };
  if (!first) {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) add_to(S::load(job.scores + i * job.row_stride + (t0 + t) * W), sum[i][t]);
    }
  } else if (job.bias == nullptr) {
    if constexpr (O::kWidth == 1) return;
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) sum[i][t] = S::mul(factor, sum[i][t]);
    }
  } else if (job.bias_step == 1) {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) add_to(S::set(job.bias[t0 + t - i * job.bias_row]), sum[i][t]);
    }
  } else {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) add_to(S::load(job.bias + (t0 + t) * W - i * job.bias_row), sum[i][t]);
    }
  }
}

// The keys of window offsets 0 .. T - 1 at one channel, by how they reach the lanes.
template <class S, class E, int T, Keys kKeys>
class KeyVectors {
  static constexpr bool kPicked = kKeys == Keys::kPicked;

 public:
  // index: the first offset's.
  explicit KeyVectors(const typename S::Index* index) : stored_(index) {
    if constexpr (kPicked && !S::kNearPicks) {
      index_[0] = *index;
      NATTEN_UNROLL
      for (int t = 1; t < T; ++t) index_[t] = S::add(index_[0], t);
    }
  }
  void at(const E* k) {
    k_ = k;
    if constexpr (!kPicked) return;
    if constexpr (S::kNearPicks) {
      // Loaded anew: it would take a register from the sums.
      asm("" : "+r"(stored_));
      near_ = *stored_;
    } else {
      low_ = S::load(k), high_ = S::load(k + S::kLanes);
    }
  }
  typename S::Vector operator[](int t) const {
    if constexpr (kKeys == Keys::kShifted) {
      return S::pinned(S::load(k_ + t));
    } else if constexpr (kKeys == Keys::kSame) {
      return S::pinned(S::set(k_[t]));
    } else if constexpr (S::kNearPicks) {
      return S::pinned(S::pick(S::load(k_ + t), near_));
    } else {
      return S::pick(low_, index_[t], high_);
    }
  }

 private:
  const E* k_;
  typename S::Vector low_, high_;
  typename S::Index near_, index_[S::kNearPicks ? 1 : T];
  const typename S::Index* stored_;
};

template <class S, class O, class E, int R, int T, Keys kKeys>
void score_block(const ScoreJob<E>& job, int64_t t0) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const E* q = job.q;
  const E* k = job.k + t0;
  typename S::Index index;
  if constexpr (kKeys == Keys::kPicked) index = S::load_index(job.index);
  KeyVectors<S, E, T, kKeys> keys(&index);
  for (int64_t d = 0; d < job.dim;) {
    const bool first = d == 0;
    const int64_t end = std::min(d + job.chain, job.dim);
    V sum[R][T];
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) sum[i][t] = S::zero();
    }
    NATTEN_UNROLL_TWICE
    for (; d < end; ++d, q += kRows * W, k += job.k_stride) {
      keys.at(k);
      // The fewer are held in registers, the others pass through one.
      if constexpr (T < R) {
        V key[T];
        NATTEN_UNROLL
        for (int t = 0; t < T; ++t) key[t] = keys[t];
        NATTEN_UNROLL
        for (int i = 0; i < R; ++i) {
          const V query = S::pinned(S::load(q + i * W));
          NATTEN_UNROLL
          for (int t = 0; t < T; ++t) sum[i][t] = O::fma(query, key[t], sum[i][t]);
        }
      } else {
        V query[R];
        NATTEN_UNROLL
        for (int i = 0; i < R; ++i) query[i] = S::pinned(S::load(q + i * W));
        NATTEN_UNROLL
        for (int t = 0; t < T; ++t) {
          const V key = keys[t];
          NATTEN_UNROLL
          for (int i = 0; i < R; ++i) sum[i][t] = O::fma(query[i], key, sum[i][t]);
        }
      }
    }
    add_rest<S, O>(job, t0, first, sum);
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) S::store(job.scores + i * job.row_stride + (t0 + t) * W, sum[i][t]);
    }
  }
}

// Window offsets that R rows take at a time: as many sums as registers hold beside queries and keys.
template <class S>
constexpr int offsets_at_a_time(int rows, Keys keys) {
  if constexpr (!S::kNearPicks) {
    if (keys == Keys::kPicked) return std::min(S::offsets(rows), S::kPickedOffsets);
  }
  return S::offsets(rows);
}

// So many blocks of offsets n offsets of `rows` rows are at least.
template <class S>
constexpr int64_t offset_blocks(int rows, int64_t n) {
  const int most = offsets_at_a_time<S>(rows, Keys::kShifted);
  return (n + most - 1) / most;
}

// Runs the block of `size` offsets, 1 .. T.
template <class S, class O, class E, int R, int T, Keys kKeys>
inline void score_offsets(const ScoreJob<E>& job, int64_t t, int64_t size) {
  if constexpr (T > 1) {
    if (size < T) return score_offsets<S, O, E, R, T - 1, kKeys>(job, t, size);
  }
  score_block<S, O, E, R, T, kKeys>(job, t);
}

template <class S, class O, class E, int R, Keys kKeys, class Between>
void score_keys(const ScoreJob<E>& job, int64_t n, const Between& between) {
  constexpr int T = offsets_at_a_time<S>(R, kKeys);
  const int64_t blocks = (n + T - 1) / T;
  int64_t t = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t size = n * (b + 1) / blocks - t;
    score_offsets<S, O, E, R, T, kKeys>(job, t, size);
    t += size;
    between();
  }
}

// Offsets 0 .. n - 1 of `rows` rows; between() is called after each few.
template <class S, class O, class E, int R, class Between>
void score_rows(const ScoreJob<E>& job, int64_t n, const Between& between) {
  if (job.keys == Keys::kShifted) return score_keys<S, O, E, R, Keys::kShifted>(job, n, between);
  if constexpr (S::kNearPicks) {
    if (job.keys == Keys::kSame) return score_keys<S, O, E, R, Keys::kSame>(job, n, between);
  }
  score_keys<S, O, E, R, Keys::kPicked>(job, n, between);
}

template <class S, class O, class E, class Between>
void score(const ScoreJob<E>& job, int rows, int64_t n, const Between& between) {
  if (rows == 4) return score_rows<S, O, E, 4>(job, n, between);
  if (rows == 3) return score_rows<S, O, E, 3>(job, n, between);
  if (rows == 2) return score_rows<S, O, E, 2>(job, n, between);
  score_rows<S, O, E, 1>(job, n, between);
}

// One key row's share in the sums: rows low .. high - 1 of the block weigh its values.
template <class E>
struct SumStep {
  const E* values;  // the key row, [position][stride]
  int64_t scores;   // offset of its first vector in each row's scores
  int64_t count;    // window offsets, or pairs of them
  int low, high;
};

// Adds to sum[c][i] the values under query column c's window, for rows Low .. High - 1.
template <class S, class O, class E, int C, int R, int N, int Low, int High>
inline __attribute__((always_inline)) void sum_step(typename S::Vector (&sum)[C][R][N], const E* const (&values)[C],
                                                    int64_t stride, const E* scores, int64_t row_stride,
                                                    int64_t count) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  for (int64_t t = 0; t < count; ++t) {
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) {
      const E* const at = values[c] + t * O::kWidth * stride;
      // The fewer are held in registers, the others pass through one.
      if constexpr (High - Low < N) {
        V weight[R];
        NATTEN_UNROLL
        for (int i = Low; i < High; ++i) weight[i] = S::pinned(S::set(scores[i * row_stride + t * W + c]));
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) {
          const V value = S::pinned(S::load(at + n * W));
          NATTEN_UNROLL
          for (int i = Low; i < High; ++i) sum[c][i][n] = O::fma(weight[i], value, sum[c][i][n]);
        }
      } else {
        V value[N];
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) value[n] = S::pinned(S::load(at + n * W));
        NATTEN_UNROLL
        for (int i = Low; i < High; ++i) {
          const V weight = S::pinned(S::set(scores[i * row_stride + t * W + c]));
          NATTEN_UNROLL
          for (int n = 0; n < N; ++n) sum[c][i][n] = O::fma(weight, value[n], sum[c][i][n]);
        }
      }
    }
  }
}

template <class E>
struct SumJob {
  const SumStep<E>* steps;
  int64_t step_count;
  int64_t value_stride;
  const int64_t* start;  // of each query column: its window's first packed position
  const E* scores;       // [rows][row_stride], at the first query column's lane
  int64_t row_stride;
  int first_row = 0;  // of the block's, where sums start: scores are at it, steps count from the block's first
};

// Runs steps begin .. end - 1 over the accumulators, which stay in registers throughout.
template <class S, class O, class E, int C, int R, int N>
inline __attribute__((always_inline)) void sum_steps(typename S::Vector (&sum)[C][R][N], const SumJob<E>& job,
                                                     int64_t begin, int64_t end, int64_t channel) {
  for (int64_t s = begin; s < end; ++s) {
    const SumStep<E>& step = job.steps[s];
    const E* values[C];
    NATTEN_UNROLL
    for (int c = 0; c < C; ++c) values[c] = step.values + job.start[c] * job.value_stride + channel;
    const E* const scores = job.scores + step.scores;
#define NATTEN_SUM(low, high)                                                                                   \
  case (low) * 8 + (high):                                                                                      \
    if constexpr ((high) <= R)                                                                                  \
      sum_step<S, O, E, C, R, N, low, high>(sum, values, job.value_stride, scores, job.row_stride, step.count); \
    break;
    const int low = std::max(step.low - job.first_row, 0), high = std::min(step.high - job.first_row, R);
    switch (low * 8 + high) {
      NATTEN_SUM(0, 4)
      NATTEN_SUM(0, 3)
      NATTEN_SUM(0, 2)
      NATTEN_SUM(0, 1)
      NATTEN_SUM(1, 4)
      NATTEN_SUM(1, 3)
      NATTEN_SUM(1, 2)
      NATTEN_SUM(2, 4)
      NATTEN_SUM(2, 3)
      NATTEN_SUM(3, 4)
    }
#undef NATTEN_SUM
  }
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
