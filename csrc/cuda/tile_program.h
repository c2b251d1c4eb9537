// The fused kernels as one program over tile primitives. A machine supplies
// the primitives: tile_cuda.cuh on tensor cores, tile_host.h as plain loops
// that the tests run on a CPU, in the same tile shapes and the same order.
//
//   forward   a tile of queries against the box of keys it sees: online softmax
//   dq        the same again, weights from the log-sum-exp; bias gradient
//   dk, dv    a tile of keys against the box of queries that see it
//
// Nothing is added to by two tiles, so results do not depend on scheduling.
//
// A machine M has
//   Element, kDim (columns of a tile of q, k, v), kColumns (a chunk of the box)
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

#include "tile_geometry.h"

namespace natten::cuda {

// One call, as all three kernels take it. Strides of q, k, v, out, dout and the gradients are multiples of 16 bytes.
struct TileCall {
  Problem p;
  Tiling tiling;
  View q, k, v, out, lse, dout, dq, dk, dv, mean;  // mean: dout . out, float, laid out as lse
  const float* rpb;                                // [heads, entries] or null
  float* drpb;                                     // [parts, heads, entries] or null
  int64_t parts;                                   // workers of one head; worker w takes the tiles w, w + parts, ...
  int entries;
};

// A column's place in all windows at once, and its part of the bias index.
struct Column {
  uint32_t place;
  int bias;
};

// A column of the dk, dv kernel is a query: both ends of its window.
struct QueryColumn {
  uint32_t low, high;
  float lse, mean;
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

// The bias of one head on chip, in units of log2.
template <class M>
NATTEN_HD const float* stage_bias(M& m, const TileCall& call, int64_t head) {
  if (call.rpb == nullptr) return nullptr;
  float* const bias = m.memory().bias;
  const float* const from = call.rpb + head * call.entries;
  m.each(call.entries, [&](int i) { bias[i] = from[i] * kLog2E; });
  return bias;
}

// Scales logits to log2, adds the bias, and puts -inf where a query does not see the key.
template <class M, class Windows>
NATTEN_HD void finish_logits(M& m, const TileCall& call, typename M::Scores& logits, const Windows& windows,
                             const Column* columns, const float* bias) {
  const float factor = static_cast<float>(call.p.scale) * kLog2E;
  const uint32_t guards = call.tiling.fields.guards;
  if (bias != nullptr) {
    m.each_score(logits, [&](auto row, int c, float& x) {
      const Column column = columns[c];
      const WindowFields& w = windows[row];
      const bool seen = inside(column.place, w.low, w.high, guards);
      const float b = bias[seen ? column.bias + w.bias : 0];
      x = seen ? x * factor + b : M::minus_infinity();
    });
  } else {
    m.each_score(logits, [&](auto row, int c, float& x) {
      const WindowFields& w = windows[row];
      x = inside(columns[c].place, w.low, w.high, guards) ? x * factor : M::minus_infinity();
    });
  }
}

template <class M>
NATTEN_HD void forward_tile(M& m, const TileCall& call, int64_t head, int64_t item, const float* bias) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Tile tile = tile_at(p, call.tiling, item);
  if (!tile.exists) return;
  const int64_t kv_head = head / (p.heads / p.kv_heads);
  const Box keys = keys_of_tile(tile);
  const Lattice k_lattice = lattice_of(p, call.k, tile, kv_head, keys.first);
  const Lattice v_lattice = lattice_of(p, call.v, tile, kv_head, keys.first);
  const int chunks = (keys.count() + M::kColumns - 1) / M::kColumns;
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const auto load = [&](int chunk) {
    const int stage = chunk % 2;
    copy_chunk(m, memory.k(stage), call.k, k_lattice, memory.v(stage), call.v, v_lattice, keys, chunk);
    m.each(M::kColumns, [&](int c) { memory.columns(stage)[c] = key_column(call, keys, chunk * M::kColumns + c); });
    m.commit();
  };
  const TileRows<const T> q_rows(call, tile, call.q, head);
  m.copy(memory.rows[0], kTileRows, p.dim, q_rows);
  load(0);

  m.reach([&](int band) { return reach_of(call.tiling, tile, keys, band, true); });
  const auto windows = m.rows([&](int row) { return window_fields(call, tile, keys, row); });
  auto top = m.rows([](int) { return M::minus_infinity(); });
  auto total = m.rows([](int) { return 0.0f; });
  typename M::Sums sum;
  sum.clear();

