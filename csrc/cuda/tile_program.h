// The kernels as programs over tile primitives. A machine supplies the
// primitives: tile_cuda.cuh on tensor cores, tile_host.h as plain loops that
// the tests run on a CPU, in the same tile shapes and the same order.
//
//   forward   a tile of queries against the box of keys it sees: online softmax (here)
//   dq        the same again, weights from the log-sum-exp; bias gradient (tile_backward.h)
//   dk, dv    a tile of keys against the box of queries that see it (tile_backward.h)
//   dots, gather keys, gather queries   the unfused operators (tile_pair.h)
//
// Nothing is added to by two tiles, so results do not depend on scheduling.
//
// A machine M has
//   Element, Value (what Element is summed in), kDim (columns of a tile of q, k, v), kColumns (a chunk of the box)
//   Scores, Sums      rows x kColumns, rows x kDim; each(f(row, column, value&)) for what is within reach
//   reach(f(band)), chunk(c)   which columns of the box a band of rows needs: the rest of Scores is left alone
//   Rows<V>           a value per row; rows(f(row number)), operator[](row)
//   Pane              kTileRows or kColumns rows of kDim elements on chip
//   dims(dim, value_dim)       how much of a row of the first and second pane of a pair there is
//   copy(pane, rows, dim, f(row) -> address or null), copy_both(pane, pane, rows, f(row, address*, address*) -> exists)
//   commit(), wait(pending), sync()
//   each(count, f)    f(i) shared out
//   multiply_transposed(scores, pane a, pane b)   acc += a b^T
//   multiply(sums, scores, pane b)           acc += a b, a rounded to Element
//   row_max, row_sum  over Scores, into Rows
//   store(sums, pane, rows factor, dim, f(row) -> address or null)
#pragma once

#include "element.h"
#include "tile_geometry.h"

