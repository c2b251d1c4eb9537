// The unfused pair and its gradients on packed rows. Walk, packing and the two
// products are the fused drivers'; where those have a softmax, these have a
// tensor with the slots as last dimension:
//
//   dots        [query][slot] = factor * query . key + bias               logits; gradient of the weights
//   query sums  [query]       = factor * sum over its slots of weight * key    out; gradient of q
//   key sums    [key]         = factor * sum over its queries of weight * query    gradients of k and v
//
// A call asks for any of them. Tiles have lanes = queries, the tensors have
// slots side by side: both ways a tile of them is transposed.
#pragma once

#include "bias_gradient.h"
#include "fused_backward.h"
#include "slots.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class T>
struct UnfusedCall {
  View queries, keys;         // q and k, or dout and v
  int64_t dim = 0;            // of both
  acc_t<T> factor = 1;        // of dots and sums
  View dots;                  // wanted where it has data, like the other results
  acc_t<T> missing = 0;       // what dots holds where a causal query has no key
  View weights;               // what the sums are taken with
  View query_sums, key_sums;  // results
  const void* rpb = nullptr;
  void* drpb = nullptr;  // wanted: the weights' sums by bias entry
};

// A call as its workers see it.
template <class T>
struct UnfusedWork {
  const Problem& p;
  const RowPlan& plan;
  const BiasTable<acc_t<T>>& bias;
  const Layout queries, keys, dots, weights, query_sums, key_sums;
  int64_t dim;
  acc_t<T> factor, missing;
  int64_t members;  // query heads of one key head
  bool bias_gradient;
  bool by_unit;  // sum the bias gradient unit by unit, whichever thread runs it
  int64_t slabs;
  bool has_dots = dots.view.data != nullptr, has_weights = weights.view.data != nullptr;
  bool has_query_sums = query_sums.view.data != nullptr, has_key_sums = key_sums.view.data != nullptr;
};

// One thread's share of a call. O: how the dots are formed; the sums are single.
template <class S, class O, class T>
class UnfusedWorker {
  using E = acc_t<T>;
  static constexpr int W = S::kLanes;

 public:
  UnfusedWorker(const UnfusedWork<T>& call, Leftovers<E>& leftovers)
      : call_(call),
        p_(call.p),
        lane_bias_(call.p, call.plan, call.bias),
        leftovers_(leftovers),
        rows_(call.p, call.plan),
        channels_(round_up(call.dim, W)),
        score_keys_(call.dim, rows_.room()),
        // One row of the ring, as far as it is wanted: keys transposed, keys, sums of queries.
        // Picks and shifted loads reach past the end of the transposed ones; what they find there is not used.
        natural_at_(call.has_dots ? score_keys_.size() + odd_lines<E>(2 * W) : 0),
        sums_at_(natural_at_ + (call.has_query_sums ? rows_.room() * channels_ : 0)),
        row_size_(odd_lines<E>(sums_at_ + (call.has_key_sums ? rows_.room() * channels_ : 0))),
        bias_sums_(call.plan, call.bias),
        q_tile_(score_keys_.dims() * kRows * W),
        q_natural_(kRows * W * channels_),
        scores_(kRows * kScoresRow<S> + W),
        partial_(kRows * W * channels_) {
    std::fill(one_[0], one_[0] + kRows * W, E(1));
    std::fill(factor_[0], factor_[0] + kRows * W, call.factor);
    if (call.bias_gradient) bias_sums_.reset();
  }

  void run(const Units& units, int64_t begin, int64_t end) {
    run_blocks(p_, call_.plan, units, begin, end, *this, prefetch_);
  }

