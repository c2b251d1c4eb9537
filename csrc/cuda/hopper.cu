// Forward for large windows on wgmma and the tensor copy engine, sm_90a.
//
// A block has one warpgroup that copies and two that multiply, each with 64 of
// the tile's 128 queries. Chunks of keys and values arrive in rings of stages;
// the products of chunk i + 1 run while the softmax of it waits for them and
// the sums of chunk i are made, as in FlashAttention-3 (arXiv 2407.08608).
#include <cudaTypedefs.h>

#include <stdexcept>
#include <type_traits>

#include "device.cuh"
#include "hopper.h"
#include "hopper_geometry.h"
#include "hopper_wgmma.cuh"

namespace natten::cuda::hopper {
namespace {

constexpr int kThreads = 384;
constexpr int kConsumerWarps = 8;
constexpr int kPanelBytes = 128;  // a row of 64 elements
constexpr float kLog2E = 1.4426950408889634f;

// Keys of the smallest window that it takes: below, much of a tile's box is seen by few of its queries, and the tile
// class, which pads a head dim less, was seen faster (H100, 2026-11-24).
constexpr int64_t least_window(int64_t dim) { return dim > 64 ? 256 : dim > 32 ? 512 : 2048; }

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
      if (lines && origin.z >= first.z && origin.z + chunk[2] - 1 <= last.z && chunk_size(call.plan) == kColumns) return;
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
      const int4 origin = shared.origin[ring.stage];
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
        const int4 origin = shared.origin[ring.stage];
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
        *reinterpret_cast<uint4*>(static_cast<T*>(call.out.data) + at + piece * 8) = *reinterpret_cast<const uint4*>(
            shared.q[piece / 8] + r * kPanelBytes + ((piece % 8) ^ (r % 8)) * 16);
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

template <class T, int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_kernel(const __grid_constant__ Maps maps, const __grid_constant__ Call call) {
#if NATTEN_HOPPER
  extern __shared__ __align__(1024) char memory[];
  using SharedType = Shared<kDim>;
  SharedType& shared = *reinterpret_cast<SharedType*>(memory);
  // Blocks that run together are neighbours of one head: their keys meet in the cache.
  const int64_t head = blockIdx.x / call.plan.tiling.items, item = blockIdx.x % call.plan.tiling.items;
  if (threadIdx.x == 0) {
    prefetch_map(&maps.q);
    prefetch_map(&maps.k);
    prefetch_map(&maps.v);
    barrier_init(&shared.q_full, 1);
    for (int i = 0; i < SharedType::kStages; i++) {
      barrier_init(&shared.k_full[i], 1);
      barrier_init(&shared.v_full[i], 1);
      barrier_init(&shared.k_empty[i], kConsumerWarps);
      barrier_init(&shared.v_empty[i], kConsumerWarps);
    }
    barriers_visible();
    shared.tile = tile_at(call.p, call.plan.tiling, item);
    if (shared.tile.exists) {
      shared.keys = keys_of_tile(shared.tile);
      shared.grid = grid_of(call.plan, shared.keys);
    }
  }
  // No copy writes the values behind a chunk's end; their weights are zero, which NaN would not be.
  const int used = chunk_size(call.plan) * kPanelBytes;
  for (int panel = 0; panel < SharedType::kStages * SharedType::kPanels; panel++) {
    for (int i = used + threadIdx.x * 16; i < kColumns * kPanelBytes; i += kThreads * 16) {
      *reinterpret_cast<uint4*>(shared.v[0][0] + panel * kColumns * kPanelBytes + i) = make_uint4(0, 0, 0, 0);
    }
  }
  writes_visible();
  __syncthreads();
  if (!shared.tile.exists) return;
  if (threadIdx.x < 128) {
    give_registers<40>();
    if (threadIdx.x == 0) copy_all<kDim>(shared, maps, call, head);
  } else {
    take_registers<232>();
    Half<T, kDim> half(shared, call);
    half.run();
    half.store(head);
  }
#endif
}

// ---- Host

// Found at run time: the library is not linked with the driver.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  static const auto found = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &result);
    if (error != cudaSuccess || result != cudaDriverEntryPointSuccess) function = nullptr;
    return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(function);
  }();
  return found;
}

