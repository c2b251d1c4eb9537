// The scores of one tile with the key rows of its block, as all drivers set them up.
#pragma once

#include "bias.h"
#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
class TileScores {
 public:
  // factor: of pairs' products, see ScoreJob.
  TileScores(const Tile& tile, int64_t dim, int64_t k_stride, E factor) : base_(tile.base) {
    job_.k_stride = k_stride;
    job_.dim = dim;
    job_.chain = chain_of(dim);
    job_.factor = factor;
    job_.keys = tile.keys;
    job_.index = tile.index.data();
  }
  void add_bias(const LaneBias<E>& bias, const Tile& tile, const Block& block, int64_t member) {
    bias_ = bias.of(tile, member);
    job_.bias_step = tile.uniform ? 1 : tile.index.size();
    job_.bias_row = block.stacked ? tile.index.size() : bias.row_stride(tile);
  }
  // The scores of one step, to their slots in `scores`. q_tile: see ScoreJob; keys: of packed position 0.
  template <class S, class O, class Between>
  void run(const Step& step, const E* q_tile, const E* keys, E* scores, const Between& between) {
    constexpr int W = S::kLanes;
    job_.q = q_tile + step.low * W;
    job_.k = keys + base_ + step.first;
    if (bias_ != nullptr) job_.bias = bias_ + step.bias_row * job_.bias_row + step.first * job_.bias_step;
    job_.scores = scores + step.low * kScoresRow<S> + step.slot * W;
    score<S, O>(job_, step.high - step.low, step.count, between);
  }

 private:
  ScoreJob<E> job_{};
  const int64_t base_;
  const E* bias_ = nullptr;  // of bias row 0
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
