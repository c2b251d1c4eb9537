// The inner loop of scores: products of query tiles with packed keys (lanes are queries).
#pragma once

#include "score_keys.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// Accumulators stay in registers only if the loops over them are gone before gcc looks at the array.
#define NATTEN_UNROLL _Pragma("GCC unroll 16")
// Of a long loop: fewer branches, and loads that run ahead.
#define NATTEN_UNROLL_TWICE _Pragma("GCC unroll 2")

// A chunk's scores stay in the first-level cache: so many vectors of all rows together, and room for so many of each.
constexpr int64_t kChunkScores = 352, kChunkSlots = kChunkScores / 2;

// From row to row of a block's scores.
template <class S>
constexpr int64_t kScoresRow = kChunkSlots * S::kLanes;

// The products of so many channels make one chain of additions: what a chain rounds off grows with its length.
inline int64_t chain_of(int64_t channels) {
  const int64_t chains = std::max<int64_t>(channels > 8 ? 2 : 1, (channels + 31) / 32);
  return (channels + chains - 1) / chains;
}

// scores[i][t] = bias + q_i . k_(start + t) for rows i and offsets t of one tile and one key row.
template <class E>
struct ScoreJob {
  const E* q;  // [dim][kRows][lanes], at the first row
  const E* k;  // [dim][k_stride] (or [position][k_stride], see matrix_scores.h), at the tile's first key of offset 0
  int64_t k_stride;
  int64_t dim, chain;
  Keys keys;
  const int32_t* index;  // the tile's picks
  // What is added: one vector per offset (bias_step = lanes) or one number (bias_step = 1), row i
  // bias_row entries before row 0; null: nothing.
  const E* bias;
  int64_t bias_step;
  int64_t bias_row;
  E* scores;  // rows kScoresRow apart, of [offset][lanes]
  E factor;   // of pairs' products; single ones bring it along in q
};

// Adds to the products of some channels the bias, or later the scores so far. Not the other way round: sums that start
// at the bias round at its size throughout.
template <class S, class O, class E, int R, int T>
inline __attribute__((always_inline)) void add_rest(const ScoreJob<E>& job, int64_t t0, bool first, const E* scores,
                                                    typename S::Vector (&sum)[R][T]) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V factor = S::set(job.factor);
  const E* const bias = job.bias;
  const int64_t bias_row = job.bias_row;
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
      for (int t = 0; t < T; ++t) add_to(S::load(scores + i * kScoresRow<S> + t * W), sum[i][t]);
    }
  } else if (bias == nullptr) {
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
      for (int t = 0; t < T; ++t) add_to(S::set(bias[t0 + t - i * bias_row]), sum[i][t]);
    }
  } else {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) add_to(S::load(bias + (t0 + t) * W - i * bias_row), sum[i][t]);
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
  // Copies: after a store of vectors the compiler would read the job again.
  E* const scores = job.scores + t0 * W;
  const int64_t dim = job.dim, chain = job.chain, k_stride = job.k_stride;
  for (int64_t d = 0; d < dim;) {
    const bool first = d == 0;
    const int64_t end = std::min(d + chain, dim);
    V sum[R][T];
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) sum[i][t] = S::zero();
    }
    NATTEN_UNROLL_TWICE
    for (; d < end; ++d, q += kRows * W, k += k_stride) {
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
    add_rest<S, O>(job, t0, first, scores, sum);
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      NATTEN_UNROLL
      for (int t = 0; t < T; ++t) S::store(scores + i * kScoresRow<S> + t * W, sum[i][t]);
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

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
