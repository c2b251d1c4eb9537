// The window kernels as one program over primitives: a machine supplies them,
// window_cuda.cuh on tensor cores, window_host.h as plain loops that the tests
// run on a CPU, in the same shapes and the same order. window_keys.h has the
// program of dk and dv.
//
// A block stands for one place of an image and one head, and goes through the
// images of a batch: what depends on the place alone (addresses, masks and
// bias in the order of the products) is made once. The whole box that a block
// meets is on chip.
//
// A machine M has
//   Element, kDim, kGroups (of eight columns), kSteps (of two groups)
//   Rows<V>    a value per row: rows(f(patch, row of the patch)), rows_of(rows, f(row, value))
//   Strip      rows x 16 scores; Sums: rows x kDim
//   Operand    rows x kDim of a tensor: operand(image, offsets)
//   each(count, f), each_lane(f(patch, lane))   for every patch and each of kLanes
//   sync(), commit(), wait(pending)
//   hidden(flag)    the flag, of which the compiler knows nothing
//   copy_box(pane, image, lines, pane, image, lines, block)   starts copying the box of two tensors
//   copy_rows(pane, image, offsets)    and of the patches' own rows, which lie at place_rows(f(patch, row) -> pane row)
//   operand_of(pane)                   those rows
//   prefetch(image, offsets)    rows, soon wanted
//   wait_for_inputs()    until what earlier kernels write is there
//   copy_value(to, from)    one number to on-chip memory, there after wait_for_values() and sync()
//   kBulk    copies by the tensor engine: copy_in_bulk(stage, call, block, image, head, kv_head) asks for those of a
//     stage, wait_for_bulk(stage) waits for them; each_stage(call, f(stage)) in one thread; release(stage, f): one
//     thread of the last patch that is done with it
//   columns(f(patch) -> first row of a pane, f(patch, column) -> rows from there)
//   tables(f(patch) -> number), begin(strip, step)    the table's values
//   steps(f(patch) -> number), within(step)    steps that patches take
//   multiply_transposed(strip, operand, pane, step)    strip += operand pane^T
//   multiply(sums, strip, pane, step)    sums += strip pane, strip rounded to Element
//   row_max, row_sum    over strips, into Rows, and what finishes them; any(rows, f(value)): of a patch
//   pieces(sums, factor)    or by way of the patches' own rows in a pane: as rows go to memory;
//   store(pieces, image, offsets)
#pragma once

#include "window_tables.h"

namespace natten::cuda {

// Sums of weights within which none overflows an element and those that count keep all of its digits.
constexpr float kLeastSum = 0.03125f, kLargestSum = 32768.0f;

// Boxes of the next images arrive in the other stages while one is worked on; load(image, stage) starts a copy.
template <class M>
NATTEN_HD void wait_for_next(M& m, const WindowCall& call) {
  if (call.stages <= 2) {
    m.template wait<0>();
  } else if (call.stages == 3) {
    m.template wait<1>();
  } else {
    m.template wait<2>();
  }
  m.sync();
}
template <class M, class F>
NATTEN_HD void load_first(M& m, const WindowCall& call, int64_t image, const F& load) {
  for (int stage = 0; stage == 0 || stage + 1 < call.stages; stage++, image += call.parts) {
    if (image < call.p.batch) load(image, stage);
    m.commit();
  }
}
template <class M, class F>
NATTEN_HD void load_ahead(M& m, const WindowCall& call, int stage, int64_t image, const F& load) {
  if (call.stages == 1) return;
  const int64_t ahead = image + (call.stages - 1) * call.parts;
  if (ahead < call.p.batch) load(ahead, stage == 0 ? call.stages - 1 : stage - 1);
  m.commit();
}
// Ends the work on one image: everybody is done with its stage, and the next one's box is there.
template <class M, class F>
NATTEN_HD int next_stage(M& m, const WindowCall& call, int stage, int64_t next, const F& load) {
  if (call.stages == 1) {
    m.sync();
    if (next < call.p.batch) load(next, 0);
    m.commit();
  }
  wait_for_next(m, call);
  return stage + 1 >= call.stages ? 0 : stage + 1;
}

template <class M>
NATTEN_HD void window_forward(M& m, const WindowCall& call, int64_t head, int place, int part) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Block block = block_of(p, call.patching, place, true);
  if (!block.exists) return;
  const int kv_head = kv_head_of(p, head);
  auto& memory = m.memory();
  m.place_rows([&](int patch, int row) { return rows_place(call, patch, row); });
  // In bulk, the last warp that is done with a stage has it filled again; else all threads copy, in step.
  const auto load_in_bulk = [&](int image, int stage) {
    if (image < static_cast<int>(p.batch)) m.copy_in_bulk(stage, call, block, image, head, kv_head);
  };
  const Lines k_at = lines_of(block, call.k), v_at = lines_of(block, call.v);
  typename M::template Rows<int> q_at;
  const auto load = [&](int64_t image, int stage) {
    m.copy_box(memory.pane(stage, 0), image_of<const T>(call.k, image, kv_head), k_at, memory.pane(stage, 1),
               image_of<const T>(call.v, image, kv_head), v_at, block);
    m.copy_rows(memory.rows_pane(stage), image_of<const T>(call.q, image, head), q_at);
  };
  m.wait_for_inputs();
  if constexpr (M::kBulk) {
    // The bias first: behind the boxes of all blocks it would wait for them.
    load_bias(m, call, block, head);
    m.each_stage(call, [&](int stage) { load_in_bulk(part + stage * call.parts, stage); });
  } else {
    q_at = offsets_of(m, call, block, call.q);
    load_first(m, call, part, load);
    load_bias(m, call, block, head);
  }
  const auto out_at = targets_of(m, call, block, call.out), lse_at = targets_of(m, call, block, call.lse);
  find_columns(m, call, block);
  m.wait_for_values();
  m.sync();
  make_tables<false>(m, call, block);
  const float factor = static_cast<float>(p.scale) * kLog2E;
  if constexpr (M::kBulk) {
    m.sync();
  } else {
    wait_for_next(m, call);
  }

