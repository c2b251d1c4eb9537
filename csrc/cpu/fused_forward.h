// Fused forward: scores, softmax and weighted sum of one tile at a time, the
// softmax running over chunks of key rows as in FlashAttention.
#pragma once

#include <ATen/Parallel.h>

#include "forward_keys.h"
#include "sums.h"
#include "tile_scores.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// After a chunk of weights relative to `highest`: their sum joins that of the chunks before, which is rescaled.
template <class S, class E>
inline void keep_total(typename S::Vector total, typename S::Vector highest, E* highest_, E* total_, E* rescale_,
                       bool first) {
  if (!first) {
    const typename S::Vector lowest = S::set(-std::numeric_limits<E>::max());
    const typename S::Vector rescale = S::exp2(S::sub(S::max(S::load(highest_), lowest), S::max(highest, lowest)));
    S::store(rescale_, rescale);
    total = S::fma(S::load(total_), rescale, total);
  }
  S::store(highest_, highest);
  S::store(total_, total);
}

// Scores of one row become weights relative to the highest so far.
template <class S, class E>
__attribute__((noinline)) void softmax_chunk(const std::vector<SlotRange>& ranges, E* scores, E* highest_, E* total_,
                                             E* rescale_, bool first) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V lowest = S::set(-std::numeric_limits<E>::max());
  // Four chains: a maximum takes as many cycles on Intel's cores.
  V highest = first ? S::set(-std::numeric_limits<E>::infinity()) : S::load(highest_);
  V others[3] = {highest, highest, highest};
  for (const SlotRange& range : ranges) {
    int64_t s = range.begin;
    for (; s + 3 < range.end; s += 4) {
      highest = S::max(highest, S::load(scores + s * W));
      NATTEN_UNROLL
      for (int i = 0; i < 3; ++i) others[i] = S::max(others[i], S::load(scores + (s + 1 + i) * W));
    }
    for (; s < range.end; ++s) highest = S::max(highest, S::load(scores + s * W));
  }
  highest = S::max(S::max(highest, others[0]), S::max(others[1], others[2]));
  const V shift = S::max(highest, lowest);  // -infinity where all is masked: weights 0, not NaN
  V totals[2] = {S::zero(), S::zero()};
  const auto weigh = [&](int64_t s) {
    const V weight = S::exp2(S::sub(S::load(scores + s * W), shift));
    S::store(scores + s * W, weight);
    return weight;
  };
  for (const SlotRange& range : ranges) {
    int64_t s = range.begin;
    for (; s + 3 < range.end; s += 4) {
      const V a = weigh(s), b = weigh(s + 1);
      totals[0] = S::add(totals[0], S::add(a, b));
      const V c = weigh(s + 2), d = weigh(s + 3);
      totals[1] = S::add(totals[1], S::add(c, d));
    }
    for (; s < range.end; ++s) totals[0] = S::add(totals[0], weigh(s));
  }
  keep_total<S>(S::add(totals[0], totals[1]), highest, highest_, total_, rescale_, first);
}

