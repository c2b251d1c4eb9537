// The window kernels as one program over primitives: a machine supplies them,
// window_cuda.cuh on tensor cores, window_host.h as plain loops that the tests
// run on a CPU, in the same shapes and the same order. window_keys.h has the
// program of dk and dv.
//
// A block stands for one place of an image and one head, and goes through the
// images of a batch: what depends on the place alone (addresses, masks and
// bias in the order of the products) is made once. The whole box of a patch is
// held at once, so that the softmax needs one pass.
//
// A machine M has
//   Element, kDim, kGroups (of eight columns), kSteps (of two groups)
//   Rows<V>       a value per row: rows(f(row)), rows_of(rows, f(row, value))
//   Strip         rows x 16 scores; Sums: rows x kDim
//   Operand       rows x kDim of a tensor: operand(image, offsets)
//   each(count, f), sync(), commit(), wait(pending)
//   copy(pane, count, tokens, image)      starts copying the box; prefetch(image, offsets): rows, soon wanted
//   columns(f(patch) -> first row of a pane, f(column) -> rows from there), tables(f(patch) -> number)
//   begin(strip, step)                              the table's values
//   multiply_transposed(strip, operand, pane, step) strip += operand pane^T
//   multiply(sums, strip, pane, step)               sums += strip pane, strip rounded to Element
//   row_max, row_sum and what finishes them        over strips, into Rows
//   store(sums, factor, image, offsets)
#pragma once

#include "window_memory.h"

namespace natten::cuda {

struct WindowCall {
  Problem p;
  Patching patching;
  View q, k, v, out, lse, dout, dq, dk, dv, mean;  // mean: dout . out, float, laid out as lse
  const float* rpb;                                // [heads, entries] or null
  float* drpb;                                     // [places * parts, heads, entries] or null
  int parts;  // blocks of one place and head; part w takes the images w, w + parts, ...
  int entries;
  int groups;  // of eight columns that a patch meets: kGroups of the machine, or, where they are listed, an even number
  int stages;  // boxes on chip: 2 to 4, the next images' arrive while one is worked on; 1: they wait for each other
};

inline int groups_of(const Patching& t, bool rows_are_queries) {
  if (!rows_are_queries) return (t.columns + 15) / 16 * 2;
  return t.columns <= kSmallGroups * 8 ? kSmallGroups : kKeyGroups;
}

// Where row `row` of a block lies in an image of `view`, in elements; a row that does not exist has one that does.
NATTEN_HD int row_offset(const WindowCall& call, const Block& block, const View& view, int row) {
  const int patch = row / kPatchRows, i = row % kPatchRows, across = call.patching.patches[1];
  const int y = block.y.clamped(block.y.row(patch / across, i / kPatch));
  const int x = block.x.clamped(block.x.row(patch % across, i % kPatch));
  return (y * block.y.dilation + block.y.residue) * static_cast<int>(view.axis[1]) +
         (x * block.x.dilation + block.x.residue) * static_cast<int>(view.axis[2]);
}
NATTEN_HD bool row_exists(const WindowCall& call, const Block& block, int row) {
  const int patch = row / kPatchRows, i = row % kPatchRows, across = call.patching.patches[1];
  return block.y.exists(patch / across, i / kPatch) && block.x.exists(patch % across, i % kPatch);
}
template <class M>
NATTEN_HD auto offsets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int row) { return row_offset(call, block, view, row); });
}
// The same to write to: -1 where there is no row.
template <class M>
NATTEN_HD auto targets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int row) { return row_exists(call, block, row) ? row_offset(call, block, view, row) : -1; });
}

template <class T>
NATTEN_HD T* image_of(const View& view, int64_t image, int64_t head) {
  return static_cast<T*>(view.data) + image * view.batch + head * view.head;
}

// number / divisor for numbers below 2^20, where `inverse` is 1 / divisor: as Box::coordinates.
NATTEN_HD int quotient(int number, float inverse) {
  return static_cast<int>((static_cast<float>(number) + 0.5f) * inverse);
}

