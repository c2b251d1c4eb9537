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
//   Rows<V>       a value per row: rows(f(patch, row of the patch)), rows_of(rows, f(row, value))
//   Strip         rows x 16 scores; Sums: rows x kDim
//   Operand       rows x kDim of a tensor: operand(image, offsets)
//   each(count, f), each_lane(f(patch, lane)): for every patch and each of kLanes
//   sync(), commit(), wait(pending), hidden(flag): the flag, of which the compiler knows nothing
//   copy_box(pane, image, lines, pane, image, lines, block)   starts copying the box of two tensors
//   copy_rows(pane, image, offsets)               and of the patches' own rows; operand_of(pane): those, which
//   place_rows(f(patch, row) -> pane row)         lie there
//   prefetch(image, offsets)                      rows, soon wanted
//   wait_for_inputs()                             until what earlier kernels write is there
//   copy_value(to, from)                          one number to on-chip memory, there after wait_for_values() and
//   sync() kBulk: copies by the tensor engine. copy_in_bulk(stage, call, block, image, head, kv_head) asks for those of
//   a stage, wait_for_bulk(stage); each_stage(call, f(stage)): one thread; release(stage, f): one of the last patch
//   that is done with it columns(f(patch) -> first row of a pane, f(patch, column) -> rows from there), tables(f(patch)
//   -> number) steps(f(patch) -> number), within(step)         steps that patches take begin(strip, step) the table's
//   values multiply_transposed(strip, operand, pane, step) strip += operand pane^T multiply(sums, strip, pane, step)
//   sums += strip pane, strip rounded to Element row_max, row_sum and what finishes them         over strips, into
//   Rows; any(rows, f(value)): of a patch pieces(sums, factor), or by way of the patches' own rows in a pane: as rows
//   go to memory; store(pieces, image, offsets)
#pragma once

#include <algorithm>
#include <type_traits>

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
  Divisor by_heads, by_places;
  WindowLayout layout;
};

inline WindowLayout layout_of(const WindowCall& call, WindowPass pass, size_t element) {
  return lay_out(pass, call.patching, call.groups, call.entries, call.stages, static_cast<int>(call.p.dim), element);
}

// Sums of weights within which none overflows an element and those that count keep all of its digits.
constexpr float kLeastSum = 0.03125f, kLargestSum = 32768.0f;

// Whether no patch of queries can see more keys than kSmallGroups hold. It decides the kernel and the block's shape
// alike, so it asks the problem, not what the patches of one shape happen to meet.
inline bool sees_few(const Problem& p) {
  const auto keys = [&](const Axis& axis) {
    return static_cast<int>(std::min(group_size(axis, 0), axis.kernel + kPatch - 1));
  };
  return Columns{keys(p.axis[1]), keys(p.axis[2])}.groups() <= kSmallGroups;
}
inline int groups_of(const Problem& p, const Patching& t, bool rows_are_queries) {
  return !rows_are_queries ? t.groups : sees_few(p) ? kSmallGroups : kKeyGroups;
}

// Where a patch lies in its block, in patches.
struct PatchPlace {
  int y, x;
};
NATTEN_HD PatchPlace place_of(const WindowCall& call, int patch) {
  const int y = call.patching.by_patches.quotient(patch);
  return {y, patch - y * call.patching.patches[1]};
}
NATTEN_HD bool row_exists(const WindowCall& call, const Block& block, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  return block.y.exists(at.y, row / kPatch) && block.x.exists(at.x, row % kPatch);
}
// Where a row of a patch lies in an image of `view`, in elements; a row that does not exist has one that does.
NATTEN_HD int row_offset(const WindowCall& call, const Block& block, const View& view, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  const int y = block.y.clamped(block.y.row(at.y, row / kPatch)), x = block.x.clamped(block.x.row(at.x, row % kPatch));
  return (y * block.y.dilation + block.y.residue) * static_cast<int>(view.axis[1]) +
         (x * block.x.dilation + block.x.residue) * static_cast<int>(view.axis[2]);
}
template <class M>
NATTEN_HD auto offsets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int patch, int row) { return row_offset(call, block, view, patch, row); });
}
// The same to write to: -1 where there is no row.
template <class M>
NATTEN_HD auto targets_of(M& m, const WindowCall& call, const Block& block, const View& view) {
  return m.rows([&](int patch, int row) {
    return row_exists(call, block, patch, row) ? row_offset(call, block, view, patch, row) : -1;
  });
}
NATTEN_HD int kv_head_of(const Problem& p, int64_t head) {
  if (p.heads == p.kv_heads) return static_cast<int>(head);
  return static_cast<int>(head) / (static_cast<int>(p.heads) / static_cast<int>(p.kv_heads));
}