  // Weights are 2^(score - base), where any base does that keeps them and their sum in range: it is the largest score
  // of a few columns in the middle, and where that will not do, of all.
  constexpr int kMiddle = Steps<M>::kMiddle, kAlways = Steps<M>::kAlways;
  int stage = 0;
  T* out = image_of<T>(call.out, part, head);
  float* lse = image_of<float>(call.lse, part, head);
  const int images = static_cast<int>(p.batch), round = call.stages * call.parts;
  for (int image = part; image < images; image += call.parts) {
    if constexpr (M::kBulk) {
      m.wait_for_bulk(stage);
    } else {
      load_ahead(m, call, stage, image, load);
    }
    const auto queries = m.operand_of(memory.rows_pane(stage));
    const T *const keys = memory.pane(stage, 0), *const values = memory.pane(stage, 1);
    typename M::Strip scores;
    const auto score = [&](int step) {
      m.begin(scores, step);
      m.multiply_transposed(scores, queries, keys, step);
    };
    auto top = m.rows([](int, int) { return M::minus_infinity(); });
    score(kMiddle);
    m.row_max(scores, kMiddle, top);
    m.finish_row_max(top);
    auto base = m.rows_of(top, [&](auto, float x) { return x == M::minus_infinity() ? 0.0f : x * factor; });
    auto total = top;
    typename M::Sums sum;
    for (bool again = m.hidden(false);; again = m.hidden(true)) {
      total = m.rows([](int, int) { return 0.0f; });
      sum.clear();
      NATTEN_UNROLL
      for (int i = 0; i < M::kSteps; i++) {
        const int step = i == 0 ? kMiddle : i <= kMiddle ? i - 1 : i;
        if (i >= kAlways && !m.within(step)) break;
        if (i > 0) score(step);
        m.each_score(scores, step, [&](auto row, float& x) { x = M::exp2(x * factor - base[row]); });
        m.row_sum(scores, step, total);
        m.multiply(sum, scores, values, step);
      }
      m.finish_row_sum(total);
      if (again || !m.any(total, [](float x) { return !(x > kLeastSum && x < kLargestSum); })) break;
      NATTEN_UNROLL
      for (int step = 0; step < M::kSteps; step++) {
        if (step == kMiddle) continue;
        if (step >= kAlways && !m.within(step)) break;
        score(step);
        m.row_max(scores, step, top);
      }
      score(kMiddle);
      // Every row sees a key.
      m.finish_row_max(top);
      base = m.rows_of(top, [&](auto, float x) { return x * factor; });
    }
    const auto pieces =
        m.pieces(sum, m.rows_of(total, [](auto, float x) { return M::reciprocal(x); }), memory.rows_pane(stage));
    if constexpr (M::kBulk) {
      if (image + round < images) m.release(stage, [&] { load_in_bulk(image + round, stage); });
    }
    m.store(pieces, out, out_at);
    if (lse != nullptr) {
      m.store_rows(m.rows_of(total, [&](auto row, float x) { return (base[row] + M::log2(x)) * (1.0f / kLog2E); }), lse,
                   lse_at);
      lse += call.parts * call.lse.batch;
    }
    out += call.parts * call.out.batch;
    if constexpr (M::kBulk) {
      stage = stage + 1 >= call.stages ? 0 : stage + 1;
    } else {
      stage = next_stage(m, call, stage, image + call.parts, load);
    }
  }
}

// Sums of slopes, one table per class of patches, into bias entries: entry e is one distance of key and query.
template <class M>
NATTEN_HD void fold_slopes(M& m, const WindowCall& call, const Block& block, float* to) {
  auto& memory = m.memory();
  const int classes =
      classes_of(block.y, call.patching.patches[0]).count * classes_of(block.x, call.patching.patches[1]).count;
  const int edge = 2 * block.x.axis.kernel - 1;
  m.each(call.entries, [&](int entry) {
    const int ey = entry / edge, ex = entry % edge;
    float sum = 0.0f;
    for (int i = 0; i < classes; i++) {
      const PatchClass at = memory.classes()[i];
      const Columns columns{at.down, at.across};
      const float* const slopes = memory.tables() + i * (M::kGroups * kGroupValues);
      NATTEN_UNROLL
      for (int row = 0; row < kPatchRows; row++) {
        const int ky = ey - at.entry_y + row / kPatch, kx = ex - at.entry_x + row % kPatch;
        if (ky >= 0 && ky < at.down && kx >= 0 && kx < at.across) sum += slopes[table_place(row, columns.at(ky, kx))];
      }
    }
    to[entry] = sum;
  });
}

