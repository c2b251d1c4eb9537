// What the warpgroups of the wgmma kernel do: one copies, each of the others
// multiplies for half a tile. Chunks of keys and values arrive in rings of
// stages; the scores of chunk i + 1 are made while those of chunk i become
// sums, as in FlashAttention-3 (arXiv 2407.08608).
#pragma once

#include <type_traits>

#include "device.cuh"
#include "hopper_geometry.h"
#include "hopper_wgmma.cuh"

namespace natten::cuda::hopper {

constexpr int kThreads = 384;
constexpr int kConsumerWarps = 8;
constexpr int kPanelBytes = 128;  // a row of 64 elements
constexpr float kLog2E = 1.4426950408889634f;

constexpr int stages_of(int dim) { return dim > 64 ? 2 : 4; }

struct Call {
  Problem p;
  Plan plan;
  View out, lse;
  bool last_is_batch;  // the fifth coordinate: the image, or with three axes the first of them
};

struct Maps {
  CUtensorMap q, k, v;
};

// What lies in shared memory; the panels on 1024 bytes, as the swizzle wants.
template <int kDim>
struct Shared {
  static constexpr int kPanels = kDim / 64, kStages = stages_of(kDim);
  alignas(1024) char q[kPanels][kRows * kPanelBytes];
  alignas(1024) char k[kStages][kPanels][kColumns * kPanelBytes];
  alignas(1024) char v[kStages][kPanels][kColumns * kPanelBytes];
  uint64_t q_full, k_full[kStages], k_empty[kStages], v_full[kStages], v_empty[kStages];
  int4 origin[kStages];  // of the chunk in k, from the start of the box
  Tile tile;
  Box keys;
  ChunkGrid grid;
  // What all sixteen rows of a warp see on each axis, and each thread's columns of a chunk that lies within that on the
  // first two.
  int4 common_first[kConsumerWarps], common_last[kConsumerWarps];
  uint64_t inner[2][kConsumerWarps * 32];
  RowWindow windows[kRows];
};

#if NATTEN_HOPPER

struct Ring {
  int stage = 0;
  uint32_t parity = 0;
  template <int kStages>
  __device__ __forceinline__ void next() {
    stage++;
    if (stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

template <class T>
__device__ __forceinline__ uint32_t pack_pair(float low, float high) {
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
}

__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Tokens of a place on each axis, and the fifth coordinate.
__device__ __forceinline__ void copy_tokens(char* to, const CUtensorMap* map, uint64_t* barrier, const Call& call,
                                            const Tile& tile, const int* place, int panel, int64_t head) {
  int token[kAxes];
#pragma unroll
  for (int a = 0; a < kAxes; a++) token[a] = tile.residue[a] + place[a] * static_cast<int>(call.p.axis[a].dilation);
  copy_box(to, map, barrier, panel * 64, static_cast<int>(head), token[2], token[1],
           call.last_is_batch ? static_cast<int>(tile.batch) : token[0]);
}

template <int kDim>
__device__ void copy_all(Shared<kDim>& shared, const Maps& maps, const Call& call, int64_t head) {
  constexpr int kPanels = Shared<kDim>::kPanels, kStages = Shared<kDim>::kStages;
  const Tile& tile = shared.tile;
  const int64_t kv_head = head / (call.p.heads / call.p.kv_heads);
  barrier_expect(&shared.q_full, kPanels * kRows * kPanelBytes);
  for (int h = 0; h < kPanels; h++) copy_tokens(shared.q[h], &maps.q, &shared.q_full, call, tile, tile.origin, h, head);
  const int bytes = kPanels * chunk_size(call.plan) * kPanelBytes, chunks = shared.grid.total();
  Ring ring;
  for (int chunk = 0; chunk < chunks; chunk++) {
    int place[kAxes];
    shared.grid.origin(call.plan, chunk, place);
    const int4 origin = make_int4(place[0], place[1], place[2], 0);
    for (int a = 0; a < kAxes; a++) place[a] += shared.keys.first[a];
    barrier_wait(&shared.k_empty[ring.stage], ring.parity ^ 1);
    shared.origin[ring.stage] = origin;
    barrier_expect(&shared.k_full[ring.stage], bytes);
    for (int h = 0; h < kPanels; h++) {
      copy_tokens(shared.k[ring.stage][h], &maps.k, &shared.k_full[ring.stage], call, tile, place, h, kv_head);
    }
    barrier_wait(&shared.v_empty[ring.stage], ring.parity ^ 1);
    barrier_expect(&shared.v_full[ring.stage], bytes);
    for (int h = 0; h < kPanels; h++) {
      copy_tokens(shared.v[ring.stage][h], &maps.v, &shared.v_full[ring.stage], call, tile, place, h, kv_head);
    }
    ring.next<kStages>();
  }
}

// One half of a tile: a warpgroup. Thread t has rows t/4 and t/4 + 8 of its warp's sixteen.
template <class T, int kDim>
struct Half {
  using SharedType = Shared<kDim>;
  static constexpr int kStages = SharedType::kStages;

  SharedType& shared;
  const Call& call;
  const int half, warp, lane;  // warp of the warpgroup
  float factor;
  float top[2], total[2];
  float sums[kDim / 2];
  float scores[kColumns / 2];
  uint32_t weights[kColumns / 4];

  __device__ __forceinline__ Half(SharedType& s, const Call& c)
      : shared(s),
        call(c),
        half(static_cast<int>(threadIdx.x) / 128 - 1),
        warp(static_cast<int>(threadIdx.x) % 128 / 32),
        lane(static_cast<int>(threadIdx.x) % 32) {
    factor = static_cast<float>(call.p.scale) * kLog2E;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      top[i] = minus_infinity();
      total[i] = 0.0f;
    }
    keep_inner();
#pragma unroll
    for (int i = 0; i < kDim / 2; i++) sums[i] = 0.0f;
  }
  __device__ __forceinline__ static float minus_infinity() { return __int_as_float(0xff800000); }
  __device__ __forceinline__ int row(int i) const { return half * 64 + warp * 16 + lane / 4 + i * 8; }

  __device__ __forceinline__ void leave(uint64_t* barrier) {
    __syncwarp();
    if (lane == 0) barrier_arrive(barrier);
  }
  __device__ __forceinline__ void pass_over(Ring& ring) {
    take_turn();
    pass_turn();
    barrier_wait(&shared.k_full[ring.stage], ring.parity);
    leave(&shared.k_empty[ring.stage]);
    barrier_wait(&shared.v_full[ring.stage], ring.parity);
    leave(&shared.v_empty[ring.stage]);
    ring.next<kStages>();
  }

  // Read by the lane that will say that the stage is empty.
  __device__ __forceinline__ int4 chunk_origin(int stage) {
    int4 origin = make_int4(0, 0, 0, 0);
    if (lane == 0) origin = shared.origin[stage];
    origin.x = __shfl_sync(0xffffffffu, origin.x, 0);
    origin.y = __shfl_sync(0xffffffffu, origin.y, 0);
    origin.z = __shfl_sync(0xffffffffu, origin.z, 0);
    return origin;
  }

  __device__ __forceinline__ void start_scores(int stage) {
    const uint64_t a = describe(shared.q[0] + half * 64 * kPanelBytes, 16), b = describe(shared.k[stage][0], 16);
    hold<kColumns / 2>(scores);
    products_begin();
#pragma unroll
    for (int i = 0; i < kDim / 16; i++) {
      multiply_transposed<T>(scores, advance(a, i / 4 * (kRows * kPanelBytes) + i % 4 * 32),
                             advance(b, i / 4 * (kColumns * kPanelBytes) + i % 4 * 32), i > 0);
    }
    products_commit();
  }
  __device__ __forceinline__ void start_sums(int stage) {
    const uint64_t b = describe(shared.v[stage][0], kColumns * kPanelBytes);
    hold<kDim / 2>(sums);
    products_begin();
#pragma unroll
    for (int i = 0; i < kColumns / 16; i++) multiply<T>(sums, weights + 4 * i, advance(b, i * 16 * kPanelBytes));
    products_commit();
  }

  __device__ __forceinline__ int warp_of_tile() const { return half * 4 + warp; }
  __device__ __forceinline__ void keep_inner() {
    int first[kAxes], last[kAxes];
    RowWindow windows[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      windows[i] = row_window(call.plan, shared.tile, shared.keys, row(i));
      if (lane % 4 == 0) shared.windows[row(i)] = windows[i];
    }
#pragma unroll
    for (int a = 0; a < kAxes; a++) {
      first[a] = __reduce_max_sync(0xffffffffu, max(windows[0].first(a), windows[1].first(a)));
      last[a] = __reduce_min_sync(0xffffffffu, min(windows[0].last(a), windows[1].last(a)));
    }
    const int origin[kAxes] = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      shared.inner[i][warp_of_tile() * 32 + lane] =
          visible_columns(call.plan, along_last_axis(windows[i]), origin, lane % 4);
    }
    if (lane == 0) {
      shared.common_first[warp_of_tile()] = make_int4(first[0], first[1], first[2], shared.grid.count[2]);
      shared.common_last[warp_of_tile()] = make_int4(last[0], last[1], last[2], 0);
    }
    __syncwarp();
  }

  // Puts -inf where a row does not see the key.
  __device__ __forceinline__ void mask(int4 origin) {
    const int4 first = shared.common_first[warp_of_tile()], last = shared.common_last[warp_of_tile()];
    const int* const chunk = call.plan.chunk;
    const bool lines = origin.x >= first.x && origin.x + chunk[0] - 1 <= last.x && origin.y >= first.y &&
                       origin.y + chunk[1] - 1 <= last.y;
    uint64_t seen0, seen1;
    const int at[kAxes] = {origin.x, origin.y, origin.z};
    if (first.w == 1) {  // one chunk holds whole lines
      seen0 = shared.inner[0][warp_of_tile() * 32 + lane];
      seen1 = shared.inner[1][warp_of_tile() * 32 + lane];
      if (!lines) {
        seen0 &= visible_lines(call.plan, shared.windows[row(0)], at);
        seen1 &= visible_lines(call.plan, shared.windows[row(1)], at);
      }
    } else {
      if (lines && origin.z >= first.z && origin.z + chunk[2] - 1 <= last.z && chunk_size(call.plan) == kColumns)
        return;
      seen0 = visible_columns(call.plan, shared.windows[row(0)], at, lane % 4);
      seen1 = visible_columns(call.plan, shared.windows[row(1)], at, lane % 4);
    }
    // Without branches: one that is not taken costs as much as eight columns.
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        scores[4 * g + e] = (seen0 >> (2 * g + e) & 1) != 0 ? scores[4 * g + e] : minus_infinity();
        scores[4 * g + 2 + e] = (seen1 >> (2 * g + e) & 1) != 0 ? scores[4 * g + 2 + e] : minus_infinity();
      }
    }
  }

