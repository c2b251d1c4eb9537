// Instances and launches of the window program.
#include "device.cuh"
#include "hopper.h"
#include "tensor_map.h"
#include "window.h"
#include "window_cuda.cuh"
#include "window_shape.h"

namespace natten::cuda::window {
namespace {

template <class M, Kernel kKernel>
__global__ void __launch_bounds__(most_warps(M::kGroups) * kWarp, least_blocks(kKernel, M::kGroups))
    window_kernel(const NATTEN_GRID_CONSTANT WindowMaps maps, const NATTEN_GRID_CONSTANT WindowCall call) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ __align__(1024) char shared[];
  M m(shared, call, maps);
  const int number = static_cast<int>(blockIdx.x), rest = call.by_heads.quotient(number);
  const int head = number - rest * static_cast<int>(call.p.heads);
  const int part = call.by_places.quotient(rest), place = rest - part * static_cast<int>(call.patching.places);
  if constexpr (kPass<kKernel> == WindowPass::kForward) {
    window_forward(m, call, head, place, part);
  } else if constexpr (kKernel == Kernel::kKeys) {
    window_dkv(m, call, head, place, part);
  } else {
    window_dq<kKernel == Kernel::kQueriesAndBias>(m, call, head, place, part);
  }
#endif
}

// The one table of instances: element types, head dims and, where columns are not listed, groups of columns.
template <Kernel kKernel, class F>
void with_instance(Type type, int64_t dim, int groups, const F& f) {
  const auto with_groups = [&](auto* element, auto size) {
    using T = std::remove_pointer_t<decltype(element)>;
    constexpr int kDim = decltype(size)::value;
    constexpr bool kBulk = kKernel == Kernel::kForwardInBulk;
    if constexpr (kKernel == Kernel::kKeys) {
      f(static_cast<WindowMachine<T, kDim, 2, true, kBulk>*>(nullptr));
    } else if (groups <= kSmallGroups) {
      f(static_cast<WindowMachine<T, kDim, kSmallGroups, false, kBulk>*>(nullptr));
    } else {
      f(static_cast<WindowMachine<T, kDim, kKeyGroups, false, kBulk>*>(nullptr));
    }
  };
  const auto with_dim = [&](auto* element) {
    if (dim == 32) {
      with_groups(element, std::integral_constant<int, 32>());
    } else {
      with_groups(element, std::integral_constant<int, 64>());
    }
  };
  if (type == Type::kHalf) {
    with_dim(static_cast<__half*>(nullptr));
  } else {
    with_dim(static_cast<__nv_bfloat16*>(nullptr));
  }
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&value, which, device);
  return value;
}
int shared_limit() { return attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin); }

// Shares the images of a batch out among blocks: each should have some, as it first makes its tables, and all blocks
// together should fill the device evenly.
template <Kernel kKernel>
void share_out(WindowCall* call, Type type) {
  int blocks = 1;
  const size_t bytes = call->layout.bytes;
  with_instance<kKernel>(type, call->p.dim, call->groups, [&](auto* machine) {
    const auto kernel = window_kernel<std::remove_pointer_t<decltype(machine)>, kKernel>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, call->patching.warps() * kWarp, bytes);
  });
  const int64_t resident = int64_t{attribute(cudaDevAttrMultiProcessorCount)} * std::max(blocks, 1);
  const int64_t fixed = call->p.heads * call->patching.places;
  constexpr double kSetup = kPass<kKernel> == WindowPass::kForward ? 1.0 : 2.0;  // what a block makes once, in images
  double least = -1;
  for (int64_t parts = 1; parts <= std::min<int64_t>(call->p.batch, 512); parts++) {
    const int64_t waves = (parts * fixed + resident - 1) / resident, images = (call->p.batch + parts - 1) / parts;
    const double cost = static_cast<double>(waves) * (static_cast<double>(images) + kSetup);
    if (least < 0 || cost < least) {
      least = cost;
      call->parts = static_cast<int>(parts);
    }
  }
}

template <Kernel kKernel>
void launch(cudaStream_t stream, const WindowCall& call, Type type, const WindowMaps& maps = {}) {
  with_instance<kKernel>(type, call.p.dim, call.groups, [&](auto* machine) {
    const auto kernel = window_kernel<std::remove_pointer_t<decltype(machine)>, kKernel>;
    const int64_t blocks = call.p.heads * call.patching.places * call.parts;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(blocks));
    config.blockDim = dim3(static_cast<unsigned>(call.patching.warps() * kWarp));
    config.dynamicSmemBytes = call.layout.bytes;
    config.stream = stream;
    // A block finds its place while the kernel before it in the stream ends.
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &early;
    config.numAttrs = kKernel == Kernel::kForwardInBulk ? 1 : 0;
    cudaLaunchKernelEx(&config, kernel, maps, call);
  });
}