  // See run_blocks.
  void begin(const Stop& stop) {
    if (stop.new_unit) {
      rows_.reset(p_, stop, row_size_);
      if (call_.has_key_sums) ownership_.reset(p_, call_.plan, stop, call_.slabs);
    }
    rows_.visit(
        stop, [&](const Step& step, E* row, int64_t begin, int64_t end) { pack_row(stop, step, row, begin, end); },
        finish(stop),
        [&](E* row, int64_t by, int64_t count) {
          if (call_.has_dots) score_keys_.move(row, by, count);
          if (call_.has_query_sums) move_rows(row + natural_at_, by, count, channels_);
          if (call_.has_key_sums) move_rows(row + sums_at_, by, count, channels_);
        });
    reads_.clear(), writes_.clear();
    const std::vector<Step>& steps = stop.block.steps;
    for (size_t s = 0; s < steps.size(); ++s) {
      const Step& step = steps[s];
      const int64_t first = step.first * channels_, slot = step.slot * W;
      reads_.push_back({rows_[s] + natural_at_ + first, slot, step.count, step.low, step.high});
      writes_.push_back({rows_[s] + sums_at_ + first, slot, step.count, step.low, step.high});
    }
    slots_.reset(p_, stop, W);
    if (call_.has_dots) score_plan_.set(stop.block, score_keys_, [&](int64_t s) { return rows_[s]; });
    if (call_.bias.has_bias) lane_bias_.turn_to(stop);
    if (call_.bias_gradient) bias_sums_.turn_to(stop);
  }
  int64_t turns(const Stop& stop) const {
    const Block& block = stop.block;
    return (block.last_tile - block.first_tile) * static_cast<int64_t>(block.chunks.size()) * block.rows;
  }
  void finish_unit(const Stop& stop, const Stop* next) {
    rows_.leave_all(stop, finish(stop));
    if (call_.bias_gradient) bias_sums_.finish_unit(stop, next, call_.by_unit, leftovers_.bias[stop.unit]);
  }

  void plan_prefetch(const Stop& stop, Prefetch& prefetch) const {
    const Block& block = stop.block;
    const int64_t query = block.first_query, last_query = block.last_query;
    if (!fits_ahead(block, std::max(call_.queries.bytes, call_.dots.bytes))) return;
    for (int i = 0; i < (block.stacked ? 1 : block.rows); ++i) {
      for (int64_t member = 0; member < call_.members; ++member) {
        const auto add = [&](auto kind, const Layout& layout) {
          using U = typename decltype(kind)::type;
          if (layout.view.data == nullptr) return;
          prefetch.add(layout.template query_row<U>(stop, i, member), layout, query, last_query);
        };
        add(Kind<const T>(), call_.queries);
        add(Kind<T>(), call_.dots);
        add(Kind<const T>(), call_.weights);
        add(Kind<T>(), call_.query_sums);
      }
    }
    rows_.template plan_prefetch<T>(stop, {&call_.keys}, prefetch);
  }

  void run_tile(const Stop& stop, const Tile& tile, int64_t member) {
    const Block& block = stop.block;
    if (call_.bias.has_bias) lane_bias_.turn_to(tile, member);
    // Where a tensor has the queries of row i.
    const auto at = [&](const Layout& layout, int i) { return layout.at.data() + tile.first + block.lane_step(i, W); };
    for (int i = 0; i < block.rows && call_.queries.view.data != nullptr; ++i) {
      const T* const row = call_.queries.template query_row<const T>(stop, i, member);
      const int64_t* const offset = at(call_.queries, i);
      if (call_.has_dots) {
        pack_queries<S, O>(row, offset, tile.lanes, call_.dim, call_.factor, q_tile_.data() + i * W, kRows * W);
      }
      if (call_.has_key_sums) {
        pack_natural<S>(row, offset, tile.lanes, call_.dim, q_natural_.data() + i * W * channels_, channels_,
                        call_.factor);
      }
      if (call_.has_dots && slots_.has_holes(i)) {
        fill_row(call_.dots.template query_row<T>(stop, i, member), at(call_.dots, i), tile.lanes);
      }
    }
    for (size_t c = 0; c < block.chunks.size(); ++c) {
      if (call_.has_dots) {
        score_chunk(stop, tile, member, c);
        fill_missing(tile, block, block.chunks[c], call_.missing);
        for (int i = 0; i < block.rows; ++i) {
          T* const row = call_.dots.template query_row<T>(stop, i, member);
          for (const SlotRun& run : slots_.runs(c, i)) {
            store_slots<S>(scores_.data() + i * kScoresRow<S> + run.at * W, run.count, row + run.slot,
                           at(call_.dots, i), tile.lanes);
          }
          if (!call_.has_weights) prefetch_.turn();
        }
      }
      if (call_.has_weights) {
        for (int i = 0; i < block.rows; ++i) {
          const T* const row = call_.weights.template query_row<const T>(stop, i, member);
          for (const SlotRun& run : slots_.runs(c, i)) {
            pack_transposed<S>(row + run.slot, at(call_.weights, i), tile.lanes, run.count, E(1),
                               scores_.data() + i * kScoresRow<S> + run.at * W, W);
          }
          prefetch_.turn();
        }
        fill_missing(tile, block, block.chunks[c], E(0));
        sum_chunk(stop, tile, member, c);
      }
    }
    if (call_.bias_gradient) bias_sums_.finish_tile(tile, member);
  }

