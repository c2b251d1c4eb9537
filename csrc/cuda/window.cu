// Instances and launches of the window program.
#include "device.cuh"
#include "window.h"
#include "window_cuda.cuh"

#ifdef NATTEN_TUNING
#include <cstdlib>
#endif

namespace natten::cuda::window {
namespace {

enum class Kernel { kForward, kQueries, kQueriesAndBias, kKeys };

// Warps of a block, at most: what the registers of one multiprocessor allow.
constexpr int most_warps(Kernel kernel) {
  return kernel == Kernel::kQueries || kernel == Kernel::kQueriesAndBias ? 12 : 14;
}

template <class M, Kernel kKernel>
__global__ void __launch_bounds__(most_warps(kKernel) * kWarp, 1) window_kernel(const __grid_constant__ WindowCall call) {
#if __CUDA_ARCH__ >= 800
  extern __shared__ __align__(128) char shared[];
  constexpr WindowPass kPass = kKernel == Kernel::kForward ? WindowPass::kForward
                               : kKernel == Kernel::kKeys  ? WindowPass::kKeyGradient
                                                           : WindowPass::kQueryGradient;
  M m(shared, kPass, call);
  const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(call.p.heads));
  const int rest = static_cast<int>(blockIdx.x / static_cast<unsigned>(call.p.heads));
  const int places = static_cast<int>(call.patching.places), part = rest / places, place = rest - part * places;
  if constexpr (kKernel == Kernel::kForward) {
    window_forward(m, call, head, place, part);
  } else if constexpr (kKernel == Kernel::kKeys) {
    window_dkv(m, call, head, place, part);
  } else {
    window_dq<kKernel == Kernel::kQueriesAndBias>(m, call, head, place, part);
  }
#endif
}

// The one table of instances: element types, head dims and, where columns are not listed, groups of columns.
template <bool kListed, class F>
void with_instance(Type type, int64_t dim, int groups, const F& f) {
  const auto with_groups = [&](auto* element, auto size) {
    using T = std::remove_pointer_t<decltype(element)>;
    constexpr int kDim = decltype(size)::value;
    if constexpr (kListed) {
      f(static_cast<WindowMachine<T, kDim, 2, true>*>(nullptr));
    } else if (groups <= kSmallGroups) {
      f(static_cast<WindowMachine<T, kDim, kSmallGroups, false>*>(nullptr));
    } else {
      f(static_cast<WindowMachine<T, kDim, kKeyGroups, false>*>(nullptr));
    }
  };
  const auto with_dim = [&](auto* element) {
    if (dim == 32) {
      with_groups(element, std::integral_constant<int, 32>());
    } else {
#ifndef NATTEN_ONE
      with_groups(element, std::integral_constant<int, 64>());
#endif
    }
  };
  if (type == Type::kHalf) {
    with_dim(static_cast<__half*>(nullptr));
  } else {
#ifndef NATTEN_ONE
    with_dim(static_cast<__nv_bfloat16*>(nullptr));
#endif
  }
}

size_t shared_bytes(const WindowCall& call, Type, WindowPass pass) {
  size_t bytes = 0;
  // The element types take the same.
  if (call.p.dim == 32) {
    WindowMemory<__half, 32> memory;
    bytes = memory.place(nullptr, pass, call.patching, call.groups, call.entries, call.stages);
  } else {
    WindowMemory<__half, 64> memory;
    bytes = memory.place(nullptr, pass, call.patching, call.groups, call.entries, call.stages);
  }
  return bytes;
}

#ifdef NATTEN_TUNING
int tuned(const char* name, int otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoi(value);
}
#endif

// The shape of the blocks of one pass.
void shape(WindowCall* call, WindowPass pass, int64_t multiprocessors) {
  const bool queries = pass != WindowPass::kKeyGradient;
  const int most = pass == WindowPass::kForward && call->p.dim == 32 ? 14 : 8;
  call->patching = patching_of(call->p, most, queries);
  call->stages = 1;
  // Some images for each block, so that what it makes once is used often, and enough blocks to fill the device.
  int64_t wanted = multiprocessors * 4;
#ifdef NATTEN_TUNING
  const char* const names[][4] = {{"NW_FWD_Y", "NW_FWD_X", "NW_FWD_BLOCKS", "NW_FWD_STAGES"},
                                  {"NW_DQ_Y", "NW_DQ_X", "NW_DQ_BLOCKS", "NW_DQ_STAGES"},
                                  {"NW_DKV_Y", "NW_DKV_X", "NW_DKV_BLOCKS", "NW_DKV_STAGES"}};
  const auto* const name = names[static_cast<int>(pass)];
  call->patching.patches[0] = tuned(name[0], call->patching.patches[0]);
  call->patching.patches[1] = tuned(name[1], call->patching.patches[1]);
  measure(call->p, queries, &call->patching);
  wanted = multiprocessors * tuned(name[2], 4);
  call->stages = tuned(name[3], call->stages);
#endif
  call->groups = groups_of(call->patching, queries);
  const int64_t fixed = call->p.heads * call->patching.places;
  call->parts = static_cast<int>(std::max<int64_t>(1, std::min(call->p.batch, wanted / fixed)));
}

int64_t multiprocessors() {
  int device = 0, count = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

template <Kernel kKernel>
void launch(cudaStream_t stream, const WindowCall& call, Type type, WindowPass pass) {
  const size_t bytes = shared_bytes(call, type, pass);
  with_instance<kKernel == Kernel::kKeys>(type, call.p.dim, call.groups, [&](auto* machine) {
    const auto kernel = window_kernel<std::remove_pointer_t<decltype(machine)>, kKernel>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    const int64_t blocks = call.p.heads * call.patching.places * call.parts;
    kernel<<<static_cast<unsigned>(blocks), call.patching.warps() * kWarp, bytes, stream>>>(call);
  });
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
  shape(&call, pass, 1);
  if (shared_bytes(call, r.type, pass) > static_cast<size_t>(r.shared_limit)) {
    return "a block does not fit into shared memory";
  }
  if (r.p.heads * call.patching.places * r.p.batch >= int64_t{1} << 31) return "there are 2^31 blocks or more";
  return nullptr;
}

}  // namespace

const char* refuses_forward(const Request& r) {
  if (r.type != Type::kHalf && r.type != Type::kBFloat16) return "the dtype is neither float16 nor bfloat16";
  if (r.capability < 80) return "the device has no asynchronous copies (compute capability below 8.0)";
  if (r.p.rank != 2) return "the rank is not 2";
  if (r.p.dim != r.p.value_dim || (r.p.dim != 32 && r.p.dim != 64)) return "the head dims are not 32 or 64";
  if (!r.aligned) return "a tensor is not aligned to 16 bytes";
  if (!r.near) return "an image spans 2^31 elements or more";
  if (!(r.p.scale > 1e-6 && r.p.scale < 1e6)) return "the scale is not between 1e-6 and 1e6";
  for (int a = 1; a < kAxes; a++) {
    const Axis& axis = r.p.axis[a];
    if (axis.kernel > kWindowLimit) return "a kernel exceeds 7";
    if (axis.stride != 1) return "a stride is not 1";
    if (axis.length > 1 << 20 || axis.dilation > 1 << 10) return "an axis is longer than 2^20 or a dilation exceeds 2^10";
  }
  return too_large(r, WindowPass::kForward);
}

const char* refuses_backward(const Request& r) {
  if (const char* const reason = refuses_forward(r)) return reason;
  if (r.p.heads != r.p.kv_heads) return "heads share keys";
  if (!r.dense_lse) return "lse is not contiguous";
  if (const char* const reason = too_large(r, WindowPass::kQueryGradient)) return reason;
  return too_large(r, WindowPass::kKeyGradient);
}

void na_forward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                const void* rpb, const View& out, const View& lse) {
  WindowCall call = call_of(p, q, k, v, rpb, out, lse);
  shape(&call, WindowPass::kForward, multiprocessors());
  launch<Kernel::kForward>(stream, call, type, WindowPass::kForward);
}

