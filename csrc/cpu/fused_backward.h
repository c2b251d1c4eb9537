// Fused backward from the saved log-sum-exp. Each tile's weights are computed
// again; the gradients of keys and values gather in rings beside the packed keys
// and are written out when a row leaves its ring.
//
// With w the weights, x = dout . v and delta the weights' mean of x, the logits'
// slopes are w (x - delta). delta equals dout . out, which is used where the
// softmax spans several chunks, or the problem says so; one chunk has all it needs at hand.
#pragma once

#include "bias_gradient.h"
#include "fused_forward.h"
#include "scatter.h"
#include "seams.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// What units leave behind for the end of a call.
template <class E>
struct Leftovers {
  std::vector<std::vector<E>> bias;         // the bias gradient summed up when the unit was done, or empty
  std::vector<std::vector<Seam<E>>> seams;  // of the unit
};

struct BackwardViews {
  const View &q, &k, &v, &out, &lse, &dout, &dq, &dk, &dv;
};

// What one call knows before it starts.
template <class T>
struct BackwardCall {
  const Problem& p;
  const RowPlan& plan;
  const BiasTable<acc_t<T>>& bias;
  int64_t members;  // query heads of one key head
  Layout q, k, v, out, lse, dout, dq, dk, dv;
  bool bias_gradient;
  bool by_unit;  // sum the bias gradient unit by unit, whichever thread runs it
  int64_t slabs;

  BackwardCall(const Problem& p_, const RowPlan& plan_, const BiasTable<acc_t<T>>& bias_, const BackwardViews& views,
               bool bias_gradient_, bool by_unit_, int64_t slabs_)
      : p(p_),
        plan(plan_),
        bias(bias_),
        members(p.heads / p.kv_heads),
        q(p, plan, views.q, members, p.dim, sizeof(T)),
        k(p, plan, views.k, 1, p.dim, sizeof(T)),
        v(p, plan, views.v, 1, p.value_dim, sizeof(T)),
        out(p, plan, views.out, members),
        lse(p, plan, views.lse, members),
        dout(p, plan, views.dout, members, p.value_dim, sizeof(T)),
        dq(p, plan, views.dq, members, p.dim, sizeof(T)),
        dk(p, plan, views.dk, 1),
        dv(p, plan, views.dv, 1),
        bias_gradient(bias_gradient_),
        by_unit(by_unit_),
        slabs(slabs_) {}
};

// O: how scores are formed; the sums are single.
template <class S, class O, class T>
class BackwardWorker {
  using E = acc_t<T>;
  using V = typename S::Vector;
  static constexpr int W = S::kLanes;

 public:
  BackwardWorker(const BackwardCall<T>& call, Leftovers<E>& leftovers)
      : call_(call),
        p_(call.p),
        bias_(call.p, call.plan, call.bias),
        leftovers_(leftovers),
        bias_sums_(call.plan, call.bias),
        rows_(call.p, call.plan),
        channels_(round_up(call.p.dim, W)),
        value_channels_(round_up(call.p.value_dim, W)),
        score_keys_(call.p.dim, rows_.room()),
        score_values_(call.p.value_dim, rows_.room()),
        // One row of the ring: k and v as scores read them, k, and the gradients of k and v.
        v_at_(score_keys_.size()),
        natural_at_(v_at_ + score_values_.size()),
        dk_at_(natural_at_ + rows_.room() * channels_),
        dv_at_(dk_at_ + rows_.room() * channels_),
        row_size_(odd_lines<E>(dv_at_ + rows_.room() * value_channels_)),
        q_tile_(score_keys_.dims() * kRows * W),
        dout_tile_(score_values_.dims() * kRows * W),
        q_natural_(kRows * W * channels_),
        dout_natural_(kRows * W * value_channels_),
        weights_(kRows * kScoresRow<S> + W),
        slopes_(kRows * kScoresRow<S> + W),
        partial_(kRows * W * channels_) {
    if (call.bias_gradient) bias_sums_.reset();
    clear_queries(score_keys_, q_tile_.data());
    clear_queries(score_values_, dout_tile_.data());
    std::fill(rescale_[0], rescale_[0] + kRows * W, E(1));
    std::fill(scale_[0], scale_[0] + kRows * W, static_cast<E>(p_.scale));
  }