// Describes a tensor to the copy engine: dim, head, token on two axes, and image or token on the third.
bool describe_tensor(CUtensorMap* map, const Problem& p, Type type, const View& view, int64_t dim, int64_t heads,
                     const int* box, bool last_is_batch) {
  const auto stride = [&](int64_t length, int64_t elements) {  // one that is never used still has to be valid
    return static_cast<cuuint64_t>(2 * (length > 1 ? elements : std::max<int64_t>(dim, 8)));
  };
  const int64_t last = last_is_batch ? p.batch : p.axis[0].length;
  const cuuint64_t sizes[5] = {static_cast<cuuint64_t>(dim), static_cast<cuuint64_t>(heads),
                               static_cast<cuuint64_t>(p.axis[2].length), static_cast<cuuint64_t>(p.axis[1].length),
                               static_cast<cuuint64_t>(last)};
  const cuuint64_t strides[4] = {stride(heads, view.head), stride(p.axis[2].length, view.axis[2]),
                                 stride(p.axis[1].length, view.axis[1]),
                                 stride(last, last_is_batch ? view.batch : view.axis[0])};
  cuuint32_t sides[5] = {64, 1, 1, 1, 1}, steps[5] = {1, 1, 1, 1, 1};
  for (int a = last_is_batch ? 1 : 0; a < kAxes; a++) {
    steps[4 - a] = static_cast<cuuint32_t>(p.axis[a].dilation);
    sides[4 - a] = static_cast<cuuint32_t>((box[a] - 1) * p.axis[a].dilation + 1);
  }
  return encoder()(map, type == Type::kHalf ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5,
                   view.data, sizes, strides, sides, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

template <class T, int kDim>
void launch(cudaStream_t stream, const Maps& maps, const Call& call) {
  const auto kernel = hopper_kernel<T, kDim>;
  constexpr int kBytes = sizeof(Shared<kDim>);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  kernel<<<static_cast<unsigned>(call.plan.tiling.items * call.p.heads), kThreads, kBytes, stream>>>(maps, call);
}

}  // namespace

const char* refuses_forward(const tile::Request& r, bool bias) {
  if (r.capability != 90) return "the device is not of compute capability 9.0";
  if (r.type != Type::kHalf && r.type != Type::kBFloat16) return "the dtype is neither float16 nor bfloat16";
  if (bias) return "it has no bias";
  if (r.p.dim % 8 != 0 || r.p.value_dim % 8 != 0) return "a head dim is not a multiple of 8";
  if (r.p.dim > 128 || r.p.value_dim > 128) return "a head dim exceeds 128";
  if (!r.aligned) return "a tensor is not aligned to 16 bytes";
  if (!r.ascending) return "a tensor has a stride of zero or less, or of 2^40 bytes or more";
  if (!(r.p.scale > 0)) return "the scale is not positive";
  if (r.p.slots() < least_window(std::max(r.p.dim, r.p.value_dim))) {
    return "the window has fewer than 256 keys (512 at a head dim of 64 or less, 2048 at 32)";
  }
  for (const Axis& axis : r.p.axis) {
    if (axis.dilation > 8) return "a dilation exceeds 8";
    if (axis.length >= int64_t{1} << 31) return "an axis has 2^31 tokens or more";
    if (span_of(axis, kRows) > kSpanLimit) return "a window is longer than 2^15";
  }
  double products;
  const Plan plan = plan_of(r.p, &products);
  if (products < 0) return "no box of keys fits the copy engine at this dilation";
  if (static_cast<double>(plan.tiling.items) * r.p.heads >= 2147483648.0) return "there are 2^31 tiles or more";
  if (sizeof(Shared<128>) > static_cast<size_t>(r.shared_limit)) return "a tile does not fit into shared memory";
  if (encoder() == nullptr) return "the driver has no tensor copy engine";
  return nullptr;
}

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void*, const View& out, const View& lse) {
  Call call{};
  call.p = p;
  call.last_is_batch = p.rank < 3;
  if (!call.last_is_batch) call.p.batch = 1;
  call.plan = plan_of(call.p, nullptr);
  int rows[kAxes];
  for (int a = 0; a < kAxes; a++) rows[a] = 1 << call.plan.tiling.log[a];
  const int64_t element = 2;
  // Five coordinates hold a head, and an image or a third axis: with three axes one launch for each image.
  for (int64_t image = 0; image < (call.last_is_batch ? 1 : p.batch); image++) {
    const auto part = [&](const View& view, int64_t bytes) {
      View at = view;
      if (at.data != nullptr) at.data = static_cast<char*>(at.data) + image * view.batch * bytes;
      return at;
    };
    call.out = part(out, element);
    call.lse = part(lse, sizeof(float));
    Maps maps;
    const bool made =
        describe_tensor(&maps.q, call.p, type, part(q, element), p.dim, p.heads, rows, call.last_is_batch) &&
        describe_tensor(&maps.k, call.p, type, part(k, element), p.dim, p.kv_heads, call.plan.chunk, call.last_is_batch) &&
        describe_tensor(&maps.v, call.p, type, part(v, element), p.value_dim, p.kv_heads, call.plan.chunk, call.last_is_batch);
    if (!made) throw std::runtime_error("natten::na: the tensor copy engine does not take these tensors");
    const bool wide = std::max(p.dim, p.value_dim) > 64;
    if (type == Type::kHalf) {
      wide ? launch<__half, 128>(stream, maps, call) : launch<__half, 64>(stream, maps, call);
    } else {
      wide ? launch<__nv_bfloat16, 128>(stream, maps, call) : launch<__nv_bfloat16, 64>(stream, maps, call);
    }
  }
}

}  // namespace natten::cuda::hopper