  void join_seams(const Units& units, int64_t first_unit) {
    cpu::NATTEN_ISA::join_seams<E>(p_, call_.plan, units, first_unit, leftovers_.seams, channels_, /*value_channels=*/0,
                                   [&](const Stop& stop, int64_t z, int64_t y, const E* keys, const E*, int64_t begin,
                                       int64_t end) { write_key_sums(stop, z, y, keys, begin, end); });
  }

 private:
  // Packed positions begin .. end - 1 of a key row; their sums start at zero.
  void pack_row(const Stop& stop, const Step& step, E* row, int64_t begin, int64_t end) {
    const T* const keys = call_.keys.template row<const T>(stop, step.z, step.y);
    const int64_t* const at = call_.keys.at.data();
    const int64_t first = begin - rows_.origin(), last = end - rows_.origin();  // in the row
    if (call_.has_dots) score_keys_.pack(keys, at, begin, end, rows_.origin(), row);
    if (call_.has_query_sums) {
      pack_natural<S>(keys, at + begin, end - begin, call_.dim, row + natural_at_ + first * channels_, channels_);
    }
    if (call_.has_key_sums) {
      std::fill(row + sums_at_ + first * channels_, row + sums_at_ + last * channels_, E(0));
    }
  }

  // All slots of some queries.
  void fill_row(T* row, const int64_t* offset, int lanes) const {
    for (int l = 0; l < lanes; ++l) {
      std::fill(row + offset[l], row + offset[l] + p_.slots(), static_cast<T>(call_.missing));
    }
  }

  void score_chunk(const Stop& stop, const Tile& tile, int64_t member, size_t chunk) {
    TileScores<S, O, E> scores(tile, score_keys_, rows_.origin(), call_.factor);
    if (call_.bias.has_bias) scores.add_bias(lane_bias_, tile, stop.block, member);
    scores.run(score_plan_, chunk, q_tile_.data(), scores_.data(), [] {});
  }

  // What lanes of a causal fast axis lack.
  void fill_missing(const Tile& tile, const Block& block, const Chunk& chunk, E value) {
    if (!p_.axis[2].causal) return;
    for (int l = 0; l < tile.lanes; ++l) {
      const int64_t count = call_.plan.positions[tile.first + l].count;
      if (count == p_.axis[2].kernel) continue;
      for (int64_t s = chunk.first_step; s < chunk.first_step + chunk.step_count; ++s) {
        const Step& step = block.steps[s];
        for (int i = step.low; i < step.high; ++i) {
          for (int64_t t = std::max<int64_t>(0, count - step.first); t < step.count; ++t) {
            scores_.data()[i * kScoresRow<S> + (step.slot + t) * W + l] = value;
          }
        }
      }
    }
  }

  // Everything that the weights of one chunk add to.
  void sum_chunk(const Stop& stop, const Tile& tile, int64_t member, size_t c) {
    const Block& block = stop.block;
    const Chunk& chunk = block.chunks[c];
    const int64_t first = chunk.first_step, count = chunk.step_count;
    if (call_.bias_gradient) bias_sums_.add(block, chunk, tile, member, scores_.data());
    int64_t start[W];
    tile.starts(rows_.origin(), start);
    if (call_.has_query_sums) {
      Output<E, T> output{};
      output.first = c == 0;
      output.last = c + 1 == block.chunks.size();
      output.rescale = one_[0];
      output.inverse = factor_[0];
      output.partial = partial_.data();
      output.partial_row = W * channels_;
      output.partial_stride = channels_;
      output.offset = call_.query_sums.at.data() + tile.first;
      output.offset_row = block.lane_step(1, W);
      output.row_count = block.rows;
      output.channels = call_.dim;
      for (int i = 0; i < block.rows; ++i) {
        output.rows[i] = call_.query_sums.template query_row<T>(stop, i, member);
      }
      const SumJob<E> job{reads_.data() + first, count, channels_, start, scores_.data()};
      sum_tile<S, Single<S>, E, T>(job, output, tile.lanes, channels_, [] {});
    }
    if (call_.has_key_sums) {
      scatter_tile<S>(writes_.data() + first, count, start, channels_, scores_.data(), q_natural_.data(), tile.lanes);
    }
  }