  for (int chunk = 0; chunk < chunks; chunk++) {
    const int stage = chunk % 2;
    if (chunk + 1 < chunks) {
      load(chunk + 1);
      m.template wait<1>();
    } else {
      m.template wait<0>();
    }
    m.sync();
    m.chunk(chunk);
    typename M::Scores logits;
    m.clear(logits);
    m.multiply_transposed(logits, memory.rows[0], memory.k(stage));
    finish_logits(m, call, logits, windows, memory.columns(stage), bias);
    auto higher = top;
    m.row_max(logits, higher);
    // Until a row has seen a key its maximum is -inf; then 0 stands in, or the difference would be NaN.
    const auto base = m.rows_of(higher, [](auto, float x) { return x == M::minus_infinity() ? 0.0f : x; });
    const auto rescale = m.rows_of(base, [&](auto row, float x) { return M::exp2(top[row] - x); });
    top = higher;
    m.each_score(logits, [&](auto row, int, float& x) { x = M::exp2(x - base[row]); });
    m.scale_rows(total, rescale);
    m.row_sum(logits, total);
    sum.each([&](auto row, int, float& x) { x *= rescale[row]; });
    m.multiply(sum, logits, memory.v(stage));
    m.sync();
  }
  m.finish_row_sum(total);
  const auto factor = m.rows_of(total, [](auto, float x) { return x > 0.0f ? 1.0f / x : 0.0f; });
  const TileRows<T> out_rows(call, tile, call.out, head);
  m.store(sum, memory.rows[0], factor, p.value_dim, out_rows);
  if (call.lse.data != nullptr) {
    const TileRows<float> lse_rows(call, tile, call.lse, head);
    const auto lse = m.rows_of(total, [&](auto row, float x) { return (top[row] + M::log2(x)) / kLog2E; });
    m.store_rows(lse, lse_rows);
  }
  m.sync();
}

template <class M>
NATTEN_HD void forward_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  const float* const bias = stage_bias(m, call, head);
  for (int64_t item = worker; item < call.tiling.items; item += call.parts) forward_tile(m, call, head, item, bias);
}

// dq of one tile; adds to the bias gradient of this worker's head.
template <class M>
NATTEN_HD void dq_tile(M& m, const TileCall& call, int64_t head, int64_t item, const float* bias, float* drpb) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Tile tile = tile_at(p, call.tiling, item);
  if (!tile.exists) return;
  const int64_t kv_head = head / (p.heads / p.kv_heads);
  const Box keys = keys_of_tile(tile);
  const Lattice k_lattice = lattice_of(p, call.k, tile, kv_head, keys.first);
  const Lattice v_lattice = lattice_of(p, call.v, tile, kv_head, keys.first);
  const int chunks = (keys.count() + M::kColumns - 1) / M::kColumns;
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const auto load = [&](int chunk) {
    const int stage = chunk % 2;
    copy_chunk(m, memory.k(stage), call.k, k_lattice, memory.v(stage), call.v, v_lattice, keys, chunk);
    m.each(M::kColumns, [&](int c) { memory.columns(stage)[c] = key_column(call, keys, chunk * M::kColumns + c); });
    m.commit();
  };
  const TileRows<const T> q_rows(call, tile, call.q, head), dout_rows(call, tile, call.dout, head),
      out_rows(call, tile, call.out, head);
  m.copy(memory.rows[0], kTileRows, p.dim, q_rows);
  m.copy(memory.rows[1], kTileRows, p.value_dim, dout_rows);
  load(0);

  m.reach([&](int band) { return reach_of(call.tiling, tile, keys, band, true); });
  const auto windows = m.rows([&](int row) { return window_fields(call, tile, keys, row); });
  const TileRows<float> lse_rows(call, tile, call.lse, head), mean_rows(call, tile, call.mean, head);
  const auto lse = m.rows([&](int row) {
    const float* const at = lse_rows(row);
    return at == nullptr ? 0.0f : *at * kLog2E;
  });
  // dout . out, kept for the dk, dv kernel.
  const auto mean = m.row_dots(p.value_dim, dout_rows, out_rows);
  m.store_rows(mean, mean_rows);
  typename M::Sums sum;
  sum.clear();

  for (int chunk = 0; chunk < chunks; chunk++) {
    const int stage = chunk % 2;
    if (chunk + 1 < chunks) {
      load(chunk + 1);
      m.template wait<1>();
    } else {
      m.template wait<0>();
    }
    m.sync();
    m.chunk(chunk);
    typename M::Scores weights, slopes;
    m.clear(weights);
    m.clear(slopes);
    m.multiply_transposed(weights, memory.rows[0], memory.k(stage));
    m.multiply_transposed(slopes, memory.rows[1], memory.v(stage));
    finish_logits(m, call, weights, windows, memory.columns(stage), bias);
    m.pair(weights, slopes, [&](auto row, int, float& weight, float& slope) {
      slope = M::exp2(weight - lse[row]) * (slope - mean[row]);
    });
    if (drpb != nullptr) {
      m.spill(slopes, memory.slopes);
      m.sync();
      // A worker's thread owns whole entries: each sum has one order. Entry e is one distance of key and query.
      const int first = chunk * M::kColumns;
      const int last = first + M::kColumns < keys.count() ? first + M::kColumns : keys.count();
      const int edge[kAxes] = {2 * tile.axis[0].kernel - 1, 2 * tile.axis[1].kernel - 1, 2 * tile.axis[2].kernel - 1};
      int plane[kAxes];
      keys.coordinates(first, plane);
      const int row_first = first / keys.size[2], row_last = (last - 1) / keys.size[2];
      m.each(call.entries, [&](int entry) {
        const int e2 = entry % edge[2], e1 = entry / edge[2] % edge[1], e0 = entry / edge[2] / edge[1];
        // Key place in the box = query place in the tile + shift.
        const int shift0 = tile.origin[0] + e0 - tile.axis[0].kernel + 1 - keys.first[0];
        const int shift1 = tile.origin[1] + e1 - tile.axis[1].kernel + 1 - keys.first[1];
        const int shift2 = tile.origin[2] + e2 - tile.axis[2].kernel + 1 - keys.first[2];
        float total = 0;
        for (int i0 = 0; i0 < tile.rows[0]; i0++) {
          const int k0 = i0 + shift0;
          if (k0 < 0 || k0 >= keys.size[0]) continue;
          for (int i1 = 0; i1 < tile.rows[1]; i1++) {
            const int k1 = i1 + shift1, row = k0 * keys.size[1] + k1;
            if (k1 < 0 || k1 >= keys.size[1] || row < row_first || row > row_last) continue;
            const int start = row * keys.size[2] + shift2 - first;  // the column of query place 0
            int begin = start < 0 ? -start : 0, end = tile.rows[2];
            if (begin < -shift2) begin = -shift2;
            if (end > last - first - start) end = last - first - start;
            if (end > keys.size[2] - shift2) end = keys.size[2] - shift2;
            const int number = ((i0 << call.tiling.log[1]) + i1) << call.tiling.log[2];
            for (int i2 = begin; i2 < end; i2++) {
              total += memory.slopes[(number + i2) * M::kSlopeStride + start + i2];
            }
          }
        }
        drpb[entry] += total;
      });
    }
    m.multiply(sum, slopes, memory.k(stage));
    m.sync();
  }
  const auto factor = m.rows([&](int) { return static_cast<float>(p.scale); });
  const TileRows<T> dq_rows(call, tile, call.dq, head);
  m.store(sum, memory.rows[0], factor, p.dim, dq_rows);
  m.sync();
}