// Lists the tokens of the block's box; `lse` for dk and dv. Wants a sync after it.
template <class M>
NATTEN_HD void list_box(M& m, const Block& block, const View& first, const View& second, const View* lse) {
  using T = typename M::Element;
  auto& memory = m.memory();
  const float inverse = 1.0f / static_cast<float>(block.x.size);
  const int y_first = block.y.first * block.y.dilation + block.y.residue;
  const int x_first = block.x.first * block.x.dilation + block.x.residue;
  m.each(block.tokens(), [&](int i) {
    const int ky = quotient(i, inverse), kx = i - ky * block.x.size, row = ky * block.pitch + kx;
    const int y = y_first + ky * block.y.dilation, x = x_first + kx * block.x.dilation;
    const auto at = [&](const View& v) { return y * static_cast<int>(v.axis[1]) + x * static_cast<int>(v.axis[2]); };
    const int place = pane_place<T, M::kDim>(row, 0);
    memory.tokens[0][i] = {at(first), place};
    memory.tokens[1][i] = {at(second), place};
    if (lse != nullptr) memory.tokens[2][i] = {at(*lse), row * static_cast<int>(sizeof(QueryStats))};
  });
}

// Sorts the patches of both axes into classes. Wants a sync after it.
template <class M>
NATTEN_HD void classify(M& m, const WindowCall& call, const Block& block) {
  auto& memory = m.memory();
  NATTEN_UNROLL
  for (int a = 0; a < kPlane; a++) {
    const PatchAxis& axis = a == 0 ? block.y : block.x;
    PatchClasses& classes = memory.classes[a];
    const int count = call.patching.patches[a];
    m.each(count, [&](int patch) { classes.codes[patch] = patch_code(axis, patch); });
    m.each(count * kPatch, [&](int i) {
      const int start = key_start(axis.axis, axis.side, axis.row(i / kPatch, 0)), place = axis.origin + i;
      const Span seen = window_span(axis.axis, axis.clamped(place));
      classes.rows[i] = {seen.first - start, seen.last - start, start - place + axis.axis.kernel - 1,
                         place < axis.axis.group};
    });
  }
  m.sync();
  NATTEN_UNROLL
  for (int a = 0; a < kPlane; a++) {
    PatchClasses& classes = memory.classes[a];
    m.each(call.patching.patches[a], [&](int patch) {
      classes.ranks[patch] = rank_of(classes.codes, patch);
      if (leader_of(classes.codes, patch) == patch) classes.leaders[classes.ranks[patch]] = patch;
    });
  }
}
NATTEN_HD int classes_of(const PatchClasses& classes, int patches) {
  int most = 0;
  for (int i = 0; i < patches; i++) most = classes.ranks[i] > most ? classes.ranks[i] : most;
  return most + 1;
}

// What is added to the scores before they are scaled: bias / scale where a query sees a key, else minus infinity; one
// table for each class of patches. Syncs before, and wants a sync after it.
template <class M>
NATTEN_HD void make_tables(M& m, const WindowCall& call, const Block& block, int64_t head) {
  auto& memory = m.memory();
  const float inverse = static_cast<float>(1.0 / call.p.scale);
  const float* const rpb = call.rpb == nullptr ? nullptr : call.rpb + head * call.entries;
  m.each(call.entries, [&](int i) { memory.bias[i] = rpb == nullptr ? 0.0f : rpb[i] * inverse; });
  classify(m, call, block);
  m.sync();
  const PatchClasses &ys = memory.classes[0], &xs = memory.classes[1];
  const int across = call.patching.patches[1];
  const int down_classes = classes_of(ys, call.patching.patches[0]), across_classes = classes_of(xs, across);
  m.tables([&](int patch) { return ys.ranks[patch / across] * across_classes + xs.ranks[patch % across]; });
  const int edge = 2 * block.x.axis.kernel - 1, side = block.x.side, count = block.y.side * side;
  const int reciprocal = 65536 / side + 1;  // of numbers below 256
  for (int ty = 0; ty < down_classes; ty++) {
    for (int tx = 0; tx < across_classes; tx++) {
      const PatchRow *const y_rows = ys.rows + ys.leaders[ty] * kPatch, *const x_rows =
                                                                            xs.rows + xs.leaders[tx] * kPatch;
      float* const to = memory.tables + (ty * across_classes + tx) * M::kGroups * kGroupValues;
      // Four values lie together: two rows of two columns.
      m.each(M::kGroups * kGroupValues / 4, [&](int i) {
        NATTEN_UNROLL
        for (int j = 0; j < 4; j++) {
          const int row = table_row(i * 4 + j), column = table_column(i * 4 + j);
          const PatchRow y = y_rows[row / kPatch], x = x_rows[row % kPatch];
          const int ky = column * reciprocal >> 16, kx = column - ky * side;
          float value = M::minus_infinity();
          if (column < count && ky >= y.low && ky <= y.high && kx >= x.low && kx <= x.high) {
            value = memory.bias[(y.bias + ky) * edge + x.bias + kx];
          }
          to[i * 4 + j] = y.exists && x.exists ? value : 0.0f;
        }
      });
    }
  }
}