namespace natten::cuda {

// One call, as all passes take it. Strides of q, k, v, out, dout and the gradients are multiples of 16 bytes.
struct TileCall {
  Problem p;
  Tiling tiling;
  View q, k, v, out, lse, dout, dq, dk, dv, mean;  // mean: dout . out, Value, laid out as lse
  View weights;                                    // of the unfused operators: a slot for each key of a window
  const void* rpb;                                 // Value [heads, entries] or null
  void* drpb;                                      // Value [parts, heads, entries] or null
  int64_t parts;                                   // workers of one head; worker w takes the tiles w, w + parts, ...
  int entries;
  double empty;  // what a slot without a key gets
};

// A column's place in all windows at once, and its part of the bias index.
struct Column {
  uint32_t place;
  int bias;
};

// A column of the dk, dv kernel is a query: both ends of its window.
template <class V>
struct QueryColumn {
  uint32_t low, high;
  V lse, mean;
};

NATTEN_HD bool inside(uint32_t place, uint32_t low, uint32_t high, uint32_t guards) {
  return ((place - low) & (high - place) & guards) == guards;
}

NATTEN_HD int bias_stride(const Problem& p, int axis) {
  int stride = 1;
  for (int a = axis + 1; a < kAxes; a++) stride *= 2 * static_cast<int>(p.axis[a].kernel) - 1;
  return stride;
}

// Windows of the tile's queries, in the fields of the box of keys; a row that does not exist sees nothing.
struct WindowFields {
  uint32_t low, high;  // high carries its guards twice: see inside()
  int bias;            // the key's part is added to it
};

NATTEN_HD WindowFields window_fields(const TileCall& call, const Tile& tile, const Box& keys, int row) {
  const Fields& f = call.tiling.fields;
  int at[kAxes];
  if (!row_place(call.tiling, tile, row, at)) return {f.outside(), f.guards + f.guards, 0};
  int low[kAxes], high[kAxes], bias = 0;
  for (int a = 0; a < kAxes; a++) {
    const int place = tile.origin[a] + at[a];
    const Span span = window_span(tile.axis[a], place);
    low[a] = span.first - keys.first[a];
    high[a] = span.last - keys.first[a];
    bias += (keys.first[a] - place + tile.axis[a].kernel - 1) * bias_stride(call.p, a);
  }
  return {f.pack(low[0], low[1], low[2]), f.pack(high[0], high[1], high[2]) + f.guards + f.guards, bias};
}

// Number `number` of the box of keys; behind its end, a place outside every window.
NATTEN_HD Column key_column(const TileCall& call, const Box& keys, int number) {
  const Fields& f = call.tiling.fields;
  if (number >= keys.count()) return {f.outside() + f.guards, 0};
  int at[kAxes];
  keys.coordinates(number, at);
  return {f.pack(at[0], at[1], at[2]) + f.guards,
          at[0] * bias_stride(call.p, 0) + at[1] * bias_stride(call.p, 1) + at[2]};
}

// Starts copying chunk `chunk` of a box of two tensors into their panes.
template <class M, class Pane>
NATTEN_HD void copy_chunk(M& m, Pane first_pane, const View& first, const Lattice& first_lattice, Pane second_pane,
                          const View& second, const Lattice& second_lattice, const Box& box, int chunk) {
  using T = typename M::Element;
  m.copy_both(first_pane, second_pane, M::kColumns, [&](int row, const T** a, const T** b) {
    const int number = chunk * M::kColumns + row;
    int at[kAxes];
    box.coordinates(number, at);
    *a = static_cast<const T*>(first.data) + first_lattice.at(at);
    *b = static_cast<const T*>(second.data) + second_lattice.at(at);
    return number < box.count();
  });
}

// The box of keys that a tile of queries sees.
struct Seen {
  Box keys;
  Lattice k, v;
  int chunks;
};

template <class M>
NATTEN_HD Seen seen_by(const TileCall& call, const Tile& tile, int64_t head) {
  const int64_t kv_head = head / (call.p.heads / call.p.kv_heads);
  const Box keys = keys_of_tile(tile);
  return {keys, lattice_of(call.p, call.k, tile, kv_head, keys.first),
          lattice_of(call.p, call.v, tile, kv_head, keys.first), (keys.count() + M::kColumns - 1) / M::kColumns};
}

// Starts bringing chunk `chunk` of the keys and values.
template <class M>
NATTEN_HD void load_keys(M& m, const TileCall& call, const Seen& seen, int chunk) {
  const int stage = chunk % 2;
  auto& memory = m.memory();
  copy_chunk(m, memory.k(stage), call.k, seen.k, memory.v(stage), call.v, seen.v, seen.keys, chunk);
  m.each(M::kColumns, [&](int c) { memory.columns(stage)[c] = key_column(call, seen.keys, chunk * M::kColumns + c); });
  m.commit();
}

// Starts on the keys with load(chunk), and returns the windows of the tile's rows.
template <class M, class Load>
NATTEN_HD auto begin_keys(M& m, const TileCall& call, const Tile& tile, const Seen& seen, const Load& load) {
  load(0);
  m.reach([&](int band) { return reach_of(call.tiling, tile, seen.keys, band, true); });
  return m.rows([&](int row) { return window_fields(call, tile, seen.keys, row); });
}

// Calls f(chunk, stage) for the chunks of a box while load(next chunk) is under way; load(0) has been called.
template <class M, class Load, class F>
NATTEN_HD void for_each_chunk(M& m, int chunks, const Load& load, const F& f) {
  for (int chunk = 0; chunk < chunks; chunk++) {
    if (chunk + 1 < chunks) {
      load(chunk + 1);
      m.template wait<1>();
    } else {
      m.template wait<0>();
    }
    m.sync();
    m.chunk(chunk);
    f(chunk, chunk % 2);
    m.sync();
  }
}

// Calls f(tile) for the tiles of a worker.
template <class F>
NATTEN_HD void for_each_tile(const TileCall& call, int64_t worker, const F& f) {
  for (int64_t item = worker; item < call.tiling.items; item += call.parts) {
    const Tile tile = tile_at(call.p, call.tiling, item);
    if (tile.exists) f(tile);
  }
}

// Copies the rows of a tile, or gives where they lie.
template <class T>
struct TileRows {
  const TileCall& call;
  const Tile& tile;
  T* data;
  Lattice lattice;
  NATTEN_HD TileRows(const TileCall& c, const Tile& t, const View& view, int64_t head)
      : call(c), tile(t), data(static_cast<T*>(view.data)), lattice(lattice_of(c.p, view, t, head, t.origin)) {}
  NATTEN_HD T* operator()(int row) const {
    int at[kAxes];
    return row_place(call.tiling, tile, row, at) ? data + lattice.at(at) : nullptr;
  }
};

// The bias of one head on chip, times `unit`: in units of log2 unless said otherwise.
template <class M>
NATTEN_HD const typename M::Value* stage_bias(M& m, const TileCall& call, int64_t head, double unit = kLog2OfE) {
  using V = typename M::Value;
  if (call.rpb == nullptr) return nullptr;
  V* const bias = m.memory().bias;
  const V* const from = static_cast<const V*>(call.rpb) + head * call.entries;
  const V factor = static_cast<V>(unit);
  m.each(call.entries, [&](int i) { bias[i] = from[i] * factor; });
  return bias;
}

// Scales logits to log2, adds the bias, and puts -inf where a query does not see the key.
template <class M, class Windows>
NATTEN_HD void finish_logits(M& m, const TileCall& call, typename M::Scores& logits, const Windows& windows,
                             const Column* columns, const typename M::Value* bias) {
  using V = typename M::Value;
  const V factor = static_cast<V>(call.p.scale * kLog2OfE);
  const uint32_t guards = call.tiling.fields.guards;
  if (bias != nullptr) {
    m.each_score(logits, [&](auto row, int c, V& x) {
      const Column column = columns[c];
      const WindowFields& w = windows[row];
      const bool seen = inside(column.place, w.low, w.high, guards);
      const V b = bias[seen ? column.bias + w.bias : 0];
      x = seen ? x * factor + b : M::minus_infinity();
    });
  } else {
    m.each_score(logits, [&](auto row, int c, V& x) {
      const WindowFields& w = windows[row];
      x = inside(columns[c].place, w.low, w.high, guards) ? x * factor : M::minus_infinity();
    });
  }
}

template <class M>
NATTEN_HD void forward_tile(M& m, const TileCall& call, int64_t head, const Tile& tile, const typename M::Value* bias) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const Seen seen = seen_by<M>(call, tile, head);
  const auto load = [&](int chunk) { load_keys(m, call, seen, chunk); };
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const TileRows<const T> q_rows(call, tile, call.q, head);
  m.copy(memory.rows[0], kTileRows, p.dim, q_rows);
  const auto windows = begin_keys(m, call, tile, seen, load);
  auto top = m.rows([](int) { return M::minus_infinity(); });
  auto total = m.rows([](int) { return V(0); });
  typename M::Sums sum;
  sum.clear();

