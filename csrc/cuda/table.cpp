// The table of libnatten_cuda.so: current stream, memory from libtorch's
// allocator, launch check; the kernel class comes from choice.h.
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "choice.h"
#include "kernels.h"
#include "tile_geometry.h"

namespace natten::cuda {
namespace {

// Whether the user lets products of float32 be rounded to TF32: libtorch's switch for its matrix products.
bool allows_tf32() {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 11
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL) ==
         at::Float32Precision::TF32;
#else
  return at::globalContext().allowTF32CuBLAS();
#endif
}

Type type_of(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Double:
      return Type::kDouble;
    case c10::ScalarType::Float:
      return allows_tf32() ? Type::kTf32 : Type::kFloat;
    case c10::ScalarType::Half:
      return Type::kHalf;
    default:
      return Type::kBFloat16;
  }
}

// Temporary memory of one call. The allocator hands a block out again only in the order of the stream, so it may go
// when the call returns; inside a graph capture it belongs to the graph's pool.
class Memory {
 public:
  Workspace workspace() { return {allocate, this}; }

 private:
  static void* allocate(void* self, size_t bytes) {
    auto& blocks = static_cast<Memory*>(self)->blocks_;
    blocks.push_back(c10::cuda::CUDACachingAllocator::get()->allocate(bytes));
    return blocks.back().get();
  }
  std::vector<c10::DataPtr> blocks_;
};

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
  return value;
}

// code_version, asked once for each device.
int code_of(int device) {
  static std::vector<std::atomic<int>> known(c10::cuda::device_count());
  std::atomic<int>& code = known.at(static_cast<size_t>(device));
  if (code == 0) {
    const c10::cuda::CUDAGuard guard(static_cast<c10::DeviceIndex>(device));
    code = code_version();
  }
  return code;
}