void na_backward(cudaStream_t stream, const Problem& p, Type type, const View& q, const View& k, const View& v,
                 const void* rpb, const View& out, const View& lse, const View& dout, const View& dq, const View& dk,
                 const View& dv, void* drpb, const Workspace& workspace) {
  WindowCall call = call_of(p, q, k, v, rpb, out, lse);
  call.dout = dout;
  call.dq = dq;
  call.dk = dk;
  call.dv = dv;
  const int64_t devices_blocks = multiprocessors();
  // Laid out as lse: dense, batch, tokens, heads.
  call.mean = lse;
  call.mean.data = workspace.allocate(workspace.context, sizeof(float) * p.batch * p.tokens() * p.heads);
  shape(&call, WindowPass::kQueryGradient, devices_blocks);
  if (drpb != nullptr) {
    const int64_t parts = call.patching.places * call.parts, count = p.heads * call.entries;
    call.drpb = static_cast<float*>(workspace.allocate(workspace.context, sizeof(float) * parts * count));
    launch<Kernel::kQueriesAndBias>(stream, call, type, WindowPass::kQueryGradient);
    sum_parts(stream, type, parts, count, call.drpb, drpb);
  } else {
    launch<Kernel::kQueries>(stream, call, type, WindowPass::kQueryGradient);
  }
  shape(&call, WindowPass::kKeyGradient, devices_blocks);
  launch<Kernel::kKeys>(stream, call, type, WindowPass::kKeyGradient);
}

}  // namespace natten::cuda::window
