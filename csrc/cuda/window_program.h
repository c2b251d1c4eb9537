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
//   Rows<V>       a value per row: rows(f(row)), rows_of(rows, f(row, value))
//   Strip         rows x 16 scores; Sums: rows x kDim
//   Operand       rows x kDim of a tensor: operand(image, offsets)
//   each(count, f), sync(), commit(), wait(pending)
//   copy_box(pane, image, lines, pane, image, lines, block)   starts copying the box of two tensors
//   copy_rows(pane, image, offsets)       and of the patches' own rows; operand_of(pane): those
//   kBulk: copies by the tensor engine. copy_in_bulk(stage, call, block, image, head, kv_head) asks for those of a
//   stage, wait_for_bulk(stage); once(f): one thread of the block; release(stage, f): one of the last patch that is
//   done with it place_rows(f(row) -> pane row)        where operand_of looks prefetch(image, offsets) rows, soon
//   wanted hidden(flag)                          the flag, of which the compiler knows nothing columns(f(patch) ->
//   first row of a pane, f(column) -> rows from there), tables(f(patch) -> number) begin(strip, step) the table's
//   values multiply_transposed(strip, operand, pane, step) strip += operand pane^T multiply(sums, strip, pane, step)
//   sums += strip pane, strip rounded to Element row_max, row_sum and what finishes them        over strips, into Rows;
//   any(rows, f(value)): of a patch store(sums, factor, image, offsets)
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