// softmax_chunk of row `row` whose weights become pairs: of neighbouring window offsets of a step, in place; an odd one
// is paired with zero.
template <class S, class O, class E>
__attribute__((noinline)) void softmax_pairs(const Step* steps, int64_t count, int row, E* scores, E* highest_,
                                             E* total_, E* rescale_, bool first) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V lowest = S::set(-std::numeric_limits<E>::max());
  V highest = first ? S::set(-std::numeric_limits<E>::infinity()) : S::load(highest_), other = highest;
  for (int64_t s = 0; s < count; ++s) {
    if (row < steps[s].low || row >= steps[s].high) continue;
    const E* const at = scores + steps[s].slot * W;
    int64_t t = 0;
    for (; t + 1 < steps[s].count; t += 2) {
      highest = S::max(highest, S::load(at + t * W));
      other = S::max(other, S::load(at + (t + 1) * W));
    }
    if (t < steps[s].count) highest = S::max(highest, S::load(at + t * W));
  }
  highest = S::max(highest, other);
  const V shift = S::max(highest, lowest);  // -infinity where all is masked: weights 0, not NaN
  V total0 = S::zero(), total1 = S::zero();
  for (int64_t s = 0; s < count; ++s) {
    if (row < steps[s].low || row >= steps[s].high) continue;
    E* const at = scores + steps[s].slot * W;
    int64_t t = 0;
    for (; t + 1 < steps[s].count; t += 2) {
      const V a = O::exp2(S::sub(S::load(at + t * W), shift));
      const V b = O::exp2(S::sub(S::load(at + (t + 1) * W), shift));
      S::store(at + t / 2 * W, O::round(a, b));
      total0 = S::add(total0, a);
      total1 = S::add(total1, b);
    }
    if (t < steps[s].count) {
      const V a = O::exp2(S::sub(S::load(at + t * W), shift));
      S::store(at + t / 2 * W, O::round(a, S::zero()));
      total0 = S::add(total0, a);
    }
  }
  keep_total<S>(S::add(total0, total1), highest, highest_, total_, rescale_, first);
}

// One thread's share of a call.
// O: how products are formed.
template <class S, class O, class T>
class ForwardWorker {
  using E = acc_t<T>;
  using V = typename S::Vector;
  using Sums = typename O::Sums;
  static constexpr int W = S::kLanes;

 public:
  explicit ForwardWorker(const ForwardCall<T>& call)
      : call_(call),
        p_(call.p),
        bias_(call.p, call.plan, call.bias),
        keys_(call),
        channels_(keys_.channels()),
        factor_(static_cast<E>(call.p.scale * 1.4426950408889634)),
        q_tile_(keys_.score_keys().dims() * kRows * W),
        scores_(kRows * kScoresRow<S> + W),
        partial_(kRows * W * channels_) {
    clear_queries(keys_.score_keys(), q_tile_.data());
  }

  void run(const Units& units, int64_t begin, int64_t end) {
    const typename O::Session session;
    run_blocks(p_, call_.plan, units, begin, end, *this, prefetch_);
  }

  // See run_blocks.
  void begin(const Stop& stop) {
    keys_.pack(stop);
    sums_.clear();
    const std::vector<Step>& steps = stop.block.steps;
    for (size_t s = 0; s < steps.size(); ++s) {
      const Step& step = steps[s];
      sums_.push_back({keys_.values(static_cast<int64_t>(s)) + step.first * channels_, step.slot * W,
                       step.count / Sums::kWidth, step.low, step.high, step.count % Sums::kWidth != 0});
    }
    score_plan_.set(stop.block, keys_.score_keys(), [&](int64_t s) { return keys_.row(s); });
    bias_.turn_to(stop);
  }
  void plan_prefetch(const Stop& stop, Prefetch& prefetch) const { keys_.plan_prefetch(stop, prefetch); }
  int64_t turns(const Stop& stop) const { return stop.block.turns<S>(1, sum_turns<S>(stop.block.rows, channels_)); }
  void finish_unit(const Stop&, const Stop*) {}