  void run(const Units& units, int64_t begin, int64_t end) {
    const typename O::Session session;
    run_blocks(p_, call_.plan, units, begin, end, *this, prefetch_);
  }

  // See run_blocks.
  void begin(const Stop& stop) {
    if (stop.new_unit) {
      rows_.reset(p_, stop, row_size_);
      ownership_.reset(p_, call_.plan, stop, call_.slabs);
    }
    rows_.visit(
        stop, [&](const Step& step, E* row, int64_t begin, int64_t end) { pack_row(stop, step, row, begin, end); },
        finish(stop),
        [&](E* row, int64_t by, int64_t count) {
          score_keys_.move(row, by, count);
          score_values_.move(row + v_at_, by, count);
          move_rows(row + natural_at_, by, count, channels_);
          move_rows(row + dk_at_, by, count, channels_);
          move_rows(row + dv_at_, by, count, value_channels_);
        });
    k_sums_.clear(), dk_sums_.clear(), dv_sums_.clear();
    const std::vector<Step>& steps = stop.block.steps;
    for (size_t s = 0; s < steps.size(); ++s) {
      const Step& step = steps[s];
      E* const row = rows_[s];
      const int64_t first = step.first, slot = step.slot * W;
      k_sums_.push_back({row + natural_at_ + first * channels_, slot, step.count, step.low, step.high});
      dk_sums_.push_back({row + dk_at_ + first * channels_, slot, step.count, step.low, step.high});
      dv_sums_.push_back({row + dv_at_ + first * value_channels_, slot, step.count, step.low, step.high});
    }
    score_plan_.set(stop.block, score_keys_, [&](int64_t s) { return rows_[s]; });
    slope_plan_.set(stop.block, score_values_, [&](int64_t s) { return rows_[s] + v_at_; });
    bias_.turn_to(stop);
    if (call_.bias_gradient) bias_sums_.turn_to(stop);
  }
  int64_t turns(const Stop& stop) const { return stop.block.turns<S>(2, sum_turns<S>(stop.block.rows, channels_)); }
  void finish_unit(const Stop& stop, const Stop* next) {
    rows_.leave_all(stop, finish(stop));
    if (call_.bias_gradient) bias_sums_.finish_unit(stop, next, call_.by_unit, leftovers_.bias[stop.unit]);
  }

  void plan_prefetch(const Stop& stop, Prefetch& prefetch) const {
    const Block& block = stop.block;
    const int64_t query = block.first_query, last_query = block.last_query;
    if (!fits_ahead(block, call_.q.bytes)) return;
    for (int i = 0; i < (block.stacked ? 1 : block.rows); ++i) {
      for (int64_t member = 0; member < call_.members; ++member) {
        prefetch.add(call_.q.template query_row<const T>(stop, i, member), call_.q, query, last_query);
        prefetch.add(call_.dout.template query_row<const T>(stop, i, member), call_.dout, query, last_query);
        prefetch.add(call_.dq.template query_row<T>(stop, i, member), call_.dq, query, last_query);
      }
    }
    rows_.template plan_prefetch<T>(stop, {&call_.k, &call_.v}, prefetch);
  }