// The first pane row of a patch's box of keys.
NATTEN_HD int key_row(const WindowCall& call, const Block& block, int patch) {
  const int across = call.patching.patches[1];
  return block.pane_row(key_start(block.y.axis, block.y.side, block.y.row(patch / across, 0)),
                        key_start(block.x.axis, block.x.side, block.x.row(patch % across, 0)));
}
// Column `column` of any patch's box, in pane rows from its first. Behind the end of the box, its last token.
NATTEN_HD int key_column_row(const Block& block, int column, float inverse) {
  const int count = block.y.side * block.x.side, c = column < count ? column : count - 1;
  const int ky = quotient(c, inverse);
  return ky * block.pitch + c - ky * block.x.side;
}
template <class M>
NATTEN_HD void find_columns(M& m, const WindowCall& call, const Block& block) {
  const float inverse = 1.0f / static_cast<float>(block.x.side);
  m.columns([&](int patch) { return key_row(call, block, patch); },
            [&](int column) { return key_column_row(block, column, inverse); });
}

// Starts copying the boxes of two tensors.
template <class T, class M>
NATTEN_HD void load_box(M& m, const View& first, const View& second, int tokens, int64_t image, int64_t head,
                        int stage) {
  auto& memory = m.memory();
  m.copy(memory.pane(stage, 0), tokens, memory.tokens[0], image_of<const T>(first, image, head));
  m.copy(memory.pane(stage, 1), tokens, memory.tokens[1], image_of<const T>(second, image, head));
}

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
  const int64_t kv_head = head / (p.heads / p.kv_heads);
  auto& memory = m.memory();
  const int tokens = block.tokens();
  list_box(m, block, call.k, call.v, nullptr);
  m.sync();
  const auto load = [&](int64_t image, int stage) { load_box<T>(m, call.k, call.v, tokens, image, kv_head, stage); };
  load_first(m, call, part, load);
  const auto q_at = offsets_of(m, call, block, call.q);
  const auto out_at = targets_of(m, call, block, call.out), lse_at = targets_of(m, call, block, call.lse);
  auto queries = m.operand(image_of<const T>(call.q, part, head), q_at);
  make_tables(m, call, block, head);
  find_columns(m, call, block);
  const float factor = static_cast<float>(p.scale) * kLog2E;
  wait_for_next(m, call);

  int stage = 0;
  for (int64_t image = part; image < p.batch; image += call.parts) {
    const int64_t next = image + call.parts;
    load_ahead(m, call, stage, image, load);
    if (next < p.batch) {
      m.prefetch(image_of<const T>(call.q, next, head), q_at);
    }
    typename M::Strip scores[M::kSteps];
    NATTEN_UNROLL
    for (int step = 0; step < M::kSteps; step++) {
      m.begin(scores[step], step);
      m.multiply_transposed(scores[step], queries, memory.pane(stage, 0), step);
    }
    // Every row that exists sees a key, and the others have no minus infinity.
    auto top = m.rows([](int) { return M::minus_infinity(); });
    NATTEN_UNROLL
    for (int step = 0; step < M::kSteps; step++) m.row_max(scores[step], step, top);
    m.finish_row_max(top);
    const auto base = m.rows_of(top, [&](auto, float x) { return x * factor; });
    auto total = m.rows([](int) { return 0.0f; });
    typename M::Sums sum;
    sum.clear();
    NATTEN_UNROLL
    for (int step = 0; step < M::kSteps; step++) {
      m.each_score(scores[step], step, [&](auto row, float& x) { x = M::exp2(x * factor - base[row]); });
      m.row_sum(scores[step], step, total);
      m.multiply(sum, scores[step], memory.pane(stage, 1), step);
    }
    m.finish_row_sum(total);
    if (next < p.batch) queries = m.operand(image_of<const T>(call.q, next, head), q_at);
    m.store(sum, m.rows_of(total, [](auto, float x) { return 1.0f / x; }), image_of<T>(call.out, image, head), out_at);
    m.store_rows(m.rows_of(total, [&](auto row, float x) { return (base[row] + M::log2(x)) / kLog2E; }),
                 image_of<float>(call.lse, image, head), lse_at);
    stage = next_stage(m, call, stage, next, load);
  }
}