  // Takes positions of a key row that no later block sees: see KeyRows.
  auto finish(const Stop& stop) {
    return [&](int64_t z, int64_t y, const E* row, int64_t begin, int64_t end) {
      if (!call_.has_key_sums) return;
      const E* const sums = row + sums_at_ + (begin - rows_.origin()) * channels_;
      settle(ownership_.of(stop.group.key_row(z, y)), z, y, sums, channels_, row, /*value_channels=*/0, begin, end,
             leftovers_.seams[stop.unit], [&](const E* keys, const E*, int64_t first, int64_t last) {
               write_key_sums(stop, z, y, keys, first, last);
             });
    };
  }

  // from: of position `begin`.
  void write_key_sums(const Stop& stop, int64_t z, int64_t y, const E* from, int64_t begin, int64_t end) {
    unpack_natural<S>(call_.key_sums.template row<T>(stop, z, y), call_.key_sums.at.data() + begin, end - begin,
                      call_.dim, from, channels_);
  }

  template <class U>
  struct Kind {
    using type = U;
  };

  const UnfusedWork<T>& call_;
  const Problem& p_;
  LaneBias<E> lane_bias_;
  Leftovers<E>& leftovers_;
  KeyRows<E> rows_;
  const int64_t channels_;
  const ScoreKeys<S, O, E> score_keys_;
  const int64_t natural_at_, sums_at_, row_size_;
  Prefetch prefetch_;
  BiasSums<S, E> bias_sums_;
  Ownership ownership_;
  ScorePlan<S, O, E> score_plan_;
  std::vector<SumStep<E>> reads_, writes_;
  SlotMap slots_;
  Buffer<E> q_tile_, q_natural_, scores_, partial_;
  E one_[kRows][W], factor_[kRows][W];
};

template <class S, class O, class T>
void run_unfused(const UnfusedWork<T>& call, const Units& units, acc_t<T>* drpb) {
  Leftovers<acc_t<T>> leftovers;
  leftovers.bias.resize(units.count());
  leftovers.seams.resize(units.count());
  at::parallel_for(0, units.count(), 1,
                   [&](int64_t begin, int64_t end) { UnfusedWorker<S, O, T>(call, leftovers).run(units, begin, end); });
  if (units.slabs > 1 && call.has_key_sums) {
    at::parallel_for(0, units.count() / units.slabs, 1, [&](int64_t begin, int64_t end) {
      UnfusedWorker<S, O, T> worker(call, leftovers);
      for (int64_t i = begin; i < end; ++i) worker.join_seams(units, i * units.slabs);
    });
  }
  if (drpb != nullptr) sum_up(call.p, call.plan, call.bias, units, leftovers.bias, drpb);
}

template <class S, class T>
void tiled_unfused(const Problem& p, const RowPlan& plan, const UnfusedCall<T>& call, const Units& units,
                   bool deterministic) {
  using E = acc_t<T>;
  const BiasTable<E> bias(p, plan, call.rpb, call.drpb != nullptr, /*unit=*/1);
  const int64_t members = p.heads / p.kv_heads;
  const auto layout = [&](const View& view, int64_t per_key, int64_t dim) {
    return Layout(p, plan, view, per_key, dim, sizeof(T));
  };
  const UnfusedWork<T> work{p,
                            plan,
                            bias,
                            layout(call.queries, members, call.dim),
                            layout(call.keys, 1, call.dim),
                            layout(call.dots, members, p.slots()),
                            layout(call.weights, members, p.slots()),
                            layout(call.query_sums, members, call.dim),
                            layout(call.key_sums, 1, 0),
                            call.dim,
                            call.factor,
                            call.missing,
                            members,
                            call.drpb != nullptr,
                            deterministic,
                            units.slabs};
  E* const drpb = static_cast<E*>(call.drpb);
  run_unfused<S, typename ProductsOf<S, T>::type, T>(work, units, drpb);
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
