// Fused forward: scores, softmax and weighted sum of one tile at a time, the
// softmax running over chunks of key rows as in FlashAttention.
#pragma once

#include <ATen/Parallel.h>

#include "walk.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class S, class E>
struct ForwardTile {
  static constexpr int W = S::kLanes;
  E highest[kRows][W];
  E total[kRows][W];
  E rescale[kRows][W];  // of the sums so far
  E inverse[kRows][W];  // of the whole
};

// Scores of one row become weights relative to the highest so far.
template <class S, class E>
__attribute__((noinline)) void softmax_chunk(const std::vector<SlotRange>& ranges, E* scores, E* highest_, E* total_, E* rescale_,
                          bool first) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const V lowest = S::set(-std::numeric_limits<E>::max());
  V highest = first ? S::set(-std::numeric_limits<E>::infinity()) : S::load(highest_);
  const V before = highest;
  for (const SlotRange& range : ranges) {
    for (int64_t s = range.begin; s < range.end; ++s) highest = S::max(highest, S::load(scores + s * W));
  }
  const V shift = S::max(highest, lowest);  // -infinity where all is masked: weights 0, not NaN
  V total0 = S::zero(), total1 = S::zero();
  for (const SlotRange& range : ranges) {
    int64_t s = range.begin;
    for (; s + 1 < range.end; s += 2) {
      const V a = S::exp2(S::sub(S::load(scores + s * W), shift));
      const V b = S::exp2(S::sub(S::load(scores + (s + 1) * W), shift));
      S::store(scores + s * W, a);
      S::store(scores + (s + 1) * W, b);
      total0 = S::add(total0, a);
      total1 = S::add(total1, b);
    }
    if (s < range.end) {
      const V a = S::exp2(S::sub(S::load(scores + s * W), shift));
      S::store(scores + s * W, a);
      total0 = S::add(total0, a);
    }
  }
  V total = S::add(total0, total1);
  if (!first) {
    const V rescale = S::exp2(S::sub(S::max(before, lowest), shift));
    S::store(rescale_, rescale);
    total = S::fma(S::load(total_), rescale, total);
  }
  S::store(highest_, highest);
  S::store(total_, total);
}

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
  int columns;            // of C that exist
  int row_count;
  int64_t channels;
};

template <class S, class E, class T, int C, int R, int N>
void sum_block(const SumJob<E>& job, const Output<E, T>& out, int64_t channel) {
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  V sum[C][R][N];
  // Rows that the block lacks are summed from nothing and go nowhere.
  NATTEN_UNROLL
  for (int c = 0; c < C; ++c) {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      const E* from = out.partial + i * out.partial_row + c * out.partial_stride + channel;
      NATTEN_UNROLL
      for (int n = 0; n < N; ++n) {
        sum[c][i][n] = out.first ? S::zero() : S::mul(S::set(out.rescale[i * W + c]), S::load(from + n * W));
      }
    }
  }
  sum_steps<S, E, C, R, N>(sum, job, channel);
  NATTEN_UNROLL
  for (int c = 0; c < C; ++c) {
    NATTEN_UNROLL
    for (int i = 0; i < R; ++i) {
      if (!out.last) {
        E* to = out.partial + i * out.partial_row + c * out.partial_stride + channel;
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) S::store(to + n * W, sum[c][i][n]);
      } else if (i < out.row_count && c < out.columns) {
        const V factor = S::set(out.inverse[i * W + c]);
        T* to = out.rows[i] + out.offset[c] + channel;
        NATTEN_UNROLL
        for (int n = 0; n < N; ++n) {
          const int64_t left = std::min<int64_t>(W, out.channels - channel - n * W);
          if (left > 0) S::store_as(to + n * W, S::mul(factor, sum[c][i][n]), static_cast<int>(left));
        }
      }
    }
  }
}

// All query columns and channels of a tile.
template <class S, class E, class T, int R, int N, int C>
void sum_columns(SumJob<E> job, Output<E, T> out, int lanes, int64_t channel) {
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
    sum_block<S, E, T, C, R, N>(job, out, channel);
  }
}