// Sums of weights within which none overflows an element and those that count keep all of its digits.
constexpr float kLeastSum = 0.03125f, kLargestSum = 32768.0f;

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
NATTEN_HD int kv_head_of(const Problem& p, int64_t head) {
  return static_cast<int>(head) / (static_cast<int>(p.heads) / static_cast<int>(p.kv_heads));
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

// Where it lies in a pane of the patches' own rows.
NATTEN_HD int rows_place(const WindowCall& call, int row) {
  const int patch = row / kPatchRows, i = row % kPatchRows, across = call.patching.patches[1];
  return (patch / across * kPatch + i / kPatch) * across * kPatch + patch % across * kPatch + i % kPatch;
}

template <class T>
NATTEN_HD T* image_of(const View& view, int64_t image, int64_t head) {
  return static_cast<T*>(view.data) + image * view.batch + head * view.head;
}

// number / divisor for numbers below 2^20, where `inverse` is 1 / divisor: as Box::coordinates.
NATTEN_HD int quotient(int number, float inverse) {
  return static_cast<int>((static_cast<float>(number) + 0.5f) * inverse);
}

// A block's box in an image of a tensor, in elements: where its first token lies, and how far lines and tokens are
// apart.
struct Lines {
  int first, down, across;
};
NATTEN_HD Lines lines_of(const Block& block, const View& view) {
  const int down = static_cast<int>(view.axis[1]), across = static_cast<int>(view.axis[2]);
  return {(block.y.first * block.y.dilation + block.y.residue) * down +
              (block.x.first * block.x.dilation + block.x.residue) * across,
          block.y.dilation * down, block.x.dilation * across};
}

// What is added to the scores before they are scaled: bias / scale where a query sees a key, else minus infinity; one
// table for each class of patches. Syncs before, and wants a sync after it.
template <class M>
NATTEN_HD void make_tables(M& m, const WindowCall& call, const Block& block, int64_t head) {
  auto& memory = m.memory();
  const float inverse = static_cast<float>(1.0 / call.p.scale);
  const float* const rpb = call.rpb == nullptr ? nullptr : call.rpb + head * call.entries;
  m.each(call.entries, [&](int i) { memory.bias[i] = rpb == nullptr ? 0.0f : rpb[i] * inverse; });
  const int across = call.patching.patches[1];
  const PatchClasses ys = classes_of(block.y, call.patching.patches[0]), xs = classes_of(block.x, across);
  NATTEN_UNROLL
  for (int a = 0; a < kPlane; a++) {
    const PatchAxis& axis = a == 0 ? block.y : block.x;
    const PatchClasses& classes = a == 0 ? ys : xs;
    m.each(classes.count * kPatch, [&](int i) {
      const int patch = classes.leader(i / kPatch), start = key_start(axis.axis, axis.side, axis.row(patch, 0));
      const int place = axis.row(patch, i % kPatch);
      const Span seen = window_span(axis.axis, axis.clamped(place));
      memory.patch_rows[a][i] = {seen.first - start, seen.last - start, start - place + axis.axis.kernel - 1,
                                 place < axis.axis.group};
    });
  }
  m.tables([&](int patch) { return ys.rank(patch / across) * xs.count + xs.rank(patch % across); });
  m.sync();
  const int edge = 2 * block.x.axis.kernel - 1;
  const Columns columns{block.y.side, block.x.side};
  // What a thread of the products holds of eight columns: two of them, of two rows.
  m.each(M::kGroups * kLanes, [&](int i) {
    const int row = i % kLanes / 4, column = i / kLanes * 8 + i % 4 * 2;
    int ky[2], kx[2];
    columns.place(column, &ky[0], &kx[0]);
    columns.place(column + 1, &ky[1], &kx[1]);
    for (int ty = 0; ty < ys.count; ty++) {
      const PatchRow* const y_rows = memory.patch_rows[0] + ty * kPatch + row / kPatch;
      const PatchRow y[2] = {y_rows[0], y_rows[2]};
      for (int tx = 0; tx < xs.count; tx++) {
        const PatchRow x = memory.patch_rows[1][tx * kPatch + row % kPatch];
        Quad values;
        NATTEN_UNROLL
        for (int j = 0; j < 4; j++) {
          const PatchRow& y_row = y[j / 2];
          const int key_y = ky[j % 2], key_x = kx[j % 2];
          const bool seen = column + j % 2 < columns.count() && key_y >= y_row.low && key_y <= y_row.high &&
                            key_x >= x.low && key_x <= x.high;
          const float value = seen ? memory.bias[(y_row.bias + key_y) * edge + x.bias + key_x] : M::minus_infinity();
          values.at[j] = y_row.exists && x.exists ? value : 0.0f;
        }
        float* const to = memory.tables + (ty * xs.count + tx) * M::kGroups * kGroupValues + i * 4;
        *reinterpret_cast<Quad*>(to) = values;
      }
    }
  });
}

// The first pane row of a patch's box of keys.
NATTEN_HD int key_row(const WindowCall& call, const Block& block, int patch) {
  const int across = call.patching.patches[1];
  return block.pane_row(key_start(block.y.axis, block.y.side, block.y.row(patch / across, 0)),
                        key_start(block.x.axis, block.x.side, block.x.row(patch % across, 0)));
}
template <class M>
NATTEN_HD void find_columns(M& m, const WindowCall& call, const Block& block) {
  const Columns columns{block.y.side, block.x.side};
  m.columns([&](int patch) { return key_row(call, block, patch); },
            [&](int column) {
              // Behind the end of the box, its last token.
              int ky, kx;
              columns.place(column < columns.count() ? column : columns.count() - 1, &ky, &kx);
              return ky * block.pitch + kx;
            });
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
  const int kv_head = kv_head_of(p, head);
  auto& memory = m.memory();
  const Lines k_at = lines_of(block, call.k), v_at = lines_of(block, call.v);
  const auto q_at = offsets_of(m, call, block, call.q);
  m.place_rows([&](int row) { return rows_place(call, row); });
  // In bulk, the last warp that is done with a stage has it filled again; else all threads copy, in step.
  const auto load_in_bulk = [&](int64_t image, int stage) {
    if (image < p.batch) m.copy_in_bulk(stage, call, block, image, head, kv_head);
  };
  const auto load = [&](int64_t image, int stage) {
    m.copy_box(memory.pane(stage, 0), image_of<const T>(call.k, image, kv_head), k_at, memory.pane(stage, 1),
               image_of<const T>(call.v, image, kv_head), v_at, block);
    m.copy_rows(memory.rows_pane(stage), image_of<const T>(call.q, image, head), q_at);
  };
  if constexpr (M::kBulk) {
    m.once([&] {
      for (int stage = 0; stage < call.stages; stage++) load_in_bulk(part + stage * call.parts, stage);
    });
  } else {
    load_first(m, call, part, load);
  }
  const auto out_at = targets_of(m, call, block, call.out), lse_at = targets_of(m, call, block, call.lse);
  make_tables(m, call, block, head);
  find_columns(m, call, block);
  const float factor = static_cast<float>(p.scale) * kLog2E;
  if constexpr (M::kBulk) {
    m.sync();
  } else {
    wait_for_next(m, call);
  }

  // Weights are 2^(score - base), where any base does that keeps them and their sum in range: it is the largest score
  // of a few columns in the middle, and where that will not do, of all.
  constexpr int kMiddle = M::kSteps / 2;
  int stage = 0;
  for (int64_t image = part; image < p.batch; image += call.parts) {
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
    auto top = m.rows([](int) { return M::minus_infinity(); });
    score(kMiddle);
    m.row_max(scores, kMiddle, top);
    m.finish_row_max(top);
    auto base = m.rows_of(top, [&](auto, float x) { return x == M::minus_infinity() ? 0.0f : x * factor; });
    auto total = top;
    typename M::Sums sum;
    for (bool again = m.hidden(false);; again = m.hidden(true)) {
      total = m.rows([](int) { return 0.0f; });
      sum.clear();
      NATTEN_UNROLL
      for (int i = 0; i < M::kSteps; i++) {
        const int step = (kMiddle + i) % M::kSteps;
        if (i > 0) score(step);
        m.each_score(scores, step, [&](auto row, float& x) { x = M::exp2(x * factor - base[row]); });
        m.row_sum(scores, step, total);
        m.multiply(sum, scores, values, step);
      }
      m.finish_row_sum(total);
      if (again || !m.any(total, [](float x) { return !(x > kLeastSum && x < kLargestSum); })) break;
      NATTEN_UNROLL
      for (int i = 0; i < M::kSteps; i++) {
        const int step = (kMiddle + 1 + i) % M::kSteps;
        score(step);
        m.row_max(scores, step, top);
      }
      // Every row that exists sees a key, and the others have no minus infinity.
      m.finish_row_max(top);
      base = m.rows_of(top, [&](auto, float x) { return x * factor; });
    }
    if constexpr (M::kBulk) {
      m.release(stage, [&] { load_in_bulk(image + call.stages * call.parts, stage); });
    }
    m.store(sum, m.rows_of(total, [](auto, float x) { return M::reciprocal(x); }), image_of<T>(call.out, image, head),
            out_at);
    m.store_rows(m.rows_of(total, [&](auto row, float x) { return (base[row] + M::log2(x)) * (1.0f / kLog2E); }),
                 image_of<float>(call.lse, image, head), lse_at);
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
  const PatchClasses ys = classes_of(block.y, call.patching.patches[0]),
                     xs = classes_of(block.x, call.patching.patches[1]);
  const int edge = 2 * block.x.axis.kernel - 1;
  const Columns columns{block.y.side, block.x.side};
  m.each(call.entries, [&](int entry) {
    const int ey = entry / edge, ex = entry % edge;
    float sum = 0.0f;
    for (int ty = 0; ty < ys.count; ty++) {
      for (int tx = 0; tx < xs.count; tx++) {
        const int key_y = ey - memory.patch_rows[0][ty * kPatch].bias,
                  key_x = ex - memory.patch_rows[1][tx * kPatch].bias;
        const float* const slopes = memory.tables + (ty * xs.count + tx) * M::kGroups * kGroupValues;
        NATTEN_UNROLL
        for (int row = 0; row < kPatchRows; row++) {
          const int ky = key_y + row / kPatch, kx = key_x + row % kPatch;
          if (ky >= 0 && ky < block.y.side && kx >= 0 && kx < block.x.side) {
            sum += slopes[table_place(row, columns.at(ky, kx))];
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
