// Scores by products of matrices: of all keys that a tile's windows span with all of its queries. Lanes then take
// theirs: what offset t is to lane l lies index[l] positions further on. Sixteen lanes of sixteen positions are moved
// by the bits of their indices, so that every window's scores are as in scores.h, and none of a key outside it is used.
#pragma once

#include "blocks.h"
#include "scores.h"

namespace natten::cpu {
namespace NATTEN_ISA {

constexpr int kMovedOffsets = 8;  // window offsets that are moved at a time

// By how many positions each lane moves, bit by bit.
template <class S, class O>
struct Moves {
  typename O::Lanes one, two, four, eight, sixteen;

  explicit Moves(const int32_t* index_) {
    const typename S::Index index = S::load_index(index_);
    one = O::lanes_with(index, 1), two = O::lanes_with(index, 2), four = O::lanes_with(index, 4);
    eight = O::lanes_with(index, 8), sixteen = O::lanes_with(index, 16);
  }
};

// moved[t] = products[t + index[l]][l]. Far: some index is 16 or more.
template <class S, class O, class E, int T, bool Far>
inline __attribute__((always_inline)) void move(const E* products, const Moves<S, O>& moves,
                                                typename S::Vector (&moved)[T]) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const auto at = [&](int position) {
    const V near = S::load(products + position * W);
    if constexpr (!Far) return near;
    return O::blend(moves.sixteen, near, S::load(products + (position + 16) * W));
  };
  V x[T + 7];
  NATTEN_UNROLL
  for (int t = 0; t < T + 7; ++t) x[t] = O::blend(moves.eight, at(t), at(t + 8));
  NATTEN_UNROLL
  for (int t = 0; t < T + 3; ++t) x[t] = O::blend(moves.four, x[t], x[t + 4]);
  NATTEN_UNROLL
  for (int t = 0; t < T + 1; ++t) x[t] = O::blend(moves.two, x[t], x[t + 2]);
  NATTEN_UNROLL
  for (int t = 0; t < T; ++t) moved[t] = O::blend(moves.one, x[t], x[t + 1]);
}

// T offsets of one row, from offset t on, to where its scores go.
template <class S, class O, class E, int T, bool Far>
inline __attribute__((always_inline)) void take_offsets(const ScoreJob<E>& row, const E* products,
                                                        const Moves<S, O>& moves, int64_t t) {
  constexpr int W = S::kLanes;
  E* const scores = row.scores + t * W;  // a copy: after a store the compiler would read it again
  typename S::Vector sum[1][T];
  move<S, O, E, T, Far>(products, moves, sum[0]);
  add_rest<S, O>(row, t, /*first=*/true, scores, sum);
  NATTEN_UNROLL
  for (int i = 0; i < T; ++i) S::store(scores + i * W, sum[0][i]);
}

// All offsets of one row.
template <class S, class O, class E, bool Far>
void take_row(const ScoreJob<E>& row, const E* products, const Moves<S, O> moves, int64_t count) {
  constexpr int W = S::kLanes;
  int64_t t = 0;
  for (; t + kMovedOffsets < count; t += kMovedOffsets) {
    take_offsets<S, O, E, kMovedOffsets, Far>(row, products + t * W, moves, t);
  }
#define NATTEN_TAKE(n)                                              \
  case n:                                                           \
    take_offsets<S, O, E, n, Far>(row, products + t * W, moves, t); \
    break;
  static_assert(kMovedOffsets == 8);
  switch (count - t) {
    NATTEN_TAKE(1)
    NATTEN_TAKE(2)
    NATTEN_TAKE(3)
    NATTEN_TAKE(4)
    NATTEN_TAKE(5)
    NATTEN_TAKE(6)
    NATTEN_TAKE(7)
    NATTEN_TAKE(8)
  }
#undef NATTEN_TAKE
}

// Two rows of a block and a key row that one of them sees at least.
template <class E>
struct MatrixStep {
  const E* keys;     // the key row's matrix, at the step's first offset of packed position 0
  int64_t scores;    // of row `low`
  int64_t bias_row;  // of row `low`
  int64_t offset;    // the first window offset
  int64_t count;     // window offsets
  int first;         // of the two rows
  int low, high;     // rows whose scores are wanted
};

// The scores of one tile and chunk. The matrix unit answers late, so what is asked for goes through a pipeline: the
// next keys are loaded before a product, its sums are stored while the next one is formed, and lanes take them two
// steps later. Registers 0 and 1 or, by turns, 2 and 3 are the sums of two rows, 4 and 5 keys by turns, 6 and 7 the two
// rows' queries.
template <class S, class O, class E>
class MatrixScores {
  static constexpr int W = S::kLanes;
  // From row to row of products: whole matrices of a step's offsets, with any tile's picks.
  static constexpr int64_t kRow = (kStepOffsets + 2 * W + W - 1) / W * W * W;
  static constexpr int64_t kSlots = 4;  // three are in use, four are found without a division

