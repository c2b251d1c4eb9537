// The fused kernels' gradients: see tile_program.h.
#pragma once

#include "tile_program.h"

namespace natten::cuda {

// Adds the spilled slopes of a chunk to the bias gradient of this worker's head.
template <class M>
NATTEN_HD void add_bias_gradient(M& m, const TileCall& call, const Tile& tile, const Box& keys, int chunk,
                                 typename M::Value* drpb) {
  const auto& memory = m.memory();
  // A worker's thread owns whole entries: each sum has one order. Entry e is one distance of key and query.
  const int first = chunk * M::kColumns;
  const int last = first + M::kColumns < keys.count() ? first + M::kColumns : keys.count();
  const int edge[kAxes] = {2 * tile.axis[0].kernel - 1, 2 * tile.axis[1].kernel - 1, 2 * tile.axis[2].kernel - 1};
  const int row_first = first / keys.size[2], row_last = (last - 1) / keys.size[2];
  m.each(call.entries, [&](int entry) {
    const int e2 = entry % edge[2], e1 = entry / edge[2] % edge[1], e0 = entry / edge[2] / edge[1];
    // Key place in the box = query place in the tile + shift.
    const int shift0 = tile.origin[0] + e0 - tile.axis[0].kernel + 1 - keys.first[0];
    const int shift1 = tile.origin[1] + e1 - tile.axis[1].kernel + 1 - keys.first[1];
    const int shift2 = tile.origin[2] + e2 - tile.axis[2].kernel + 1 - keys.first[2];
    typename M::Value total = 0;
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

// dq of one tile; adds to the bias gradient of this worker's head.
template <class M>
NATTEN_HD void dq_tile(M& m, const TileCall& call, int64_t head, const Tile& tile, const typename M::Value* bias,
                       typename M::Value* drpb) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const Seen seen = seen_by<M>(call, tile, head);
  const auto load = [&](int chunk) { load_keys(m, call, seen, chunk); };
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const TileRows<const T> q_rows(call, tile, call.q, head), dout_rows(call, tile, call.dout, head),
      out_rows(call, tile, call.out, head);
  m.copy(memory.rows[0], kTileRows, p.dim, q_rows);
  m.copy(memory.rows[1], kTileRows, p.value_dim, dout_rows);
  const auto windows = begin_keys(m, call, tile, seen, load);
  const TileRows<V> lse_rows(call, tile, call.lse, head), mean_rows(call, tile, call.mean, head);
  const auto lse = m.rows([&](int row) {
    const V* const at = lse_rows(row);
    return at == nullptr ? V(0) : *at * static_cast<V>(kLog2OfE);
  });
  // dout . out, kept for the dk, dv kernel.
  const auto mean = m.row_dots(p.value_dim, dout_rows, out_rows);
  m.store_rows(mean, mean_rows);
  typename M::Sums sum;
  sum.clear();

  for_each_chunk(m, seen.chunks, load, [&](int chunk, int stage) {
    typename M::Scores weights, slopes;
    m.clear(weights);
    m.clear(slopes);
    m.multiply_transposed(weights, memory.rows[0], memory.k(stage));
    m.multiply_transposed(slopes, memory.rows[1], memory.v(stage));
    finish_logits(m, call, weights, windows, memory.columns(stage), bias);
    m.pair(weights, slopes,
           [&](auto row, int, V& weight, V& slope) { slope = M::exp2(weight - lse[row]) * (slope - mean[row]); });
    if (drpb != nullptr) {
      m.spill(slopes, memory.slopes);
      m.sync();
      add_bias_gradient(m, call, tile, seen.keys, chunk, drpb);
    }
    m.multiply(sum, slopes, memory.k(stage));
  });
  const auto factor = m.rows([&](int) { return static_cast<V>(p.scale); });
  const TileRows<T> dq_rows(call, tile, call.dq, head);
  m.store(sum, memory.rows[0], factor, p.dim, dq_rows);
  m.sync();
}

// Calls f(tile, sums of bias entries or null) for the tiles of a worker, and hands its sums on.
template <class M, class F>
NATTEN_HD void with_bias_gradient(M& m, const TileCall& call, int64_t head, int64_t worker, const F& f) {
  using V = typename M::Value;
  V* const drpb = call.drpb == nullptr ? nullptr : m.memory().drpb;
  if (drpb != nullptr) m.each(call.entries, [&](int i) { drpb[i] = 0; });
  for_each_tile(call, worker, [&](const Tile& tile) { f(tile, drpb); });
  if (drpb == nullptr) return;
  m.sync();
  V* const partial = static_cast<V*>(call.drpb) + (worker * call.p.heads + head) * call.entries;
  m.each(call.entries, [&](int i) { partial[i] = drpb[i]; });
}

template <class M>
NATTEN_HD void dq_program(M& m, const TileCall& call, int64_t head, int64_t worker) {
  using V = typename M::Value;
  const V* const bias = stage_bias(m, call, head);
  with_bias_gradient(m, call, head, worker,
                     [&](const Tile& tile, V* drpb) { dq_tile(m, call, head, tile, bias, drpb); });
}

// Ends of the windows of a box of queries by axis, in places from the tile of keys' origin; cut to its rows, which
// leaves the answer for them as it is and makes them fit a field. Axis a starts at starts[a].
template <class M>
NATTEN_HD void find_ends(M& m, const TileCall& call, const Tile& tile, const Box& queries, const int* starts) {
  const Fields& f = call.tiling.fields;
  const auto& memory = m.memory();
  for (int a = 0; a < kAxes; a++) {
    m.each(queries.size[a], [&](int i) {
      const Span span = window_span(tile.axis[a], queries.first[a] + i);
      const int low = span.first - tile.origin[a], high = span.last - tile.origin[a], most = tile.rows[a] - 1;
      memory.ends[starts[a] + i] = {static_cast<uint32_t>(low < 0 ? 0 : low) << f.shift[a],
                                    static_cast<uint32_t>(high > most ? most : high) << f.shift[a]};
    });
  }
}

// dk and dv of one tile of keys. Rows are keys and columns queries, so that the transposed weights are where the
// products with dout and q want them.
template <class M>
NATTEN_HD void dkv_tile(M& m, const TileCall& call, int64_t kv_head, const Tile& tile) {
  using T = typename M::Element;
  using V = typename M::Value;
  const Problem& p = call.p;
  const Fields& f = call.tiling.fields;
  const int64_t group = p.heads / p.kv_heads;
  const Box queries = queries_of_tile(tile);
  const int chunks = (queries.count() + M::kColumns - 1) / M::kColumns;
  auto& memory = m.memory();
  m.dims(p.dim, p.value_dim);

  const TileRows<const T> k_rows(call, tile, call.k, kv_head), v_rows(call, tile, call.v, kv_head);
  m.copy(memory.rows[0], kTileRows, p.dim, k_rows);
  m.copy(memory.rows[1], kTileRows, p.value_dim, v_rows);

  const int starts[kAxes] = {0, queries.size[0], queries.size[0] + queries.size[1]};
  find_ends(m, call, tile, queries, starts);
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
  const V factor = static_cast<V>(p.scale * kLog2OfE);

  for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
    m.sync();
    const V* const bias = stage_bias(m, call, head);
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
        QueryColumn<V> column{f.outside(), f.guards + f.guards, 0, 0};
        int bias_part = 0;
        const int number = chunk * M::kColumns + c;
        if (number < queries.count()) {
          int at[kAxes];
          queries.coordinates(number, at);
          const auto e0 = memory.ends[at[0]], e1 = memory.ends[starts[1] + at[1]], e2 = memory.ends[starts[2] + at[2]];
          column.low = e0.low + e1.low + e2.low;
          column.high = e0.high + e1.high + e2.high + f.guards + f.guards;
          column.lse = static_cast<const V*>(call.lse.data)[lse_lattice.at(at)] * static_cast<V>(kLog2OfE);
          column.mean = static_cast<const V*>(call.mean.data)[mean_lattice.at(at)];
          bias_part = at[0] * bias_stride(p, 0) + at[1] * bias_stride(p, 1) + at[2];
        }
        memory.queries(stage)[c] = column;
        memory.parts(stage)[c] = bias_part;
      });
    };
    load(0);
    for_each_chunk(m, chunks, load, [&](int, int stage) {
      typename M::Scores weights, slopes;
      m.clear(weights);
      m.clear(slopes);
      m.multiply_transposed(weights, memory.rows[0], memory.k(stage));
      m.multiply_transposed(slopes, memory.rows[1], memory.v(stage));
      m.pair(weights, slopes, [&](auto row, int c, V& weight, V& slope) {
        const QueryColumn<V> query = memory.queries(stage)[c];
        const Column key = keys[row];
        const bool seen = inside(key.place, query.low, query.high, f.guards);
        V logit = weight * factor;
        if (bias != nullptr) logit += bias[seen ? key.bias - memory.parts(stage)[c] : 0];
        weight = seen ? M::exp2(logit - query.lse) : V(0);
        slope = weight * (slope - query.mean);
      });
      m.multiply(dv_sum, weights, memory.v(stage));
      m.multiply(dk_sum, slopes, memory.k(stage));
    });
  }
  const TileRows<T> dk_rows(call, tile, call.dk, kv_head), dv_rows(call, tile, call.dv, kv_head);
  m.store(dk_sum, memory.rows[0], m.rows([&](int) { return static_cast<V>(p.scale); }), p.dim, dk_rows);
  m.store(dv_sum, memory.rows[1], m.rows([](int) { return V(1); }), p.value_dim, dv_rows);
  m.sync();
}

template <class M>
NATTEN_HD void dkv_program(M& m, const TileCall& call, int64_t kv_head, int64_t worker) {
  for_each_tile(call, worker, [&](const Tile& tile) { dkv_tile(m, call, kv_head, tile); });
}

}  // namespace natten::cuda