  void run_tile(const Stop& stop, const Tile& tile, int64_t member) {
    const Block& block = stop.block;
    bias_.turn_to(tile, member);
    Output<E, T> output{};
    const bool whole = block.chunks.size() == 1 && !p_.delta_of_out;
    for (int i = 0; i < block.rows; ++i) {
      const T* const q_row = call_.q.template query_row<const T>(stop, i, member);
      const T* const dout_row = call_.dout.template query_row<const T>(stop, i, member);
      const int64_t first = tile.first + block.lane_step(i, W);
      const int64_t *const q_at = call_.q.at.data() + first, *const dout_at = call_.dout.at.data() + first;
      const E scale = static_cast<E>(p_.scale), log2e = static_cast<E>(1.4426950408889634);
      pack_queries<S, O>(q_row, q_at, tile.lanes, p_.dim, scale * log2e, q_tile_.data() + i * W, kRows * W);
      pack_queries<S, O>(dout_row, dout_at, tile.lanes, p_.value_dim, E(1), dout_tile_.data() + i * W, kRows * W);
      pack_natural<S>(q_row, q_at, tile.lanes, p_.dim, q_natural_.data() + i * W * channels_, channels_, scale);
      pack_natural<S>(dout_row, dout_at, tile.lanes, p_.value_dim, dout_natural_.data() + i * W * value_channels_,
                      value_channels_);
      output.rows[i] = call_.dq.template query_row<T>(stop, i, member);
      read_lse(stop, tile, member, i);
      if (!whole) compute_delta(stop, tile, member, i);
    }
    int64_t start[W];
    tile.starts(rows_.origin(), start);
    output.rescale = rescale_[0];
    output.inverse = scale_[0];
    output.partial = partial_.data();
    output.partial_row = W * channels_;
    output.partial_stride = channels_;
    output.offset = call_.dq.at.data() + tile.first;
    output.offset_row = block.lane_step(1, W);
    output.row_count = block.rows;
    output.channels = p_.dim;

    const auto fetch = [&] { prefetch_.turn(); };
    for (size_t c = 0; c < block.chunks.size(); ++c) {
      const Chunk& chunk = block.chunks[c];
      const int64_t first = chunk.first_step, count = chunk.step_count;
      score_chunk(stop, tile, member, c);
      for (int i = 0; i < block.rows; ++i) {
        slopes_of_row(chunk.ranges[i], weights_.data() + i * kScoresRow<S>, slopes_.data() + i * kScoresRow<S>, i,
                      whole);
      }
      if (call_.bias_gradient) bias_sums_.add(block, chunk, tile, member, slopes_.data());
      output.first = c == 0;
      output.last = c + 1 == block.chunks.size();
      const SumJob<E> job{k_sums_.data() + first, count, channels_, start, slopes_.data()};
      sum_tile<S, Single<S>, E, T>(job, output, tile.lanes, channels_, fetch);
      scatter_tile<S>(dk_sums_.data() + first, count, start, channels_, slopes_.data(), q_natural_.data(), tile.lanes);
      scatter_tile<S>(dv_sums_.data() + first, count, start, value_channels_, weights_.data(), dout_natural_.data(),
                      tile.lanes);
    }
    if (call_.bias_gradient) bias_sums_.finish_tile(tile, member);
  }

  void join_seams(const Units& units, int64_t first_unit) {
    cpu::NATTEN_ISA::join_seams<E>(
        p_, call_.plan, units, first_unit, leftovers_.seams, channels_, value_channels_,
        [&](const Stop& stop, int64_t z, int64_t y, const E* keys, const E* values, int64_t begin, int64_t end) {
          write_keys(stop, z, y, keys, values, begin, end);
        });
  }