// Describes the tensors to the tensor engine; false where there is none, or it does not take them.
bool describe(const WindowCall& call, Type type, WindowMaps* maps) {
  const Problem& p = call.p;
  if (attribute(cudaDevAttrComputeCapabilityMajor) != 9 || !hopper::built() || tensor_map_encoder() == nullptr)
    return false;
  if (p.axis[1].dilation != 1 || p.axis[2].dilation != 1) return false;
  const auto tensor = [&](CUtensorMap* map, const View& view, int64_t heads, int down, int across) {
    const TensorBox box{
        {static_cast<cuuint32_t>(p.dim), 1, static_cast<cuuint32_t>(across), static_cast<cuuint32_t>(down), 1},
        {1, 1, 1, 1, 1},
        p.dim == 32 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
        CU_TENSOR_MAP_L2_PROMOTION_L2_128B};
    return describe_tensor(map, p, type, view, p.dim, heads, box, true);
  };
  const Patching& t = call.patching;
  return tensor(&maps->k, call.k, p.kv_heads, t.lines, t.pitch) &&
         tensor(&maps->v, call.v, p.kv_heads, t.lines, t.pitch) &&
         tensor(&maps->q, call.q, p.heads, t.patches[0] * kPatch, t.patches[1] * kPatch);
}

WindowCall call_of(const Problem& p, const View& q, const View& k, const View& v, const void* rpb, const View& out,
                   const View& lse) {
  WindowCall call{};
  call.p = p;
  call.q = q;
  call.k = k;
  call.v = v;
  call.out = out;
  call.lse = lse;
  call.rpb = static_cast<const float*>(rpb);
  call.entries = static_cast<int>(p.bias_entries());
  return call;
}

const char* too_large(const Request& r, WindowPass pass) {
  WindowCall call{};
  call.p = r.p;
  call.entries = static_cast<int>(r.p.bias_entries());
  shape(&call, pass, r.shared_limit);
  if (call.layout.bytes > r.shared_limit) {
    return "a block does not fit into shared memory";
  }
  if (r.p.heads * call.patching.places * r.p.batch >= int64_t{1} << 31) return "there are 2^31 blocks or more";
  return nullptr;
}

}  // namespace

const char* refuses_forward(const Request& r) {
  if (r.type != Type::kHalf && r.type != Type::kBFloat16) return "the dtype is neither float16 nor bfloat16";
  if (usable(r) < 80) return "the device or this build is of compute capability below 8.0: no asynchronous copies";
  if (r.p.rank != 2) return "the rank is not 2";
  if (r.p.dim != r.p.value_dim || (r.p.dim != 32 && r.p.dim != 64)) return "the head dims are not 32 or 64";
  if (!r.aligned) return "a tensor is not aligned to 16 bytes";
  if (!r.near) return "an image spans 2^31 elements or more";
  if (!(r.p.scale > 1e-6 && r.p.scale < 1e6)) return "the scale is not between 1e-6 and 1e6";
  for (int a = 1; a < kAxes; a++) {
    const Axis& axis = r.p.axis[a];
    if (axis.kernel > kWindowLimit) return "a kernel exceeds 7";
    if (axis.stride != 1) return "a stride is not 1";
    if (axis.length > 1 << 20 || axis.dilation > 1 << 10) return "an axis is longer than 2^20 or dilated by over 2^10";
  }
  return too_large(r, WindowPass::kForward);
}

const char* refuses_backward(const Request& r, bool bias_gradient) {
  if (const char* const reason = refuses_forward(r)) return reason;
  if (r.p.heads != r.p.kv_heads) return "heads share keys";
  if (!r.dense_lse) return "lse is not contiguous";
  if (const char* const reason = too_large(r, WindowPass::kQueryGradient)) return reason;
  if (bias_gradient) {
    WindowCall call{};
    call.p = r.p;
    call.entries = static_cast<int>(r.p.bias_entries());
    shape(&call, WindowPass::kQueryGradient, r.shared_limit);
    if (call.patching.places * r.p.heads * call.entries > int64_t{1} << 25)
      return "the bias gradient has too many parts";
  }
  return too_large(r, WindowPass::kKeyGradient);
}

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse) {
  WindowCall call = call_of(p, q, k, v, rpb, out, lse);
  shape(&call, WindowPass::kForward, shared_limit());
  WindowMaps maps;
  if (describe(call, type, &maps)) {
    share_out<Kernel::kForwardInBulk>(&call, type);
    launch<Kernel::kForwardInBulk>(stream, call, type, maps);
  } else {
    share_out<Kernel::kForward>(&call, type);
    launch<Kernel::kForward>(stream, call, type);
  }
}

void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace) {
  WindowCall call = call_of(p, q, k, v, rpb, out, lse);
  call.dout = dout;
  call.dq = dq;
  call.dk = dk;
  call.dv = dv;
  // Laid out as lse: dense, batch, tokens, heads.
  call.mean = lse;
  call.mean.data = workspace.allocate(workspace.context, sizeof(float) * p.batch * p.tokens() * p.heads);
  shape(&call, WindowPass::kQueryGradient, shared_limit());
  if (drpb != nullptr) {
    share_out<Kernel::kQueriesAndBias>(&call, type);
    const int64_t parts = call.patching.places * call.parts, count = p.heads * call.entries;
    call.drpb = static_cast<float*>(workspace.allocate(workspace.context, sizeof(float) * parts * count));
    launch<Kernel::kQueriesAndBias>(stream, call, type);
    sum_parts(stream, type, parts, count, call.drpb, drpb);
  } else {
    share_out<Kernel::kQueries>(&call, type);
    launch<Kernel::kQueries>(stream, call, type);
  }
  shape(&call, WindowPass::kKeyGradient, shared_limit());
  share_out<Kernel::kKeys>(&call, type);
  launch<Kernel::kKeys>(stream, call, type);
}

}  // namespace natten::cuda::window