 public:
  // job: what all steps share, its q of the block's first row, its bias of bias row 0, its scores of the chunk.
  // first: of the tile in a step's keys.
  MatrixScores(const ScoreJob<E>& job, int64_t first, int64_t span)
      : job_(job), first_(first), span_(span), moves_(job.index) {}

  template <class Between>
  void run(const MatrixStep<E>* steps, const MatrixStep<E>* end, const Between& between) {
    if (steps == end) return;
    begin_ = steps;
    before_ = products_[kSlots - 1][0];
    if (job_.dim == W) {
      load_queries(steps->first);
      O::template load<4>(keys_of(*steps), job_.k_stride);
    }
    bool odd = false;
    for (const MatrixStep<E>* step = steps; step < end; ++step) {
      const E* k = keys_of(*step);
      const MatrixStep<E>* const next = step + 1 < end ? step + 1 : step;
      const int64_t matrices = (step->count + span_ + W - 1) / W;
      E* products = products_of(step);
      for (int64_t m = 1; m <= matrices; ++m, products += W * W) {
        const E* const k_next = m < matrices ? k + W * job_.k_stride : keys_of(*next);
        if (odd) {
          multiply<1>(step->first, k, k_next);
        } else {
          multiply<0>(step->first, k, k_next);
        }
        odd = !odd;
        k = k_next;
        before_ = products;
        if (m == 1 && step - steps >= 2) take(step - 2, 0, between);
      }
      if (step - steps >= 2) take(step - 2, 1, between);
      if (job_.dim == W && next->first != step->first) load_queries(next->first);
    }
    if (odd) {
      store<0>();
    } else {
      store<2>();
    }
    for (const MatrixStep<E>* step = std::max(steps, end - 2); step < end; ++step) {
      for (int i = 0; i < 2; ++i) take(step, i, between);
    }
  }

 private:
  const E* keys_of(const MatrixStep<E>& step) const { return step.keys + first_; }
  E* products_of(const MatrixStep<E>* step) { return products_[(step - begin_) % kSlots][0]; }

  void load_queries(int first) const {
    O::template load<6>(job_.q + first * W, kRows * W);
    O::template load<7>(job_.q + (first + 1) * W, kRows * W);
  }

  // Of the matrix of keys at k with rows first and first + 1; kOdd: which registers' turn it is. The sums of the one
  // before are stored meanwhile.
  template <int kOdd>
  inline __attribute__((always_inline)) void multiply(int first, const E* k, const E* k_next) {
    constexpr int sum = 2 * kOdd, last = 2 - sum;
    if (job_.dim == W) {
      O::template load<5 - kOdd>(k_next, job_.k_stride);
      first_products<sum, last, 4 + kOdd>();
      return;
    }
    const E* q = job_.q + first * W;
    load_channels<4>(q, k);
    first_products<sum, last, 4>();
    int64_t d = W;
    for (; d + W < job_.dim; d += 2 * W) {
      more_products<sum, 5>(q + d * kRows * W, k + d);
      more_products<sum, 4>(q + (d + W) * kRows * W, k + d + W);
    }
    if (d < job_.dim) more_products<sum, 5>(q + d * kRows * W, k + d);
  }
  template <int Keys>
  void load_channels(const E* q, const E* k) const {
    O::template load<Keys>(k, job_.k_stride);
    O::template load<6>(q, kRows * W);
    O::template load<7>(q + W, kRows * W);
  }
  template <int Sum, int Last, int Keys>
  void first_products() const {
    O::template zero<Sum>();
    O::template multiply<Sum, Keys, 6>();
    O::template store<Last>(before_, W);
    O::template zero<Sum + 1>();
    O::template multiply<Sum + 1, Keys, 7>();
    O::template store<Last + 1>(before_ + kRow, W);
  }
  template <int Sum, int Keys>
  void more_products(const E* q, const E* k) const {
    load_channels<Keys>(q, k);
    O::template multiply<Sum, Keys, 6>();
    O::template multiply<Sum + 1, Keys, 7>();
  }
  template <int Sum>
  void store() const {
    O::template store<Sum>(before_, W);
    O::template store<Sum + 1>(before_ + kRow, W);
  }

  // The scores of a step's row i, if they are wanted.
  template <class Between>
  inline __attribute__((always_inline)) void take(const MatrixStep<E>* step, int i, const Between& between) {
    const int row = step->first + i - step->low;
    if (row < 0 || step->first + i >= step->high) return;
    ScoreJob<E> job = job_;
    job.scores += step->scores + row * kScoresRow<S>;
    if (job.bias != nullptr) job.bias += (step->bias_row - row) * job.bias_row + step->offset * job.bias_step;
    const E* const products = products_of(step) + i * kRow;
    if (span_ < 16) {
      take_row<S, O, E, false>(job, products, moves_, step->count);
    } else {
      take_row<S, O, E, true>(job, products, moves_, step->count);
    }
    if (i == 0) between();
  }

  const ScoreJob<E> job_;
  const int64_t first_, span_;
  const Moves<S, O> moves_;
  const MatrixStep<E>* begin_ = nullptr;
  E* before_ = nullptr;  // where the sums go that are not stored yet
  alignas(64) E products_[kSlots][2][kRow];
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
