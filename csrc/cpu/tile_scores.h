// The scores of one tile with the key rows of its block, as all drivers set them up.
#pragma once

#include "bias.h"
#include "matrix_scores.h"
#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What the scores of all tiles of a block share: where its steps find their keys.
template <class S, class O, class E>
class ScorePlan {
 public:
  // keys_of(s): the matrix of step s's row.
  template <class Rows>
  void set(const Block& block, const ScoreKeys<S, O, E>& keys, const Rows& keys_of) {
    block_ = &block;
    rows_.clear(), steps_.clear(), ends_.clear();
    for (size_t s = 0; s < block.steps.size(); ++s) rows_.push_back(keys_of(static_cast<int64_t>(s)));
    if constexpr (O::kMatrices) {
      for (const Chunk& chunk : block.chunks) {
        for (int first = 0; first < block.rows; first += 2) add_rows(chunk, first, keys.position());
        ends_.push_back(steps_.size());
      }
    }
  }
  const Block& block() const { return *block_; }
  const E* row(int64_t step) const { return rows_[step]; }
  const MatrixStep<E>* begin(size_t chunk) const { return steps_.data() + (chunk == 0 ? 0 : ends_[chunk - 1]); }
  const MatrixStep<E>* end(size_t chunk) const { return steps_.data() + ends_[chunk]; }

 private:
  void add_rows(const Chunk& chunk, int first, int64_t position) {
    for (int64_t s = chunk.first_step; s < chunk.first_step + chunk.step_count; ++s) {
      const Step& step = block_->steps[s];
      const int low = std::max(step.low, first), high = std::min(step.high, first + 2);
      if (low >= high) continue;
      steps_.push_back({rows_[s] + step.first * position, low * kScoresRow<S> + step.slot * S::kLanes,
                        step.bias_row - (low - step.low), step.first, step.count, first, low, high});
    }
  }

  const Block* block_ = nullptr;
  std::vector<const E*> rows_;
  std::vector<MatrixStep<E>> steps_;  // of matrices, chunk by chunk, two rows after the other
  std::vector<size_t> ends_;          // of each chunk
};

template <class S, class O, class E>
class TileScores {
  static constexpr int W = S::kLanes;

 public:
  // origin: the position where the rows at hand begin; factor: of pairs' products, see ScoreJob.
  TileScores(const Tile& tile, const ScoreKeys<S, O, E>& keys, int64_t origin, E factor)
      : first_((tile.base - origin) * keys.position()), span_(tile.span) {
    job_.k_stride = O::kMatrices ? keys.position() : keys.channel();
    job_.dim = keys.dims();
    job_.chain = chain_of(job_.dim);
    job_.factor = factor;
    job_.keys = tile.keys;
    job_.index = tile.index.data();
  }
  void add_bias(const LaneBias<E>& bias, const Tile& tile, const Block& block, int64_t member) {
    bias_ = bias.of(tile, member);
    job_.bias_step = tile.uniform ? 1 : tile.index.size();
    job_.bias_row = block.stacked ? tile.index.size() : bias.row_stride(tile);
  }
  // The scores of a chunk, to their slots in `scores`. q_tile: see ScoreJob.
  template <class Between>
  void run(const ScorePlan<S, O, E>& plan, size_t chunk, const E* q_tile, E* scores, const Between& between) {
    if constexpr (O::kMatrices) {
      job_.q = q_tile, job_.bias = bias_, job_.scores = scores;
      MatrixScores<S, O, E>(job_, first_, span_).run(plan.begin(chunk), plan.end(chunk), between);
    } else {
      const Block& block = plan.block();
      const int64_t begin = block.chunks[chunk].first_step, end = begin + block.chunks[chunk].step_count;
      for (int64_t s = begin; s < end; ++s) {
        const Step& step = block.steps[s];
        job_.q = q_tile + step.low * W;
        job_.k = plan.row(s) + first_ + step.first;
        if (bias_ != nullptr) job_.bias = bias_ + step.bias_row * job_.bias_row + step.first * job_.bias_step;
        job_.scores = scores + step.low * kScoresRow<S> + step.slot * W;
        score<S, O>(job_, step.high - step.low, step.count, between);
      }
    }
  }

 private:
  ScoreJob<E> job_{};
  const int64_t first_, span_;
  const E* bias_ = nullptr;  // of bias row 0
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
