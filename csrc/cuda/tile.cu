// Instances and launches of the tile program.
#include "device.cuh"
#include "tile.h"
#include "tile_cuda.cuh"

namespace natten::cuda::tile {
namespace {

// Blocks that a multiprocessor should hold at once: what the registers are shared among.
#ifndef NATTEN_FORWARD_BLOCKS
#define NATTEN_FORWARD_BLOCKS 5
#endif
#ifndef NATTEN_BACKWARD_BLOCKS
#define NATTEN_BACKWARD_BLOCKS 3
#endif
constexpr int blocks_of(Pass pass, int dim) {
  if (dim > 32) return 1;
  return pass == Pass::kForward ? NATTEN_FORWARD_BLOCKS : NATTEN_BACKWARD_BLOCKS;
}

template <class M, Pass kPass>
__global__ void __launch_bounds__(kTileThreads, blocks_of(kPass, M::kDim))
    tile_kernel(const __grid_constant__ TileCall call) {
#if __CUDA_ARCH__ >= 750
  if constexpr (__CUDA_ARCH__ < 800 && std::is_same_v<typename M::Element, __nv_bfloat16>) return;
  extern __shared__ __align__(16) char shared[];
  M m(shared, kPass, call.rpb == nullptr ? 0 : call.entries, call.drpb != nullptr && kPass == Pass::kQueryGradient);
  m.set_anything(call.k.data);
  const int64_t heads = kPass == Pass::kKeyGradient ? call.p.kv_heads : call.p.heads;
  const int64_t head = blockIdx.x % heads, worker = blockIdx.x / heads;
  if constexpr (kPass == Pass::kForward) {
    forward_program(m, call, head, worker);
  } else if constexpr (kPass == Pass::kQueryGradient) {
    dq_program(m, call, head, worker);
  } else {
    dkv_program(m, call, head, worker);
  }
#endif
}

// The one table of instances: element types and head dims, each for three passes.
template <class F>
bool with_instance(Type type, int64_t dim, const F& f) {
  const auto with_dim = [&](auto* element) {
    if (dim <= 32) return f(element, std::integral_constant<int, 32>());
    if (dim <= 64) return f(element, std::integral_constant<int, 64>());
    if (dim <= 128) return f(element, std::integral_constant<int, 128>());
    return false;
  };
  if (type == Type::kHalf) return with_dim(static_cast<__half*>(nullptr));
  if (type == Type::kBFloat16) return with_dim(static_cast<__nv_bfloat16*>(nullptr));
  return false;
}

template <class T, int kDim, Pass kPass>
using Machine = CudaMachine<T, kDim, columns_of(kPass, kDim)>;

template <class M, Pass kPass>
size_t shared_bytes(int entries, bool bias_gradient) {
  typename M::Memory memory;
  return memory.place(nullptr, kPass, entries, bias_gradient);
}

template <Pass kPass>
void launch(cudaStream_t stream, const TileCall& call, Type type) {
  const int64_t dim = std::max(call.p.dim, call.p.value_dim);
  with_instance(type, dim, [&](auto* element, auto size) {
    using M = Machine<std::remove_pointer_t<decltype(element)>, decltype(size)::value, kPass>;
    const auto kernel = tile_kernel<M, kPass>;
    const size_t bytes = shared_bytes<M, kPass>(call.rpb == nullptr ? 0 : call.entries,
                                                call.drpb != nullptr && kPass == Pass::kQueryGradient);
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    const int64_t heads = kPass == Pass::kKeyGradient ? call.p.kv_heads : call.p.heads;
    kernel<<<static_cast<unsigned>(heads * call.parts), kTileThreads, bytes, stream>>>(call);
    return true;
  });
}

TileCall call_of(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                 const View& lse) {
  TileCall call{};
  call.p = p;
  call.tiling = tiling_of(p);
  call.q = q;
  call.k = k;
  call.v = v;
  call.out = out;
  call.lse = lse;
  call.rpb = static_cast<const float*>(rpb);
  call.entries = static_cast<int>(p.bias_entries());
  return call;
}

}  // namespace

const char* refuses_forward(const Request& r, bool bias) {
  if (r.type != Type::kHalf && r.type != Type::kBFloat16) return "the dtype is neither float16 nor bfloat16";
  if (r.capability < 75) return "the device has no tensor cores that it uses (compute capability below 7.5)";
  if (r.capability < 80 && r.type == Type::kBFloat16) return "bfloat16 needs compute capability 8.0";
  if (r.p.dim % 8 != 0 || r.p.value_dim % 8 != 0) return "a head dim is not a multiple of 8";
  if (r.p.dim > 128 || r.p.value_dim > 128) return "a head dim exceeds 128";
  if (!r.aligned) return "a tensor is not aligned to 16 bytes";
  if (!r.near) return "an image spans 2^31 elements or more";
  if (tiling_of(r.p).items * r.p.heads >= int64_t{1} << 31) return "there are 2^31 tiles or more";
  if (bias && r.p.bias_entries() > kBiasLimit) return "the bias does not fit into shared memory";
  int64_t box = 1;
  const Fields fields = fields_of(r.p.rank);
  for (int a = 0; a < kAxes; a++) {
    const Axis& axis = r.p.axis[a];
    if (axis.length > (1 << 30) || axis.dilation > (1 << 20)) return "an axis is longer than 2^30";
    const int64_t span = widest_span(axis, a < kAxes - r.p.rank ? 1 : kTileRows);
    if (span >=
        (int64_t{1} << (fields.width[a] - 1)) - (fields.width[a] > 1 ? 1 : 0) + (fields.width[a] == 1 ? 1 : 0)) {
      return "a window is too wide for its field";
    }
    box *= span;
  }
  if (box > kBoxLimit) return "the keys of a tile exceed 2^20";
  size_t bytes = 0;
  with_instance(r.type, std::max(r.p.dim, r.p.value_dim), [&](auto* element, auto size) {
    using T = std::remove_pointer_t<decltype(element)>;
    bytes = shared_bytes<Machine<T, decltype(size)::value, Pass::kForward>, Pass::kForward>(
        bias ? static_cast<int>(r.p.bias_entries()) : 0, false);
    return true;
  });
  if (bytes > static_cast<size_t>(r.shared_limit)) return "a tile does not fit into shared memory";
  return nullptr;
}

const char* refuses_backward(const Request& r, bool bias, bool bias_gradient) {
  if (const char* const reason = refuses_forward(r, bias)) return reason;
  int64_t spans = 0;
  for (const Axis& axis : r.p.axis) spans += widest_span(axis, kTileRows);
  if (spans > kAxisLimit) return "the windows are too wide for the dk, dv kernel";
  size_t bytes = 0;
  with_instance(r.type, std::max(r.p.dim, r.p.value_dim), [&](auto* element, auto size) {
    using T = std::remove_pointer_t<decltype(element)>;
    constexpr int kDim = decltype(size)::value;
    const int entries = bias ? static_cast<int>(r.p.bias_entries()) : 0;
    bytes = std::max(shared_bytes<Machine<T, kDim, Pass::kQueryGradient>, Pass::kQueryGradient>(entries, bias_gradient),
                     shared_bytes<Machine<T, kDim, Pass::kKeyGradient>, Pass::kKeyGradient>(entries, false));
    return true;
  });
  if (bytes > static_cast<size_t>(r.shared_limit)) return "a tile does not fit into shared memory";
  return nullptr;
}

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse) {
  TileCall call = call_of(p, q, k, v, rpb, out, lse);
  call.parts = call.tiling.items;
  launch<Pass::kForward>(stream, call, type);
}

