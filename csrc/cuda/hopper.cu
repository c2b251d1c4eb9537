// Forward for large windows on wgmma and the tensor copy engine, sm_90a: the
// kernel, what it takes, and its launch. hopper_half.cuh has the work of its
// warpgroups.
#include <stdexcept>

#include "hopper.h"
#include "hopper_half.cuh"
#include "tensor_map.h"

namespace natten::cuda::hopper {
namespace {

// Keys of the smallest window that it takes: below, much of a tile's box is seen by few of its queries, and the tile
// class, which pads a head dim less, was seen faster (H100, 2026-11-24).
constexpr int64_t least_window(int64_t dim) { return dim > 64 ? 256 : dim > 32 ? 512 : 2048; }

template <class T, int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_kernel(const NATTEN_GRID_CONSTANT Maps maps, const NATTEN_GRID_CONSTANT Call call) {
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

// Describes a tensor and a box of tokens to the copy engine.
bool describe_box(CUtensorMap* map, const Problem& p, Type type, const View& view, int64_t dim, int64_t heads,
                  const int* tokens, bool last_is_batch) {
  TensorBox box{{64, 1, 1, 1, 1}, {1, 1, 1, 1, 1}, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B};
  for (int a = last_is_batch ? 1 : 0; a < kAxes; a++) {
    box.steps[4 - a] = static_cast<cuuint32_t>(p.axis[a].dilation);
    box.sides[4 - a] = static_cast<cuuint32_t>((tokens[a] - 1) * p.axis[a].dilation + 1);
  }
  return describe_tensor(map, p, type, view, dim, heads, box, last_is_batch);
}

template <class T, int kDim>
void launch(cudaStream_t stream, const Maps& maps, const Call& call) {
  const auto kernel = hopper_kernel<T, kDim>;
  constexpr int kBytes = sizeof(Shared<kDim>);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  kernel<<<static_cast<unsigned>(call.plan.tiling.items * call.p.heads), kThreads, kBytes, stream>>>(maps, call);
}

}  // namespace

bool built() {
  // A library without machine code for 9.0a runs here by PTX of an older device, in which this file's kernels are
  // empty.
  static const bool result = [] {
    cudaFuncAttributes attributes;
    if (cudaFuncGetAttributes(&attributes, hopper_kernel<__half, 64>) == cudaSuccess)
      return attributes.ptxVersion >= 90;
    cudaGetLastError();  // it is told, and need not be found by the next call
    return false;
  }();
  return result;
}

const char* refuses_forward(const Request& r, bool bias) {
  if (r.capability != 90) return "the device is not of compute capability 9.0";
  if (!built()) return "this build has no machine code for compute capability 9.0";
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
  if (tensor_map_encoder() == nullptr) return "the driver has no tensor copy engine";
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
        describe_box(&maps.q, call.p, type, part(q, element), p.dim, p.heads, rows, call.last_is_batch) &&
        describe_box(&maps.k, call.p, type, part(k, element), p.dim, p.kv_heads, call.plan.chunk, call.last_is_batch) &&
        describe_box(&maps.v, call.p, type, part(v, element), p.value_dim, p.kv_heads, call.plan.chunk,
                     call.last_is_batch);
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