int capability_of(int device) {
  return attribute(cudaDevAttrComputeCapabilityMajor, device) * 10 +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

// Rows of sixteen bytes: the address and every stride that is used.
bool aligned(const Problem& p, c10::ScalarType type, std::initializer_list<View> views) {
  const int64_t piece = 16 / static_cast<int64_t>(c10::elementSize(type));
  for (const View& view : views) {
    if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
    if (p.batch > 1 && view.batch % piece != 0) return false;
    if (view.head % piece != 0) return false;
    for (int a = 0; a < kAxes; a++) {
      if (p.axis[a].length > 1 && view.axis[a] % piece != 0) return false;
    }
  }
  return true;
}

bool near(const Problem& p, std::initializer_list<View> views) {
  for (const View& view : views) {
    if (!fits_lattice(p, view)) return false;
  }
  return true;
}

// Batch, tokens, heads without gaps.
bool dense(const Problem& p, const View& lse) {
  int64_t apart = p.heads;
  bool holds = p.heads == 1 || lse.head == 1;
  for (int a = kAxes - 1; a >= 0; a--) {
    holds = holds && (p.axis[a].length == 1 || lse.axis[a] == apart);
    apart *= p.axis[a].length;
  }
  return holds && (p.batch == 1 || lse.batch == apart);
}

// What the tensor copy engine asks of strides.
bool ascending(const Problem& p, c10::ScalarType type, std::initializer_list<View> views) {
  const int64_t limit = (int64_t{1} << 40) / static_cast<int64_t>(c10::elementSize(type));
  for (const View& view : views) {
    bool holds = p.batch == 1 || (view.batch > 0 && view.batch < limit);
    holds = holds && (p.heads == 1 || (view.head > 0 && view.head < limit));
    for (int a = 0; a < kAxes; a++)
      holds = holds && (p.axis[a].length == 1 || (view.axis[a] > 0 && view.axis[a] < limit));
    if (!holds) return false;
  }
  return true;
}

// What natten_cuda_force set; backward runs on threads of its own.
thread_local std::string forced_here;

const char* forced_class() { return forced_here.empty() ? std::getenv("NATTEN_BACKEND") : forced_here.c_str(); }

// The class that runs a call whose rows of dim or value_dim elements are `views`.
Class class_of(const Problem& p, c10::ScalarType type, Operation operation, bool backward, const void* rpb,
               const void* drpb, bool near_weights, const View& lse, std::initializer_list<View> views) {
  int device = 0;
  C10_CUDA_CHECK(cudaGetDevice(&device));
  const Request request{p,
                        type_of(type),
                        aligned(p, type, views),
                        near_weights && near(p, views),
                        ascending(p, type, views),
                        capability_of(device),
                        code_of(device),
                        attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                        dense(p, lse)};
  const char* const forced = backward ? std::getenv("NATTEN_BACKEND") : forced_class();
  const char* reason = nullptr;
  const Candidate* const candidate = choose(request, operation, rpb != nullptr, drpb != nullptr, forced, &reason);
  TORCH_CHECK(candidate != nullptr, "natten: the backend ", forced, " is asked for (NATTEN_BACKEND), but ", reason);
  return candidate->kernels;
}

void na_forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
                const View& out, const View& lse, bool) {
  const Class kernels = class_of(p, type, Operation::kForward, false, rpb, nullptr, true, lse, {q, k, v, out});
  const auto run = kernels == Class::kWindow   ? window::na_forward
                   : kernels == Class::kHopper ? hopper::na_forward
                   : kernels == Class::kTile   ? tile::na_forward
                                               : naive::na_forward;
  run(stream(), p, type_of(type), q, k, v, rpb, out, lse);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void na_backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
                 const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
                 void* drpb, bool) {
  Memory memory;
  const Class kernels =
      class_of(p, type, Operation::kBackward, true, rpb, drpb, true, lse, {q, k, v, out, dout, dq, dk, dv});
  const auto run = kernels == Class::kWindow ? window::na_backward
                   : kernels == Class::kTile ? tile::na_backward
                                             : naive::na_backward;
  run(stream(), p, type_of(type), q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb, memory.workspace());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

// Whether the tile kernels run an unfused operator on rows of `dim` elements.
bool pair_on_tiles(Problem p, c10::ScalarType type, int64_t dim, bool backward, const void* rpb, const void* drpb,
                   const View& weights, std::initializer_list<View> views) {
  p.dim = p.value_dim = dim;
  return class_of(p, type, Operation::kPair, backward, rpb, drpb, fits_lattice(p, weights, p.slots()), View(), views) ==
         Class::kTile;
}

void qk_forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const void* rpb,
                const View& logits, bool) {
  const bool tiles = pair_on_tiles(p, type, p.dim, false, rpb, nullptr, logits, {q, k});
  (tiles ? tile::dot_keys : naive::dot_keys)(stream(), p, type_of(type), p.dim, p.scale,
                                             -std::numeric_limits<double>::infinity(), q, k, rpb, logits);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void qk_backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& dlogits,
                 const View& dq, const View& dk, void* drpb, bool) {
  Memory memory;
  const Type t = type_of(type);
  if (pair_on_tiles(p, type, p.dim, true, nullptr, drpb, dlogits, {q, k, dq, dk})) {
    tile::gather_keys(stream(), p, t, p.dim, p.scale, dlogits, k, dq, drpb, memory.workspace());
    tile::gather_queries(stream(), p, t, p.dim, p.scale, dlogits, q, dk);
  } else {
    naive::gather_keys(stream(), p, t, p.dim, p.scale, dlogits, k, dq);
    naive::gather_queries(stream(), p, t, p.dim, p.scale, dlogits, q, dk);
    if (drpb != nullptr) naive::sum_bias(stream(), p, t, dlogits, drpb, memory.workspace());
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void av_forward(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& out, bool) {
  Memory memory;
  const Type t = type_of(type);
  if (pair_on_tiles(p, type, p.value_dim, false, nullptr, nullptr, attention, {v, out})) {
    tile::gather_keys(stream(), p, t, p.value_dim, 1.0, attention, v, out, nullptr, memory.workspace());
  } else {
    naive::gather_keys(stream(), p, t, p.value_dim, 1.0, attention, v, out);
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

void av_backward(const Problem& p, c10::ScalarType type, const View& attention, const View& v, const View& dout,
                 const View& dattention, const View& dv, bool) {
  const bool tiles = pair_on_tiles(p, type, p.value_dim, true, nullptr, nullptr, attention, {v, dout, dv});
  const Type t = type_of(type);
  (tiles ? tile::dot_keys : naive::dot_keys)(stream(), p, t, p.value_dim, 1.0, 0.0, dout, v, nullptr, dattention);
  (tiles ? tile::gather_queries : naive::gather_queries)(stream(), p, t, p.value_dim, 1.0, attention, dout, dv);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

int capability(int device) {
  TORCH_CHECK(device >= 0 && device < c10::cuda::device_count(), "natten::_cuda_capability: device is ", device,
              ", want one of the ", static_cast<int>(c10::cuda::device_count()), " CUDA devices");
  return capability_of(device);
}

void force(const char* name) { forced_here = name; }

std::string why(const Problem& p, c10::ScalarType type, bool bias, int operation, int device) {
  const int64_t piece = 16 / static_cast<int64_t>(c10::elementSize(type));
  const int64_t weights = static_cast<Operation>(operation) == Operation::kPair ? p.slots() : 0;
  const int64_t row = std::max({p.dim, p.value_dim, weights});
  const Request request{p,
                        type_of(type),
                        p.dim % piece == 0 && p.value_dim % piece == 0,
                        p.tokens() * p.heads * row < int64_t{1} << 31,
                        true,
                        capability(device),
                        code_of(device),
                        attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                        true};
  std::string text;
  bool chosen = false;
  for (int i = 0; i < kCandidates; i++) {
    const Candidate& candidate = candidates()[i];
    const char* const refusal = candidate.refuses(request, static_cast<Operation>(operation), bias, bias);
    text += std::string(candidate.name) + " (" + candidate.what + "): " +
            (refusal != nullptr ? refusal
             : chosen           ? "could"
                                : "runs it") +
            "\n";
    chosen = chosen || refusal == nullptr;
  }
  return text;
}

}  // namespace
}  // namespace natten::cuda

const natten::cuda::Table* natten_cuda_table() {
  using namespace natten::cuda;
  static const Table table{kTableVersion, na_forward,  na_backward, qk_forward, qk_backward,
                           av_forward,    av_backward, capability,  force,      why};
  return &table;
}
