// The window program of dk and dv: rows are keys and columns the queries that
// see them, whose number depends on where the patch lies. A column's row in the
// panes, and where the bias of a score lies, are listed once per block.
//
// Besides what window_program.h names, a machine has
//   steps(f(patch) -> how many steps of 16 columns), within(step)
//   step(step)                       looks its columns up
//   copy_stats(stats, lse, mean, lines, block)   starts copying
//   pair_listed(weight, slope, step, stats, f(row, bias, stats of the query, weight&, slope&))
#pragma once

#include "window_program.h"

namespace natten::cuda {

// The queries that see a patch of keys, in places.
struct Audience2D {
  Span y, x;
  NATTEN_HD int across() const { return x.last - x.first + 1; }
  NATTEN_HD int count() const { return (y.last - y.first + 1) * across(); }
};
NATTEN_HD Audience2D audience_of_patch(const WindowCall& call, const Block& block, int patch) {
  const PatchPlace at = place_of(call, patch);
  return {audience_at(block.y.axis, block.y.row(at.y, 0)), audience_at(block.x.axis, block.x.row(at.x, 0))};
}
NATTEN_HD int steps_of(const Audience2D& audience) { return (audience.count() + 15) / 16; }

// Fills columns and bias_places. A column behind the end of the audience is its last query, seen by no key.
template <class M>
NATTEN_HD void list_columns(M& m, const WindowCall& call, const Block& block) {
  auto& memory = m.memory();
  const int per_patch = call.groups * 8, edge = 2 * block.x.axis.kernel - 1;
  const float inverse = 1.0f / static_cast<float>(per_patch);
  m.each(call.patching.warps() * per_patch, [&](int i) {
    const int patch = quotient(i, inverse), column = i - patch * per_patch;
    const Audience2D audience = audience_of_patch(call, block, patch);
    if (column >= steps_of(audience) * 16) return;
    const bool exists = column < audience.count();
    const int c = exists ? column : audience.count() - 1;
    const int qy = quotient(c, 1.0f / static_cast<float>(audience.across())), y = audience.y.first + qy;
    const int x = audience.x.first + c - qy * audience.across();
    memory.columns()[i] = static_cast<unsigned short>(block.pane_row(y, x));
    const Span seen_y = window_span(block.y.axis, y), seen_x = window_span(block.x.axis, x);
    unsigned char* const places = memory.bias_places() + patch * per_patch * kPatchRows;
    const PatchPlace at = place_of(call, patch);
    const int first_y = block.y.row(at.y, 0), first_x = block.x.row(at.x, 0);
    const int bias = (first_y - y + block.y.axis.kernel - 1) * edge + first_x - x + block.x.axis.kernel - 1;
    NATTEN_UNROLL
    for (int row = 0; row < kPatchRows; row++) {
      const int key_y = first_y + row / kPatch, key_x = first_x + row % kPatch;
      const bool seen =
          exists && key_y >= seen_y.first && key_y <= seen_y.last && key_x >= seen_x.first && key_x <= seen_x.last;
      const int entry = seen ? bias + row / kPatch * edge + row % kPatch : call.entries;
      places[table_place(row, column)] = static_cast<unsigned char>(entry);
    }
  });
}

template <class M>
NATTEN_HD void window_dkv(M& m, const WindowCall& call, int64_t head, int place, int part) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Block block = block_of(p, call.patching, place, false);
  if (!block.exists) return;
  auto& memory = m.memory();
  const Lines q_lines = lines_of(block, call.q), dout_lines = lines_of(block, call.dout),
              lse_lines = lines_of(block, call.lse);
  const auto load = [&](int64_t image, int stage) {
    m.copy_stats(memory.stats() + stage * call.patching.rows(), image_of<const float>(call.lse, image, head),
                 image_of<const float>(call.mean, image, head), lse_lines, block);
    m.copy_box(memory.pane(stage, 0), image_of<const T>(call.q, image, head), q_lines, memory.pane(stage, 1),
               image_of<const T>(call.dout, image, head), dout_lines, block);
  };
  load_first(m, call, part, load);
  const float* const rpb = call.rpb == nullptr ? nullptr : call.rpb + head * call.entries;
  m.each(call.entries + 1, [&](int i) {
    memory.bias()[i] = i == call.entries ? M::minus_infinity() : rpb == nullptr ? 0.0f : rpb[i] * kLog2E;
  });
  list_columns(m, call, block);
  m.steps([&](int patch) { return steps_of(audience_of_patch(call, block, patch)); });
  const auto k_at = offsets_of(m, call, block, call.k), v_at = offsets_of(m, call, block, call.v);
  const auto dk_at = targets_of(m, call, block, call.dk), dv_at = targets_of(m, call, block, call.dv);
  const float factor = static_cast<float>(p.scale) * kLog2E;
  wait_for_next(m, call);

  int stage = 0;
  for (int64_t image = part; image < p.batch; image += call.parts) {
    const int64_t next = image + call.parts;
    load_ahead(m, call, stage, image, load);
    if (next < p.batch) {
      m.prefetch(image_of<const T>(call.k, next, head), k_at);
      m.prefetch(image_of<const T>(call.v, next, head), v_at);
    }
    const auto keys = m.operand(image_of<const T>(call.k, image, head), k_at);
    const auto values = m.operand(image_of<const T>(call.v, image, head), v_at);
    typename M::Sums dk_sum, dv_sum;
    dk_sum.clear();
    dv_sum.clear();
    for (int step = 0; m.within(step); step++) {
      m.step(step);
      typename M::Strip weight, slope;
      m.clear(weight);
      m.clear(slope);
      m.multiply_transposed(weight, keys, memory.pane(stage, 0), step);
      m.multiply_transposed(slope, values, memory.pane(stage, 1), step);
      m.pair_listed(weight, slope, step, memory.stats() + stage * call.patching.rows(),
                    [&](auto, float bias, const QueryStats& query, float& w, float& s) {
                      w = M::exp2(w * factor + (bias - query.lse * kLog2E));
                      s = w * (s - query.mean);
                    });
      m.multiply(dv_sum, weight, memory.pane(stage, 1), step);
      m.multiply(dk_sum, slope, memory.pane(stage, 0), step);
    }
    m.store(m.pieces(dk_sum, m.rows([&](int, int) { return static_cast<float>(p.scale); })),
            image_of<T>(call.dk, image, head), dk_at);
    m.store(m.pieces(dv_sum, m.rows([](int, int) { return 1.0f; })), image_of<T>(call.dv, image, head), dv_at);
    stage = next_stage(m, call, stage, next, load);
  }
}

}  // namespace natten::cuda