template <class M>
NATTEN_HD void dq_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  const float* const bias = stage_bias(m, call, head);
  float* const drpb = call.drpb == nullptr ? nullptr : m.memory().drpb;
  if (drpb != nullptr) m.each(call.entries, [&](int i) { drpb[i] = 0.0f; });
  for (int64_t item = worker; item < call.tiling.items; item += call.parts) dq_tile(m, call, head, item, bias, drpb);
  if (drpb == nullptr) return;
  m.sync();
  float* const partial = call.drpb + (worker * call.p.heads + head) * call.entries;
  m.each(call.entries, [&](int i) { partial[i] = drpb[i]; });
}

// dk and dv of one tile of keys. Rows are keys and columns queries, so that the transposed weights are where the
// products with dout and q want them.
template <class M>
NATTEN_HD void dkv_tile(M& m, const TileCall& call, int64_t kv_head, int64_t item) {
  using T = typename M::Element;
  const Problem& p = call.p;
  const Fields& f = call.tiling.fields;
  const Tile tile = tile_at(p, call.tiling, item);
  if (!tile.exists) return;
  const int64_t group = p.heads / p.kv_heads;
  const Box queries = queries_of_tile(tile);
  const int chunks = (queries.count() + M::kColumns - 1) / M::kColumns;
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const TileRows<const T> k_rows(call, tile, call.k, kv_head), v_rows(call, tile, call.v, kv_head);
  m.copy(memory.rows[0], kTileRows, p.dim, k_rows);
  m.copy(memory.rows[1], kTileRows, p.value_dim, v_rows);

  // Ends of the windows by axis, in places from the tile's origin; cut to its rows, which leaves the answer for
  // them as it is and makes them fit a field.
  const int starts[kAxes] = {0, queries.size[0], queries.size[0] + queries.size[1]};
  for (int a = 0; a < kAxes; a++) {
    m.each(queries.size[a], [&](int i) {
      const Span span = window_span(tile.axis[a], queries.first[a] + i);
      const int low = span.first - tile.origin[a], high = span.last - tile.origin[a], most = tile.rows[a] - 1;
      memory.ends[starts[a] + i] = {static_cast<uint32_t>(low < 0 ? 0 : low) << f.shift[a],
                                    static_cast<uint32_t>(high > most ? most : high) << f.shift[a]};
    });
  }
  // A key's place, and its part of the bias index.
  const auto keys = m.rows([&](int row) -> Column {
    int at[kAxes];
    if (!row_place(call.tiling, tile, row, at)) return {f.outside() + f.guards, 0};
    int bias = 0;
    for (int a = 0; a < kAxes; a++) {
      bias += (tile.origin[a] + at[a] - queries.first[a] + tile.axis[a].kernel - 1) * bias_stride(p, a);
    }
    return {f.pack(at[0], at[1], at[2]) + f.guards, bias};
  });
  m.reach([&](int band) { return reach_of(call.tiling, tile, queries, band, false); });
  typename M::Sums dk_sum, dv_sum;
  dk_sum.clear();
  dv_sum.clear();
  const float factor = static_cast<float>(p.scale) * kLog2E;

  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    m.sync();
    const float* const bias = stage_bias(m, call, head);
    const Lattice q_lattice = lattice_of(p, call.q, tile, head, queries.first);
    const Lattice dout_lattice = lattice_of(p, call.dout, tile, head, queries.first);
    const Lattice lse_lattice = lattice_of(p, call.lse, tile, head, queries.first);
    const Lattice mean_lattice = lattice_of(p, call.mean, tile, head, queries.first);
    m.sync();
    const auto load = [&](int chunk) {
      const int stage = chunk % 2;
      copy_chunk(m, memory.k(stage), call.q, q_lattice, memory.v(stage), call.dout, dout_lattice, queries, chunk);
      m.commit();
      m.each(M::kColumns, [&](int c) {
        QueryColumn column{f.outside(), f.guards + f.guards, 0.0f, 0.0f};
        int bias_part = 0;
        const int number = chunk * M::kColumns + c;
        if (number < queries.count()) {
          int at[kAxes];
          queries.coordinates(number, at);
          const auto e0 = memory.ends[at[0]], e1 = memory.ends[starts[1] + at[1]], e2 = memory.ends[starts[2] + at[2]];
          column.low = e0.low + e1.low + e2.low;
          column.high = e0.high + e1.high + e2.high + f.guards + f.guards;
          column.lse = static_cast<const float*>(call.lse.data)[lse_lattice.at(at)] * kLog2E;
          column.mean = static_cast<const float*>(call.mean.data)[mean_lattice.at(at)];
          bias_part = at[0] * bias_stride(p, 0) + at[1] * bias_stride(p, 1) + at[2];
        }
        memory.queries(stage)[c] = column;
        memory.query_bias(stage)[c] = bias_part;
      });
    };
    load(0);
    for (int chunk = 0; chunk < chunks; chunk++) {
      const int stage = chunk % 2;
      if (chunk + 1 < chunks) {
        load(chunk + 1);
        m.template wait<1>();
      } else {
        m.template wait<0>();
      }
      m.sync();
      m.chunk(chunk);
      typename M::Scores weights, slopes;
      m.clear(weights);
      m.clear(slopes);
      m.multiply_transposed(weights, memory.rows[0], memory.k(stage));
      m.multiply_transposed(slopes, memory.rows[1], memory.v(stage));
      m.pair(weights, slopes, [&](auto row, int c, float& weight, float& slope) {
        const QueryColumn query = memory.queries(stage)[c];
        const Column key = keys[row];
        const bool seen = inside(key.place, query.low, query.high, f.guards);
        float logit = weight * factor;
        if (bias != nullptr) logit += bias[seen ? key.bias - memory.query_bias(stage)[c] : 0];
        weight = seen ? M::exp2(logit - query.lse) : 0.0f;
        slope = weight * (slope - query.mean);
      });
      m.multiply(dv_sum, weights, memory.v(stage));
      m.multiply(dk_sum, slopes, memory.k(stage));
      m.sync();
    }
  }
  const TileRows<T> dk_rows(call, tile, call.dk, kv_head), dv_rows(call, tile, call.dv, kv_head);
  m.store(dk_sum, memory.rows[0], m.rows([&](int) { return static_cast<float>(p.scale); }), p.dim, dk_rows);
  m.store(dv_sum, memory.rows[1], m.rows([](int) { return 1.0f; }), p.value_dim, dv_rows);
  m.sync();
}

template <class M>
NATTEN_HD void dkv_program(M& m, const TileCall& call, int64_t kv_head, int64_t worker) {
  for (int64_t item = worker; item < call.tiling.items; item += call.parts) dkv_tile(m, call, kv_head, item);
}

}  // namespace natten::cuda