  void run_tile(const Stop& stop, const Tile& tile, int64_t member) {
    const Block& block = stop.block;
    bias_.turn_to(tile, member);
    Output<E, T> output{};
    output.offset = call_.out.at.data() + tile.first;
    output.offset_row = block.lane_step(1, W);
    output.row_count = block.rows;
    output.channels = p_.value_dim;
    for (int i = 0; i < block.rows; ++i) {
      const T* const q_row = call_.q.template query_row<const T>(stop, i, member);
      const int64_t* const q_at = call_.q.at.data() + tile.first + block.lane_step(i, W);
      pack_queries<S, O>(q_row, q_at, tile.lanes, p_.dim, factor_, q_tile_.data() + i * W, kRows * W);
      output.rows[i] = call_.out.template query_row<T>(stop, i, member);
    }
    if (!keys_.fits_ahead(block)) prefetch_lines(output, tile);
    int64_t start[W];
    tile.starts(keys_.origin(), start);
    output.rescale = rescale_[0];
    output.inverse = inverse_[0];
    output.partial = partial_.data();
    output.partial_row = W * channels_;
    output.partial_stride = channels_;

    const auto fetch = [&] { prefetch_.turn(); };
    for (size_t c = 0; c < block.chunks.size(); ++c) {
      const Chunk& chunk = block.chunks[c];
      output.first = c == 0;
      output.last = c + 1 == block.chunks.size();
      score_chunk(stop, tile, member, c);
      for (int i = 0; i < block.rows; ++i) {
        E* const scores = scores_.data() + i * kScoresRow<S>;
        if constexpr (Sums::kWidth == 1) {
          softmax_chunk<S>(chunk.ranges[i], scores, highest_[i], total_[i], rescale_[i], output.first);
        } else {
          softmax_pairs<S, Sums>(block.steps.data() + chunk.first_step, chunk.step_count, i, scores, highest_[i],
                                 total_[i], rescale_[i], output.first);
        }
        if (output.last) S::store(inverse_[i], S::div(S::set(E(1)), S::load(total_[i])));
      }
      const SumJob<E> job{sums_.data() + chunk.first_step, chunk.step_count, channels_, start, scores_.data()};
      sum_tile<S, Sums, E, T>(job, output, tile.lanes, channels_, fetch);
    }
    if (call_.lse.view.data != nullptr) store_lse(stop, tile, member);
  }

 private:
  // Fetches where a tile's results go.
  static void prefetch_lines(const Output<E, T>& output, const Tile& tile) {
    const int64_t bytes = output.channels * static_cast<int64_t>(sizeof(T));
    for (int i = 0; i < output.row_count; ++i) {
      for (int l = 0; l < tile.lanes; ++l) {
        const char* const to = reinterpret_cast<const char*>(output.rows[i] + output.offset[i * output.offset_row + l]);
        for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(to + byte, 1, 2);
      }
    }
  }

  void score_chunk(const Stop& stop, const Tile& tile, int64_t member, size_t chunk) {
    TileScores<S, O, E> scores(tile, keys_.score_keys(), keys_.origin(), factor_);
    scores.add_bias(bias_, tile, stop.block, member);
    scores.run(score_plan_, chunk, q_tile_.data(), scores_.data(), [&] { prefetch_.turn(); });
  }

  void store_lse(const Stop& stop, const Tile& tile, int64_t member) {
    for (int i = 0; i < stop.block.rows; ++i) {
      E natural[W];
      const V sum = S::add(S::load(highest_[i]), S::log2(S::load(total_[i])));
      S::store(natural, S::mul(sum, S::set(static_cast<E>(0.6931471805599453))));
      E* const row = call_.lse.template query_row<E>(stop, i, member);
      const int64_t* const at = call_.lse.at.data() + tile.first + stop.block.lane_step(i, W);
      for (int l = 0; l < tile.lanes; ++l) row[at[l]] = natural[l];
    }
  }

  const ForwardCall<T>& call_;
  const Problem& p_;
  LaneBias<E> bias_;
  ForwardKeys<S, O, T> keys_;
  const int64_t channels_;
  const E factor_;
  Prefetch prefetch_;
  ScorePlan<S, O, E> score_plan_;
  std::vector<SumStep<E>> sums_;  // of each step
  Buffer<E> q_tile_, scores_, partial_;
  E highest_[kRows][W], total_[kRows][W], rescale_[kRows][W], inverse_[kRows][W];
};

template <class S, class T>
void tiled_forward(const Problem& p, const RowPlan& plan, const BiasTable<acc_t<T>>& bias, const View& q, const View& k,
                   const View& v, const View& out, const View& lse, bool deterministic) {
  const ForwardCall<T> call(p, plan, bias, q, k, v, out, lse);
  const Units units = units_of(p, plan, threads_of(deterministic));
  at::parallel_for(0, units.count(), 1, [&](int64_t begin, int64_t end) {
    ForwardWorker<S, typename ProductsOf<S, T>::type, T>(call).run(units, begin, end);
  });
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