void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace) {
  TileCall call = call_of(p, q, k, v, rpb, out, lse);
  call.dout = dout;
  call.dq = dq;
  call.dk = dk;
  call.dv = dv;
  call.mean.data = workspace.allocate(workspace.context, sizeof(float) * p.batch * p.tokens() * p.heads);
  call.mean.head = 1;
  call.mean.axis[2] = p.heads;
  call.mean.axis[1] = call.mean.axis[2] * p.axis[2].length;
  call.mean.axis[0] = call.mean.axis[1] * p.axis[1].length;
  call.mean.batch = call.mean.axis[0] * p.axis[0].length;
  call.parts = call.tiling.items;
  const int64_t count = p.heads * call.entries;
  if (drpb != nullptr) {
    // Each worker keeps one head's sums over its tiles: enough of them to fill a device twice over.
    call.parts = std::max<int64_t>(1, std::min<int64_t>(call.parts, 2112 / p.heads));
    call.drpb = static_cast<float*>(workspace.allocate(workspace.context, sizeof(float) * call.parts * count));
  }
  launch<Pass::kQueryGradient>(stream, call, type);
  if (drpb != nullptr) sum_parts(stream, type, call.parts, count, call.drpb, drpb);
  call.parts = call.tiling.items;
  launch<Pass::kKeyGradient>(stream, call, type);
}

}  // namespace natten::cuda::tile