  for_each_chunk(m, seen.chunks, load, [&](int, int stage) {
    typename M::Scores logits;
    m.clear(logits);
    m.multiply_transposed(logits, memory.rows[0], memory.k(stage));
    finish_logits(m, call, logits, windows, memory.columns(stage), bias);
    auto higher = top;
    m.row_max(logits, higher);
    // Until a row has seen a key its maximum is -inf; then 0 stands in, or the difference would be NaN.
    const auto base = m.rows_of(higher, [](auto, V x) { return x == M::minus_infinity() ? V(0) : x; });
    const auto rescale = m.rows_of(base, [&](auto row, V x) { return M::exp2(top[row] - x); });
    top = higher;
    m.each_score(logits, [&](auto row, int, V& x) { x = M::exp2(x - base[row]); });
    m.scale_rows(total, rescale);
    m.row_sum(logits, total);
    sum.each([&](auto row, int, V& x) { x *= rescale[row]; });
    m.multiply(sum, logits, memory.v(stage));
  });
  m.finish_row_sum(total);
  const auto factor = m.rows_of(total, [](auto, V x) { return x > V(0) ? V(1) / x : V(0); });
  const TileRows<T> out_rows(call, tile, call.out, head);
  m.store(sum, memory.rows[0], factor, p.value_dim, out_rows);
  if (call.lse.data != nullptr) {
    const TileRows<V> lse_rows(call, tile, call.lse, head);
    const auto lse = m.rows_of(total, [&](auto row, V x) { return (top[row] + M::log2(x)) * static_cast<V>(kLogOf2); });
    m.store_rows(lse, lse_rows);
  }
  m.sync();
}

template <class M>
NATTEN_HD void forward_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  const auto* const bias = stage_bias(m, call, head);
  for_each_tile(call, worker, [&](const Tile& tile) { forward_tile(m, call, head, tile, bias); });
}

}  // namespace natten::cuda
