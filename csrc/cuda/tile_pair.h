// The unfused operators over the tile primitives. Weights lie in memory, a slot for each key of a query's window.
//
//   dots             q . k into slots: the logits, and the gradient of the attention weights
//   gather keys      sums of k by a query's weights: the output, and dq; the bias gradient
//   gather queries   sums of q by the weights that queries have for a key: dv, and dk
#pragma once

#include "tile_backward.h"

namespace natten::cuda {

NATTEN_HD int slot_stride(const Problem& p, int axis) {
  int stride = 1;
  for (int a = axis + 1; a < kAxes; a++) stride *= static_cast<int>(p.axis[a].kernel);
  return stride;
}

// A key's slot is the sum of what its place in the box gives and what the row's window does.
NATTEN_HD int slot_of_column(const Problem& p, const Box& keys, int number) {
  int at[kAxes];
  keys.coordinates(number, at);
  return at[0] * slot_stride(p, 0) + at[1] * slot_stride(p, 1) + at[2];
}
NATTEN_HD int slot_of_row(const TileCall& call, const Tile& tile, const Box& keys, int row) {
  int at[kAxes], slot = 0;
  if (!row_place(call.tiling, tile, row, at)) return 0;
  for (int a = 0; a < kAxes; a++) {
    slot += (keys.first[a] - window_span(tile.axis[a], tile.origin[a] + at[a]).first) * slot_stride(call.p, a);
  }
  return slot;
}

// Starts copying chunk `chunk` of a box of one tensor.
template <class M, class Pane>
NATTEN_HD void copy_chunk(M& m, Pane pane, const View& view, const Lattice& lattice, const Box& box, int chunk,
                          int64_t dim) {
  using T = typename M::Element;
  m.copy(pane, M::kColumns, dim, [&](int row) -> const T* {
    const int number = chunk * M::kColumns + row;
    if (number >= box.count()) return nullptr;
    int at[kAxes];
    box.coordinates(number, at);
    return static_cast<const T*>(view.data) + lattice.at(at);
  });
}

template <class M>
NATTEN_HD void load_keys_and_slots(M& m, const TileCall& call, const Seen& seen, int chunk) {
  const int stage = chunk % 2;
  auto& memory = m.memory();
  copy_chunk(m, memory.k(stage), call.k, seen.k, seen.keys, chunk, call.p.dim);
  m.each(M::kColumns, [&](int c) {
    memory.columns(stage)[c] = key_column(call, seen.keys, chunk * M::kColumns + c);
    memory.parts(stage)[c] = slot_of_column(call.p, seen.keys, chunk * M::kColumns + c);
  });
  m.commit();
}

// Causal windows have fewer keys than slots.
template <class M>
NATTEN_HD void fill_empty_slots(M& m, const TileCall& call, const Tile& tile,
                                const TileRows<typename M::Element>& weight_rows) {
  using T = typename M::Element;
  if (!tile.axis[0].causal && !tile.axis[1].causal && !tile.axis[2].causal) return;
  const int slots = static_cast<int>(call.p.slots());
  const T empty = static_cast<T>(static_cast<typename M::Value>(call.empty));
  m.each(kTileRows * slots, [&](int i) {
    const int row = i / slots;
    int slot = i - row * slots, at[kAxes];
    if (!row_place(call.tiling, tile, row, at)) return;
    T* const to = weight_rows(row) + slot;
    for (int a = kAxes - 1; a >= 0; a--) {
      const GroupAxis& axis = tile.axis[a];
      const Span span = window_span(axis, tile.origin[a] + at[a]);
      if (slot % axis.kernel > span.last - span.first) {
        *to = empty;
        return;
      }
      slot /= axis.kernel;
    }
  });
}

template <class M>
NATTEN_HD void dots_tile(M& m, const TileCall& call, int64_t head, const Tile& tile, const typename M::Value* bias) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const uint32_t guards = call.tiling.fields.guards;
  const Seen seen = seen_by<M>(call, tile, head);
  const auto load = [&](int chunk) { load_keys_and_slots(m, call, seen, chunk); };
  auto& memory = m.memory();

  const TileRows<const T> q_rows(call, tile, call.q, head);
  const TileRows<T> weight_rows(call, tile, call.weights, head);
  m.copy(memory.rows[0], kTileRows, p.dim, q_rows);
  const auto windows = begin_keys(m, call, tile, seen, load);
  const auto to = m.rows([&](int row) -> T* {
    T* const at = weight_rows(row);
    return at == nullptr ? nullptr : at + slot_of_row(call, tile, seen.keys, row);
  });
  fill_empty_slots(m, call, tile, weight_rows);
  const V factor = static_cast<V>(p.scale);

  for_each_chunk(m, seen.chunks, load, [&](int, int stage) {
    typename M::Scores dots;
    m.clear(dots);
    m.multiply_transposed(dots, memory.rows[0], memory.k(stage));
    m.each_score(dots, [&](auto row, int c, V& x) {
      const Column column = memory.columns(stage)[c];
      const WindowFields& w = windows[row];
      if (!inside(column.place, w.low, w.high, guards)) return;
      V logit = x * factor;
      if (bias != nullptr) logit += bias[column.bias + w.bias];
      to[row][memory.parts(stage)[c]] = static_cast<T>(logit);
    });
  });
}

template <class M>
NATTEN_HD void dots_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  const auto* const bias = stage_bias(m, call, head, 1.0);
  for_each_tile(call, worker, [&](const Tile& tile) { dots_tile(m, call, head, tile, bias); });
}