  // Scores become weights of base 2 that are not normed; returns what the sums so far are to be scaled by.
  __device__ __forceinline__ void softmax(float* rescale) {
    // Two chains for each row: the maxima and sums wait for one another.
    float highest[2][2], base[2], sum[2][2];
#pragma unroll
    for (int i = 0; i < 2; i++) highest[i][0] = top[i], highest[i][1] = minus_infinity();
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
#pragma unroll
      for (int j = 0; j < 4; j++) highest[j / 2][j % 2] = fmaxf(highest[j / 2][j % 2], scores[4 * g + j]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
      float most = fmaxf(highest[i][0], highest[i][1]);
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      // Until a row has seen a key its maximum is -inf; then 0 stands in, or the difference would be NaN.
      base[i] = most == minus_infinity() ? 0.0f : most * factor;
      rescale[i] = exp2_of(top[i] * factor - base[i]);
      top[i] = most;
      sum[i][0] = sum[i][1] = 0.0f;
    }
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float& x = scores[4 * g + j];
        x = exp2_of(x * factor - base[j / 2]);
        sum[j / 2][j % 2] += x;
      }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) total[i] = total[i] * rescale[i] + (sum[i][0] + sum[i][1]);
  }
  __device__ __forceinline__ void round_weights() {
#pragma unroll
    for (int i = 0; i < kColumns / 4; i++) weights[i] = pack_pair<T>(scores[2 * i], scores[2 * i + 1]);
  }
  __device__ __forceinline__ void scale_sums(const float* by) {
#pragma unroll
    for (int i = 0; i < kDim / 2; i++) sums[i] *= by[i / 2 % 2];
  }

  // The halves start their products in turns, so that one multiplies while the other makes weights. Each has a turn
  // for every chunk, needed or not.
  __device__ __forceinline__ void take_turn() { named_sync(3 + half, 256); }
  __device__ __forceinline__ void pass_turn() { named_arrive(3 + 1 - half, 256); }

  __device__ __forceinline__ void run() {
    const int chunks = shared.grid.total();
    const Reach reach = chunks_of_half(call.plan, shared.tile, shared.keys, shared.grid, half);
    Ring ring;
    barrier_wait(&shared.q_full, 0);
    if (half == 1) pass_turn();
    int chunk = 0;
    for (; chunk < reach.begin; chunk++) pass_over(ring);
    if (reach.begin < reach.end) {
      float rescale[2];
      barrier_wait(&shared.k_full[ring.stage], ring.parity);
      take_turn();
      start_scores(ring.stage);
      pass_turn();
      products_wait<0>();
      hold<kColumns / 2>(scores);
      const int4 origin = chunk_origin(ring.stage);
      leave(&shared.k_empty[ring.stage]);
      mask(origin);
      softmax(rescale);
      round_weights();
      for (; chunk + 1 < reach.end; chunk++) {
        const Ring now = ring;
        ring.next<kStages>();
        barrier_wait(&shared.k_full[ring.stage], ring.parity);
        take_turn();
        start_scores(ring.stage);
        barrier_wait(&shared.v_full[now.stage], now.parity);
        start_sums(now.stage);
        pass_turn();
        products_wait<1>();
        hold<kColumns / 2>(scores);
        const int4 origin = chunk_origin(ring.stage);
        leave(&shared.k_empty[ring.stage]);
        mask(origin);
        softmax(rescale);
        products_wait<0>();
        hold<kDim / 2>(sums);
        leave(&shared.v_empty[now.stage]);
        round_weights();
        scale_sums(rescale);
      }
      barrier_wait(&shared.v_full[ring.stage], ring.parity);
      start_sums(ring.stage);
      products_wait<0>();
      hold<kDim / 2>(sums);
      leave(&shared.v_empty[ring.stage]);
      ring.next<kStages>();
      chunk++;
    }
    for (; chunk < chunks; chunk++) pass_over(ring);
  }

  // By way of the queries' panels, so that rows leave in pieces of sixteen bytes.
  __device__ __forceinline__ void store(int64_t head) {
    float scale[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
      total[i] += __shfl_xor_sync(0xffffffffu, total[i], 2);
      scale[i] = total[i] > 0.0f ? 1.0f / total[i] : 0.0f;
    }
    named_sync(1 + half, 128);
#pragma unroll
    for (int g = 0; g < kDim / 8; g++) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        char* const line = shared.q[g / 8] + row(i) * kPanelBytes;
        *reinterpret_cast<uint32_t*>(line + ((g % 8) ^ (row(i) % 8)) * 16 + lane % 4 * 4) =
            pack_pair<T>(sums[4 * g + 2 * i] * scale[i], sums[4 * g + 2 * i + 1] * scale[i]);
      }
    }
    __syncwarp();
    const Tile& tile = shared.tile;
    const auto offset = [&](const View& view, int r) {
      int at[kAxes];
      int64_t place = tile.batch * view.batch + head * view.head;
      if (!row_place(call.plan.tiling, tile, r, at)) return int64_t{-1};
#pragma unroll
      for (int a = 0; a < kAxes; a++) {
        place += (tile.residue[a] + (tile.origin[a] + at[a]) * call.p.axis[a].dilation) * view.axis[a];
      }
      return place;
    };
    constexpr int kPieces = kDim / 8;
    for (int i = lane; i < 16 * kPieces; i += 32) {
      const int r = half * 64 + warp * 16 + i / kPieces, piece = i % kPieces;
      const int64_t at = offset(call.out, r);
      if (at >= 0 && piece * 8 < call.p.value_dim) {
        *reinterpret_cast<uint4*>(static_cast<T*>(call.out.data) + at + piece * 8) =
            *reinterpret_cast<const uint4*>(shared.q[piece / 8] + r * kPanelBytes + ((piece % 8) ^ (r % 8)) * 16);
      }
    }
    if (call.lse.data != nullptr && lane % 4 == 0) {
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int64_t at = offset(call.lse, row(i));
        if (at >= 0) static_cast<float*>(call.lse.data)[at] = (top[i] * factor + __log2f(total[i])) / kLog2E;
      }
    }
  }
};

#endif  // NATTEN_HOPPER

}  // namespace natten::cuda::hopper