// Sums of slopes, one table per class of patches, into bias entries: entry e is one distance of key and query.
template <class M>
NATTEN_HD void fold_slopes(M& m, const WindowCall& call, const Block& block, float* to) {
  auto& memory = m.memory();
  const PatchClasses &ys = memory.classes[0], &xs = memory.classes[1];
  const int down_classes = classes_of(ys, call.patching.patches[0]);
  const int across_classes = classes_of(xs, call.patching.patches[1]);
  const int edge = 2 * block.x.axis.kernel - 1;
  m.each(call.entries, [&](int entry) {
    const int ey = entry / edge, ex = entry % edge;
    float sum = 0.0f;
    for (int ty = 0; ty < down_classes; ty++) {
      for (int tx = 0; tx < across_classes; tx++) {
        const int key_y = ey - ys.rows[ys.leaders[ty] * kPatch].bias,
                  key_x = ex - xs.rows[xs.leaders[tx] * kPatch].bias;
        const float* const slopes = memory.tables + (ty * across_classes + tx) * M::kGroups * kGroupValues;
        NATTEN_UNROLL
        for (int row = 0; row < kPatchRows; row++) {
          const int ky = key_y + row / kPatch, kx = key_x + row % kPatch;
          if (ky >= 0 && ky < block.y.side && kx >= 0 && kx < block.x.side) {
            sum += slopes[table_place(row, ky * block.x.side + kx)];
          }
        }
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
  const int64_t kv_head = head / (p.heads / p.kv_heads);
  auto& memory = m.memory();
  const int tokens = block.tokens();
  list_box(m, block, call.k, call.v, nullptr);
  m.sync();
  const auto load = [&](int64_t image, int stage) { load_box<T>(m, call.k, call.v, tokens, image, kv_head, stage); };
  load_first(m, call, part, load);
  const auto q_at = offsets_of(m, call, block, call.q), out_at = offsets_of(m, call, block, call.out),
             dout_at = offsets_of(m, call, block, call.dout), lse_at = offsets_of(m, call, block, call.lse);
  const auto dq_at = targets_of(m, call, block, call.dq), mean_at = targets_of(m, call, block, call.lse);
  // A row that does not exist has weights of zero.
  const auto missing = m.rows([&](int row) { return row_exists(call, block, row) ? 0.0f : -M::minus_infinity(); });
  make_tables(m, call, block, head);
  find_columns(m, call, block);
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
    m.store(sum, m.rows([&](int) { return static_cast<float>(p.scale); }), image_of<T>(call.dq, image, head), dq_at);
    stage = next_stage(m, call, stage, next, load);
  }
  if constexpr (kBiasGradient) {
    // The tables are no longer wanted: patches of a class add up there, one after the other.
    m.each(M::kGroups * kGroupValues * call.patching.tables, [&](int i) { memory.tables[i] = 0.0f; });
    for (int patch = 0; patch < call.patching.warps(); patch++) {
      m.sync();
      m.add_to_table(slopes, patch);
    }
    m.sync();
    fold_slopes(m, call, block, drpb);
  }
}

}  // namespace natten::cuda