template <class M>
NATTEN_HD void gather_keys_tile(M& m, const TileCall& call, int64_t head, const Tile& tile, typename M::Value* drpb) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const uint32_t guards = call.tiling.fields.guards;
  const Seen seen = seen_by<M>(call, tile, head);
  const auto load = [&](int chunk) { load_keys_and_slots(m, call, seen, chunk); };
  auto& memory = m.memory();

  const auto windows = begin_keys(m, call, tile, seen, load);
  const TileRows<const T> weight_rows(call, tile, call.weights, head);
  const auto from = m.rows([&](int row) -> const T* {
    const T* const at = weight_rows(row);
    return at == nullptr ? nullptr : at + slot_of_row(call, tile, seen.keys, row);
  });
  typename M::Sums sum;
  sum.clear();

  for_each_chunk(m, seen.chunks, load, [&](int chunk, int stage) {
    typename M::Scores weights;
    m.clear(weights);
    m.each_score(weights, [&](auto row, int c, V& x) {
      const WindowFields& w = windows[row];
      if (inside(memory.columns(stage)[c].place, w.low, w.high, guards)) {
        x = static_cast<V>(from[row][memory.parts(stage)[c]]);
      }
    });
    if (drpb != nullptr) {
      m.spill(weights, memory.slopes);
      m.sync();
      add_bias_gradient(m, call, tile, seen.keys, chunk, drpb);
    }
    m.multiply(sum, weights, memory.k(stage));
  });
  const TileRows<T> rows(call, tile, call.out, head);
  m.store(sum, memory.rows[0], m.rows([&](int) { return static_cast<V>(p.scale); }), p.dim, rows);
  m.sync();
}

template <class M>
NATTEN_HD void gather_keys_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  with_bias_gradient(m, call, head, worker,
                     [&](const Tile& tile, typename M::Value* drpb) { gather_keys_tile(m, call, head, tile, drpb); });
}

// Rows are keys and columns the queries that see them.
template <class M>
NATTEN_HD void gather_queries_tile(M& m, const TileCall& call, int64_t kv_head, const Tile& tile) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const Fields& f = call.tiling.fields;
  const int64_t group = p.heads / p.kv_heads;
  const Box queries = queries_of_tile(tile);
  const int chunks = (queries.count() + M::kColumns - 1) / M::kColumns;
  auto& memory = m.memory();

  const int starts[kAxes] = {0, queries.size[0], queries.size[0] + queries.size[1]};
  find_ends(m, call, tile, queries, starts);
  for (int a = 0; a < kAxes; a++) {
    m.each(queries.size[a], [&](int i) {
      const Span span = window_span(tile.axis[a], queries.first[a] + i);
      memory.slots[starts[a] + i] = (tile.origin[a] - span.first) * slot_stride(p, a);
    });
  }
  // A key's place, and its part of the slot.
  const auto keys = m.rows([&](int row) -> Column {
    int at[kAxes];
    if (!row_place(call.tiling, tile, row, at)) return {f.outside() + f.guards, 0};
    return {f.pack(at[0], at[1], at[2]) + f.guards, at[0] * slot_stride(p, 0) + at[1] * slot_stride(p, 1) + at[2]};
  });
  m.reach([&](int band) { return reach_of(call.tiling, tile, queries, band, false); });
  typename M::Sums sum;
  sum.clear();

  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    const Lattice lattice = lattice_of(p, call.q, tile, head, queries.first);
    const Lattice weight_lattice = lattice_of(p, call.weights, tile, head, queries.first);
    const T* const from = static_cast<const T*>(call.weights.data) + weight_lattice.base;
    m.sync();
    const auto load = [&](int chunk) {
      const int stage = chunk % 2;
      copy_chunk(m, memory.k(stage), call.q, lattice, queries, chunk, p.dim);
      m.commit();
      m.each(M::kColumns, [&](int c) {
        QueryColumn<V> column{f.outside(), f.guards + f.guards, 0, 0};
        int part = 0;
        const int number = chunk * M::kColumns + c;
        if (number < queries.count()) {
          int at[kAxes];
          queries.coordinates(number, at);
          const int i0 = at[0], i1 = starts[1] + at[1], i2 = starts[2] + at[2];
          const auto e0 = memory.ends[i0], e1 = memory.ends[i1], e2 = memory.ends[i2];
          column.low = e0.low + e1.low + e2.low;
          column.high = e0.high + e1.high + e2.high + f.guards + f.guards;
          part = static_cast<int>(weight_lattice.at(at) - weight_lattice.base) + memory.slots[i0] + memory.slots[i1] +
                 memory.slots[i2];
        }
        memory.queries(stage)[c] = column;
        memory.parts(stage)[c] = part;
      });
    };
    load(0);
    for_each_chunk(m, chunks, load, [&](int, int stage) {
      typename M::Scores weights;
      m.clear(weights);
      m.each_score(weights, [&](auto row, int c, V& x) {
        const QueryColumn<V>& query = memory.queries(stage)[c];
        const Column key = keys[row];
        if (inside(key.place, query.low, query.high, f.guards)) {
          x = static_cast<V>(from[memory.parts(stage)[c] + key.bias]);
        }
      });
      m.multiply(sum, weights, memory.k(stage));
    });
  }
  const TileRows<T> rows(call, tile, call.out, kv_head);
  m.store(sum, memory.rows[0], m.rows([&](int) { return static_cast<V>(p.scale); }), p.dim, rows);
  m.sync();
}

template <class M>
NATTEN_HD void gather_queries_program(M& m, const TileCall& call, int64_t kv_head, int64_t worker) {
  for_each_tile(call, worker, [&](const Tile& tile) { gather_queries_tile(m, call, kv_head, tile); });
}

}  // namespace natten::cuda