 private:
  // Packed positions begin .. end - 1 of a key row; their gradients start at zero.
  void pack_row(const Stop& stop, const Step& step, E* row, int64_t begin, int64_t end) {
    const T* const k_row = call_.k.template row<const T>(stop, step.z, step.y);
    const T* const v_row = call_.v.template row<const T>(stop, step.z, step.y);
    const int64_t *const k_at = call_.k.at.data(), *const v_at = call_.v.at.data();
    const int64_t origin = rows_.origin(), first = begin - origin, last = end - origin;  // in the row
    score_keys_.pack(k_row, k_at, begin, end, origin, row);
    score_values_.pack(v_row, v_at, begin, end, origin, row + v_at_);
    pack_natural<S>(k_row, k_at + begin, end - begin, p_.dim, row + natural_at_ + first * channels_, channels_);
    std::fill(row + dk_at_ + first * channels_, row + dk_at_ + last * channels_, E(0));
    std::fill(row + dv_at_ + first * value_channels_, row + dv_at_ + last * value_channels_, E(0));
  }

  // Takes positions of a key row that no later block sees: see KeyRows.
  auto finish(const Stop& stop) {
    return [&](int64_t z, int64_t y, const E* row, int64_t begin, int64_t end) {
      const E* const keys = row + dk_at_ + (begin - rows_.origin()) * channels_;
      const E* const values = row + dv_at_ + (begin - rows_.origin()) * value_channels_;
      settle(ownership_.of(stop.group.key_row(z, y)), z, y, keys, channels_, values, value_channels_, begin, end,
             leftovers_.seams[stop.unit], [&](const E* dk, const E* dv, int64_t first, int64_t last) {
               write_keys(stop, z, y, dk, dv, first, last);
             });
    };
  }

  // keys, values: of position `begin`.
  void write_keys(const Stop& stop, int64_t z, int64_t y, const E* keys, const E* values, int64_t begin, int64_t end) {
    unpack_natural<S>(call_.dk.template row<T>(stop, z, y), call_.dk.at.data() + begin, end - begin, p_.dim, keys,
                      channels_);
    unpack_natural<S>(call_.dv.template row<T>(stop, z, y), call_.dv.at.data() + begin, end - begin, p_.value_dim,
                      values, value_channels_);
  }

  // lse in base 2; lanes without a query get weights of zero.
  void read_lse(const Stop& stop, const Tile& tile, int64_t member, int i) {
    const E* const row = call_.lse.template query_row<const E>(stop, i, member);
    const int64_t* const offsets = call_.lse.at.data() + tile.first + stop.block.lane_step(i, W);
    for (int l = 0; l < W; ++l) {
      lse_[i][l] =
          l < tile.lanes ? row[offsets[l]] * static_cast<E>(1.4426950408889634) : std::numeric_limits<E>::infinity();
    }
  }

  void compute_delta(const Stop& stop, const Tile& tile, int64_t member, int i) {
    const T* const row = call_.out.template query_row<const T>(stop, i, member);
    const int64_t* const offsets = call_.out.at.data() + tile.first + stop.block.lane_step(i, W);
    for (int l = 0; l < W; ++l) delta_[i][l] = 0;
    for (int l = 0; l < tile.lanes; ++l) {
      const E* const slope = dout_natural_.data() + (i * W + l) * value_channels_;
      V sum = S::zero();
      for (int64_t d = 0; d < p_.value_dim; d += W) {
        const int n = static_cast<int>(std::min<int64_t>(W, p_.value_dim - d));
        sum = S::fma(S::load_as(row + offsets[l] + d, n), S::load(slope + d), sum);
      }
      E parts[W];
      S::store(parts, sum);
      for (int j = 0; j < W; ++j) delta_[i][l] += parts[j];
    }
  }

  // Scores of the queries into weights_, of their gradients into slopes_.
  void score_chunk(const Stop& stop, const Tile& tile, int64_t member, size_t chunk) {
    const int64_t origin = rows_.origin();
    TileScores<S, O, E> scores(tile, score_keys_, origin, static_cast<E>(p_.scale * 1.4426950408889634));
    TileScores<S, O, E> slopes(tile, score_values_, origin, E(1));
    scores.add_bias(bias_, tile, stop.block, member);
    const auto fetch = [&] { prefetch_.turn(); };
    scores.run(score_plan_, chunk, q_tile_.data(), weights_.data(), fetch);
    slopes.run(slope_plan_, chunk, dout_tile_.data(), slopes_.data(), fetch);
  }