template <bool kBiasGradient, class M>
NATTEN_HD void window_dq(M& m, const WindowCall& call, int64_t head, int place, int part) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Block block = block_of(p, call.patching, place, true);
  float* const drpb =
      kBiasGradient ? call.drpb + ((int64_t{place} * call.parts + part) * p.heads + head) * call.entries : nullptr;
  if (!block.exists) {
    if (kBiasGradient) m.each(call.entries, [&](int i) { drpb[i] = 0.0f; });
    return;
  }
  const int kv_head = kv_head_of(p, head);
  auto& memory = m.memory();
  const Lines k_lines = lines_of(block, call.k), v_lines = lines_of(block, call.v);
  const auto load = [&](int64_t image, int stage) {
    m.copy_box(memory.pane(stage, 0), image_of<const T>(call.k, image, kv_head), k_lines, memory.pane(stage, 1),
               image_of<const T>(call.v, image, kv_head), v_lines, block);
  };
  load_first(m, call, part, load);
  const auto q_at = offsets_of(m, call, block, call.q), out_at = offsets_of(m, call, block, call.out),
             dout_at = offsets_of(m, call, block, call.dout), lse_at = offsets_of(m, call, block, call.lse);
  const auto dq_at = targets_of(m, call, block, call.dq), mean_at = targets_of(m, call, block, call.lse);
  // A row that does not exist has weights of zero.
  const auto missing =
      m.rows([&](int patch, int row) { return row_exists(call, block, patch, row) ? 0.0f : -M::minus_infinity(); });
  load_bias(m, call, block, head);
  find_columns(m, call, block);
  m.wait_for_values();
  m.sync();
  make_tables<kBiasGradient>(m, call, block);
  const float factor = static_cast<float>(p.scale) * kLog2E;
  typename M::Strip slopes[M::kSteps];
  if constexpr (kBiasGradient) {
    NATTEN_UNROLL
    for (int step = 0; step < M::kSteps; step++) m.clear(slopes[step]);
  }
  wait_for_next(m, call);

  int stage = 0;
  for (int64_t image = part; image < p.batch; image += call.parts) {
    const int64_t next = image + call.parts;
    load_ahead(m, call, stage, image, load);
    if (next < p.batch) {
      m.prefetch(image_of<const T>(call.q, next, head), q_at);
      m.prefetch(image_of<const T>(call.dout, next, head), dout_at);
      m.prefetch(image_of<const T>(call.out, next, head), out_at);
    }
    const auto queries = m.operand(image_of<const T>(call.q, image, head), q_at);
    const auto douts = m.operand(image_of<const T>(call.dout, image, head), dout_at);
    const auto lse = m.row_values(image_of<const float>(call.lse, image, head), lse_at);
    const auto base = m.rows_of(lse, [&](auto row, float x) { return x * kLog2E + missing[row]; });
    const auto mean = m.row_dots(douts, m.operand(image_of<const T>(call.out, image, head), out_at));
    m.store_rows(mean, image_of<float>(call.mean, image, head), mean_at);
    typename M::Sums sum;
    sum.clear();
    NATTEN_UNROLL
    for (int step = 0; step < M::kSteps; step++) {
      if (step >= Steps<M>::kAlways && !m.within(step)) break;
      typename M::Strip weight, slope;
      m.begin(weight, step);
      m.clear(slope);
      m.multiply_transposed(weight, queries, memory.pane(stage, 0), step);
      m.multiply_transposed(slope, douts, memory.pane(stage, 1), step);
      m.pair(weight, slope, step,
             [&](auto row, float w, float& s) { s = M::exp2(w * factor - base[row]) * (s - mean[row]); });
      if constexpr (kBiasGradient) m.add(slopes[step], slope, step);
      m.multiply(sum, slope, memory.pane(stage, 0), step);
    }
    m.store(m.pieces(sum, m.rows([&](int, int) { return static_cast<float>(p.scale); })),
            image_of<T>(call.dq, image, head), dq_at);
    stage = next_stage(m, call, stage, next, load);
  }
  if constexpr (kBiasGradient) {
    // The tables are no longer wanted: patches of a class add up there, one after the other.
    m.each(M::kGroups * kGroupValues * call.patching.tables, [&](int i) { memory.tables()[i] = 0.0f; });
    for (int patch = 0; patch < call.patching.warps(); patch++) {
      m.sync();
      m.add_to_table(slopes, patch);
    }
    m.sync();
    fold_slopes(m, call, block, drpb);
  }
}

}  // namespace natten::cuda