template <class S, class E, class T, int R>
void sum_tile(const SumJob<E>& job, const Output<E, T>& out, int lanes, int64_t padded_channels) {
  constexpr int W = S::kLanes, N = S::kSumVectors, A = S::kAccumulators;
  int64_t channel = 0;
  const int64_t vectors = padded_channels / W, pieces = (vectors + N - 1) / N;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t n = vectors * (piece + 1) / pieces - channel / W;
    if constexpr (N >= 4) {
      if (n == 4) sum_columns<S, E, T, R, 4, A / R / 4 < 1 ? 1 : A / R / 4>(job, out, lanes, channel);
      if (n == 3) sum_columns<S, E, T, R, 3, A / R / 4 < 1 ? 1 : A / R / 4>(job, out, lanes, channel);
    }
    if (n == 2) sum_columns<S, E, T, R, 2, A / R / 2 < 4 ? A / R / 2 : 4>(job, out, lanes, channel);
    if (n == 1) sum_columns<S, E, T, R, 1, A / R < 4 ? A / R : 4>(job, out, lanes, channel);
    channel += n * W;
  }
}

template <class S, class T>
void tiled_forward(const Problem& p, const RowPlan& plan, const BiasTable<acc_t<T>>& bias, const View& q,
                   const View& k, const View& v, const View& out, const View& lse) {
  using E = acc_t<T>;
  using V = typename S::Vector;
  constexpr int W = S::kLanes;
  const int64_t length = plan.length(), channels = round_up(p.value_dim, W), heads_per_key = p.heads / p.kv_heads;
  const int64_t k_stride = odd_lines<E>(round_up(length, W)), v_stride = channels;
  const int64_t k_size = p.dim * k_stride;
  // Picks read up to two vectors from a tile's base on, past the last row as well.
  const int64_t row_size = k_size + odd_lines<E>(length * v_stride + p.axis[2].kernel * v_stride);
  const int64_t row_stride = kChunkSlots * W;
  const E factor = static_cast<E>(p.scale * 1.4426950408889634);
  const Units units = units_of(p, plan, at::get_num_threads());

  at::parallel_for(0, units.count(), 1, [&](int64_t begin, int64_t end) {
    Ring<E> ring;
    Block block;
    Offsets q_at, k_at, v_at, out_at, lse_at;
    Buffer<E> q_tile(p.dim * kRows * W), scores(kRows * row_stride + W), partial(kRows * W * channels);
    ForwardTile<S, E> state;
    std::vector<SumStep<E>> sums;
    std::vector<E*> key_rows;
    int64_t placed = -1;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t slab = unit % units.slabs, residue1 = unit / units.slabs % units.residues1,
                    residue0 = unit / units.slabs / units.residues1 % units.residues0,
                    row_group = unit / units.slabs / units.residues1 / units.residues0;
      const int64_t first_pair = row_group * plan.lines;
      if (placed != row_group) {
        q_at.place(p, plan, q, first_pair, 1);
        k_at.place(p, plan, k, first_pair, heads_per_key);
        v_at.place(p, plan, v, first_pair, heads_per_key);
        out_at.place(p, plan, out, first_pair, 1);
        if (lse.data != nullptr) lse_at.place(p, plan, lse, first_pair, 1);
        placed = row_group;
      }
      const Group group = group_at(p, residue0, residue1);
      ring.reset(p, group, row_size);
      for (int64_t b = group.blocks() * slab / units.slabs; b < group.blocks() * (slab + 1) / units.slabs; ++b) {
        plan_block(p, group, b, block);
        key_rows.clear();
        sums.clear();
        for (const Step& step : block.steps) {
          bool fresh;
          E* const row = ring.row(step.z, step.y, fresh);
          if (fresh) {
            const T* const k_row =
                static_cast<const T*>(k.data) + row_offset(p, k, residue0, step.z, residue1, step.y);
            const T* const v_row =
                static_cast<const T*>(v.data) + row_offset(p, v, residue0, step.z, residue1, step.y);
            for (int64_t i = 0; i < length; i += W) {
              const int n = static_cast<int>(std::min<int64_t>(W, length - i));
              pack_transposed<S>(k_row, k_at.at.data() + i, n, p.dim, E(1), row + i, k_stride);
            }
            pack_natural<S>(v_row, v_at.at.data(), length, p.value_dim, row + k_size, v_stride);
          }
          key_rows.push_back(row);
          sums.push_back({row + k_size + step.first * v_stride, step.slot * W, step.count, step.low, step.high});
        }

        for (const Tile& tile : plan.tiles) {
          const T* q_rows[kRows];
          Output<E, T> output{};
          for (int i = 0; i < block.rows; ++i) {
            q_rows[i] = static_cast<const T*>(q.data) + row_offset(p, q, residue0, block.z, residue1, block.y + i);
            output.rows[i] = static_cast<T*>(out.data) + row_offset(p, out, residue0, block.z, residue1, block.y + i);
            pack_transposed<S>(q_rows[i], q_at.at.data() + tile.first, tile.lanes, p.dim, factor,
                               q_tile.data() + i * W, kRows * W);
          }
          const Position& lead = plan.positions[tile.first];
          const bool by_lane = !tile.uniform;
          const E* const bias_base = by_lane ? bias.of_pattern(row_group, tile.pattern)
                                             : bias.of_uniform((first_pair + lead.line) % p.heads, lead.bias);
          const int64_t bias_row = by_lane ? bias.pattern_stride() : bias.row_entries;
          int64_t start[W];
          for (int l = 0; l < W; ++l) start[l] = tile.base + (l < tile.lanes ? tile.index[l] : 0);
          output.rescale = state.rescale[0];
          output.inverse = state.inverse[0];
          output.partial = partial.data();
          output.partial_row = W * channels;
          output.partial_stride = channels;
          output.offset = out_at.at.data() + tile.first;
          output.row_count = block.rows;
          output.channels = p.value_dim;

          for (size_t c = 0; c < block.chunks.size(); ++c) {
            const Chunk& chunk = block.chunks[c];
            for (int64_t s = chunk.first_step; s < chunk.first_step + chunk.step_count; ++s) {
              const Step& step = block.steps[s];
              ScoreJob<E> job;
              job.q = q_tile.data() + step.low * W;
              job.k = key_rows[s] + tile.base + step.first;
              job.k_stride = k_stride;
              job.dim = p.dim;
              job.index = tile.shifted ? nullptr : tile.index.data();
              job.bias_step = by_lane ? W : 1;
              job.bias_row = bias_row;
              job.bias = bias_base == nullptr ? nullptr
                                              : bias_base + step.bias_row * bias_row + step.first * job.bias_step;
              job.scores = scores.data() + step.low * row_stride + step.slot * W;
              job.row_stride = row_stride;
              score<S>(job, step.high - step.low, step.count);
            }
            output.first = c == 0;
            output.last = c + 1 == block.chunks.size();
            for (int i = 0; i < block.rows; ++i) {
              softmax_chunk<S>(chunk.ranges[i], scores.data() + i * row_stride, state.highest[i], state.total[i],
                               state.rescale[i], output.first);
              if (output.last) {
                S::store(state.inverse[i], S::div(S::set(E(1)), S::load(state.total[i])));
              }
            }
            SumJob<E> job{sums.data() + chunk.first_step, chunk.step_count, v_stride, start, scores.data(), row_stride};
            if (block.rows == 1) {
              sum_tile<S, E, T, 1>(job, output, tile.lanes, channels);
            } else {
              sum_tile<S, E, T, kRows>(job, output, tile.lanes, channels);
            }
          }
          if (lse.data != nullptr) {
            for (int i = 0; i < block.rows; ++i) {
              const V sum = S::add(S::load(state.highest[i]), S::log2(S::load(state.total[i])));
              S::store(state.total[i], S::mul(sum, S::set(static_cast<E>(0.6931471805599453))));
              E* const row =
                  static_cast<E*>(lse.data) + row_offset(p, lse, residue0, block.z, residue1, block.y + i);
              for (int l = 0; l < tile.lanes; ++l) row[lse_at.at[tile.first + l]] = state.total[i][l];
            }
          }
        }
      }
    }
  });
}

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