  void slopes_of_row(const std::vector<SlotRange>& ranges, E* weights, E* slopes, int i, bool whole) {
    const V lse = S::load(lse_[i]);
    V mean = S::load(delta_[i]);
    if (whole) {
      // The weights' sum is not quite one: lse is rounded at its size. Slopes of large scores would not cancel.
      V sum = S::zero();
      mean = S::zero();
      for (const SlotRange& range : ranges) {
        for (int64_t s = range.begin; s < range.end; ++s) {
          const V weight = S::exp2(S::sub(S::load(weights + s * W), lse));
          S::store(weights + s * W, weight);
          sum = S::add(sum, weight);
          mean = S::fma(weight, S::load(slopes + s * W), mean);
        }
      }
      mean = S::div(mean, sum);
      for (const SlotRange& range : ranges) {
        for (int64_t s = range.begin; s < range.end; ++s) {
          S::store(slopes + s * W, S::mul(S::load(weights + s * W), S::sub(S::load(slopes + s * W), mean)));
        }
      }
      return;
    }
    for (const SlotRange& range : ranges) {
      for (int64_t s = range.begin; s < range.end; ++s) {
        const V weight = S::exp2(S::sub(S::load(weights + s * W), lse));
        S::store(weights + s * W, weight);
        S::store(slopes + s * W, S::mul(weight, S::sub(S::load(slopes + s * W), mean)));
      }
    }
  }

  const BackwardCall<T>& call_;
  const Problem& p_;
  LaneBias<E> bias_;
  Leftovers<E>& leftovers_;
  BiasSums<S, E> bias_sums_;
  KeyRows<E> rows_;
  const int64_t channels_, value_channels_;
  const ScoreKeys<S, O, E> score_keys_, score_values_;
  const int64_t v_at_, natural_at_, dk_at_, dv_at_, row_size_;
  Prefetch prefetch_;
  Ownership ownership_;
  ScorePlan<S, O, E> score_plan_, slope_plan_;
  std::vector<SumStep<E>> k_sums_, dk_sums_, dv_sums_;  // of each step
  Buffer<E> q_tile_, dout_tile_, q_natural_, dout_natural_, weights_, slopes_, partial_;
  E lse_[kRows][W], delta_[kRows][W], rescale_[kRows][W], scale_[kRows][W];
};

template <class S, class O, class T>
void run_backward(const BackwardCall<T>& call, const Units& units, Leftovers<acc_t<T>>& leftovers) {
  leftovers.bias.resize(units.count());
  leftovers.seams.resize(units.count());
  at::parallel_for(0, units.count(), 1, [&](int64_t begin, int64_t end) {
    BackwardWorker<S, O, T>(call, leftovers).run(units, begin, end);
  });
  if (units.slabs == 1) return;
  at::parallel_for(0, units.count() / units.slabs, 1, [&](int64_t begin, int64_t end) {
    BackwardWorker<S, O, T> worker(call, leftovers);
    for (int64_t i = begin; i < end; ++i) worker.join_seams(units, i * units.slabs);
  });
}

template <class S, class T>
void tiled_backward(const Problem& p, const RowPlan& plan, const BiasTable<acc_t<T>>& bias, const BackwardViews& views,
                    void* drpb_, bool deterministic) {
  using E = acc_t<T>;
  const Units units = units_of(p, plan, threads_of(deterministic));
  const BackwardCall<T> call(p, plan, bias, views, drpb_ != nullptr, deterministic, units.slabs);
  Leftovers<E> leftovers;
  run_backward<S, typename ProductsOf<S, T>::type, T>(call, units, leftovers);
  if (call.bias_gradient) sum_up(p, plan, bias, units, leftovers.bias, static_cast<E*>(drpb_));
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