// Where it lies in a pane of the patches' own rows.
NATTEN_HD int rows_place(const WindowCall& call, int patch, int row) {
  const PatchPlace at = place_of(call, patch);
  const int across = call.patching.patches[1] * kPatch;
  return (at.y * kPatch + row / kPatch) * across + at.x * kPatch + row % kPatch;
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

// The keys that a patch sees.
struct Keys {
  Span y, x;
  NATTEN_HD Columns columns() const { return {y.last - y.first + 1, x.last - x.first + 1}; }
};
NATTEN_HD Keys keys_of(const WindowCall& call, const Block& block, int patch) {
  const PatchPlace at = place_of(call, patch);
  return {block.y.keys(at.y), block.x.keys(at.x)};
}

// Steps of sixteen columns: a patch that sees fewer keys than others takes fewer. The first ones all take, so that
// their work is one piece for the compiler.
template <class M>
struct Steps {
  // The one whose scores say how large scores are: the lines in the middle, of which all rows see some.
  static constexpr int kMiddle = M::kSteps / 3;
  static constexpr int kAlways = M::kSteps / 2 + 1;
  static_assert(kMiddle < kAlways, "all take the one in the middle");
  NATTEN_HD static int of(const Columns& columns) {
    const int steps = (columns.groups() + 1) / 2;
    return steps > kAlways ? steps : kAlways;
  }
};

// What a row sees of the keys of its patch along one axis, the first key being number 0: where in the bias, in bytes,
// entries lie `apart`, and keys it does not see in `unseen`. A row that does not exist is like the last that does.
struct Sight {
  int low, count, first, apart, unseen;
  NATTEN_HD int of(int key) const {
    return static_cast<unsigned>(key - low) < static_cast<unsigned>(count) ? first + key * apart : unseen;
  }
};
NATTEN_HD int first_entry(const PatchAxis& a, int row, int first_key) { return first_key - row + a.axis.kernel - 1; }
NATTEN_HD Sight sight_of(const PatchAxis& a, int row, int first_key, int apart) {
  const int place = a.clamped(row);
  const Span seen = a.window(place);
  return {seen.first - first_key, seen.last - seen.first + 1, first_entry(a, place, first_key) * apart, apart,
          (kBiasPitch - 1) * apart};
}

// The head's bias, for make_tables.
template <class M>
NATTEN_HD void load_bias(M& m, const WindowCall& call, const Block& block, int64_t head) {
  const float* const rpb = call.rpb == nullptr ? nullptr : call.rpb + head * call.entries;
  const int down = 2 * block.y.axis.kernel - 1, across = 2 * block.x.axis.kernel - 1;
  m.each(kBiasValues, [&](int i) {
    const int y = i / kBiasPitch, x = i % kBiasPitch;
    const bool exists = y < down && x < across;
    float* const to = m.memory().bias() + i;
    if (exists && rpb != nullptr) {
      m.copy_value(to, rpb + y * across + x);
    } else {
      *to = exists ? 0.0f : M::minus_infinity();
    }
  });
}

// What is added to the scores before they are scaled: bias / scale where a query sees a key, else minus infinity; one
// table for each class of patches. Wants the bias before, and a sync after it.
template <bool kClasses, class M>
NATTEN_HD void make_tables(M& m, const WindowCall& call, const Block& block) {
  auto& memory = m.memory();
  const float inverse = M::reciprocal(static_cast<float>(call.p.scale));
  const PatchClasses ys = classes_of(block.y, call.patching.patches[0]),
                     xs = classes_of(block.x, call.patching.patches[1]);
  const auto rank = [&](int patch) {
    const PatchPlace at = place_of(call, patch);
    return ys.rank(at.y) * xs.count + xs.rank(at.x);
  };
  m.tables(rank);
  m.each_lane([&](int patch, int lane) {
    const PatchPlace at = place_of(call, patch);
    if (!ys.leads(at.y) || !xs.leads(at.x)) return;
    const Keys keys = keys_of(call, block, patch);
    const Columns columns = keys.columns();
    // What a thread of the products holds of eight columns: two of them, of two rows that are two lines apart.
    const int row = lane / 4, pair = lane % 4 * 2;
    constexpr int kEntry = sizeof(float);
    const int place_y = block.y.row(at.y, row / kPatch), place_x = block.x.row(at.x, row % kPatch);
    const Sight x = sight_of(block.x, place_x, keys.x.first, kEntry);
    const Sight y[2] = {sight_of(block.y, place_y, keys.y.first, kBiasPitch * kEntry),
                        sight_of(block.y, place_y + 2, keys.y.first, kBiasPitch * kEntry)};
    if (kClasses && lane == 0) {
      memory.classes()[rank(patch)] = {columns.down, columns.across, first_entry(block.y, place_y, keys.y.first),
                                       first_entry(block.x, place_x, keys.x.first)};
    }
    float* to = memory.tables() + rank(patch) * (M::kGroups * kGroupValues) + lane * 4;
    const auto fill = [&](auto one_line, int groups, int log, int first_x) {
      // In a group's lines, two neighbours lie in places that the next group has too.
      const int mask = (1 << log) - 1;
      const char* const bias = reinterpret_cast<const char*>(memory.bias());
      const char* const at_x[2] = {bias + x.of(first_x + (pair & mask)), bias + x.of(first_x + ((pair + 1) & mask))};
      for (int column = pair; column < groups * 8; column += 8, to += kGroupValues) {
        Quad values;
        NATTEN_UNROLL
        for (int j = 0; j < 4; j++) {
          const int line = (decltype(one_line)::value ? column : column + j % 2) >> log;
          values.at[j] = *reinterpret_cast<const float*>(at_x[j % 2] + y[j / 2].of(line)) * inverse;
        }
        *reinterpret_cast<Quad*>(to) = values;
      }
    };
    // Padding is seen by no row, and so is what the last step has more.
    const int lines = columns.line_groups();
    int all = 2 * Steps<M>::of(columns);
    if (all > M::kGroups) all = M::kGroups;
    fill(std::true_type(), columns.across > 8 ? lines : all, columns.log(), 0);
    if (columns.across > 8) fill(std::false_type(), all - lines, columns.rest_log(), 8);
  });
}

// Where the columns of each patch lie, and how many steps it takes.
template <class M>
NATTEN_HD void find_columns(M& m, const WindowCall& call, const Block& block) {
  m.columns(
      [&](int patch) {
        const Keys keys = keys_of(call, block, patch);
        return block.pane_row(keys.y.first, keys.x.first);
      },
      [&](int patch, int column) {
        // Of padding, the last key of a line.
        const Columns columns = keys_of(call, block, patch).columns();
        int ky, kx;
        columns.place(column, &ky, &kx);
        return (ky < columns.down ? ky : columns.down - 1) * block.pitch +
               (kx < columns.across ? kx : columns.across - 1);
      });
  m.steps([&](int patch) { return Steps<M>::of(keys_of(call, block, patch).columns()); });
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
