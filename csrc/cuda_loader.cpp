// Opens CUDA at run time, so that one program serves machines with and without
// it: when this library is loaded on a machine that has a driver and a device,
// libtorch_cuda.so and then libnatten_cuda.so are opened and the operators
// registered for CUDA tensors. It must happen this early: libtorch remembers
// whether CUDA is there from the first time anything asks.
//
// NATTEN_CUDA=0 leaves CUDA alone.
#include "cuda_loader.h"

#include <c10/core/DeviceGuard.h>
#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "backend.h"
#include "capi/guard.h"
#include "cuda/kernels.h"
#include "natten.h"

namespace natten {
namespace {

const cuda::Table* table = nullptr;
void* opened = nullptr;  // libnatten_cuda.so, once its table is taken

// What the table's functions look like to backend::Operators.
struct CUDAKernels {
  using Guard = c10::DeviceGuard;
  static constexpr int64_t kPiece = 16;
  static at::Tensor empty(at::IntArrayRef sizes, const at::TensorOptions& options) { return at::empty(sizes, options); }
  template <class... Arguments>
  static void na_forward(const Arguments&... arguments) {
    table->na_forward(arguments...);
  }
  template <class... Arguments>
  static void na_backward(const Arguments&... arguments) {
    table->na_backward(arguments...);
  }
  template <class... Arguments>
  static void qk_forward(const Arguments&... arguments) {
    table->qk_forward(arguments...);
  }
  template <class... Arguments>
  static void qk_backward(const Arguments&... arguments) {
    table->qk_backward(arguments...);
  }
  template <class... Arguments>
  static void av_forward(const Arguments&... arguments) {
    table->av_forward(arguments...);
  }
  template <class... Arguments>
  static void av_backward(const Arguments&... arguments) {
    table->av_backward(arguments...);
  }
};

// Loading libtorch_cuda.so costs a second, so the driver is asked first; it loads in milliseconds where there is none.
std::string driver_defect() {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return "there is no NVIDIA driver (libcuda.so.1) on this machine";
  using Init = int (*)(unsigned);
  using Count = int (*)(int*);
  const auto init = reinterpret_cast<Init>(dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(dlsym(driver, "cuDeviceGetCount"));
  if (init == nullptr || count == nullptr) return "libcuda.so.1 is not a CUDA driver";
  int devices = 0;
  int result = init(0);
  if (result == 0) result = count(&devices);
  if (result != 0) return "the NVIDIA driver finds no usable device (CUDA error " + std::to_string(result) + ")";
  if (devices == 0) return "the NVIDIA driver shows no device";
  return "";
}

// The file beside this library, or the plain name for the loader to find.
std::string beside_this_library(const char* name) {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&natten_cuda_status), &info) == 0 || info.dli_fname == nullptr) return name;
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? name : path.substr(0, slash + 1) + name;
}

std::string open_cuda() {
  const char* const wanted = std::getenv("NATTEN_CUDA");
  if (wanted != nullptr && std::string(wanted) == "0") return "NATTEN_CUDA=0 leaves it alone";
  const std::string defect = driver_defect();
  if (!defect.empty()) return defect;
  if (dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    return std::string("this libtorch has no usable CUDA part: ") + dlerror();
  }
  const std::string path = beside_this_library("libnatten_cuda.so");
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::string("the CUDA kernels are not built (make CUDA=1): ") + dlerror();
  const auto find = reinterpret_cast<decltype(&natten_cuda_table)>(dlsym(library, "natten_cuda_table"));
  if (find == nullptr || find()->version != cuda::kTableVersion)
    return path + " is of another version of this library: make build CUDA=1";
  table = find();
  opened = library;
  // Registered for the life of the process.
  auto* const cuda_operators =
      new torch::Library(torch::Library::IMPL, "natten", c10::DispatchKey::CUDA, __FILE__, __LINE__);
  backend::Operators<CUDAKernels>::register_with(*cuda_operators);
  auto* const queries = new torch::Library(torch::Library::IMPL, "natten", c10::DispatchKey::CompositeExplicitAutograd,
                                           __FILE__, __LINE__);
  queries->impl("_cuda_capability",
                [](int64_t device) -> int64_t { return table->capability(static_cast<int>(device)); });
  return "";
}

std::string& status() {
  static std::string text;
  return text;
}

__attribute__((constructor)) void load() {
  try {
    status() = open_cuda();
  } catch (const std::exception& e) {
    status() = std::string("the CUDA kernels cannot be registered: ") + e.what();
  }
}

}  // namespace

void* cuda::symbol(const char* name) { return opened == nullptr ? nullptr : dlsym(opened, name); }

}  // namespace natten

char* natten_cuda_force(const char* name) {
  return natten::capi::guard([&] {
    const std::string wanted = std::string(name) == "auto" ? "" : name;
    TORCH_CHECK(wanted.empty() || natten::table != nullptr, "there are no CUDA kernels here: ", natten::status());
    if (natten::table != nullptr) natten::table->force(wanted.c_str());
  });
}

char* natten_cuda_why(int rank, const int64_t* axes, int64_t batch, int64_t heads, int64_t dim, int dtype, int rpb,
                      int operation, int device, char** text) {
  return natten::capi::guard([&] {
    TORCH_CHECK(natten::table != nullptr, "there are no CUDA kernels here: ", natten::status());
    TORCH_CHECK(rank >= 1 && rank <= natten::kAxes, "natten_cuda_why: rank is ", rank, ", want 1 to 3");
    TORCH_CHECK(batch >= 1 && heads >= 1 && dim >= 1, "natten_cuda_why: batch, heads and dim are ", batch, ", ", heads,
                " and ", dim, ", want at least 1");
    for (int a = 0; a < rank; a++) {
      TORCH_CHECK(axes[3 * a + 1] >= 1 && axes[3 * a + 2] >= 1 && axes[3 * a] / axes[3 * a + 2] >= axes[3 * a + 1],
                  "natten_cuda_why: axis ", a, " has ", axes[3 * a], " tokens, kernel_size ", axes[3 * a + 1],
                  " and dilation ", axes[3 * a + 2], ", want kernel_size * dilation within the axis");
    }
    natten::Problem p;
    p.rank = rank;
    p.batch = batch;
    p.heads = p.kv_heads = heads;
    p.dim = p.value_dim = dim;
    for (int a = 0; a < rank; a++) {
      natten::Axis& axis = p.axis[natten::kAxes - rank + a];
      axis.length = axes[3 * a];
      axis.kernel = axes[3 * a + 1];
      axis.dilation = axes[3 * a + 2];
    }
    const auto type = static_cast<c10::ScalarType>(dtype);
    *text = strdup(natten::table->why(p, type, rpb != 0, operation, device).c_str());
  });
}

const char* natten_cuda_status(void) { return natten::status().c_str(); }
