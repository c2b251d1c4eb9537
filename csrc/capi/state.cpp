// Libtorch's modes and random numbers, and what this build is.
#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "../cpu/kernels.h"
#include "guard.h"

using natten::capi::guard;
using natten::capi::tensor;

namespace {

at::Generator generator_of(int device, int index) {
  TORCH_CHECK(device == 0 || device == 1, "generator: device type is ", device, ", want 0 (CPU) or 1 (CUDA)");
  return at::globalContext().defaultGenerator(natten::capi::device(device, index));
}

}  // namespace

int natten_grad_enabled(void) { return at::GradMode::is_enabled(); }
void natten_set_grad_enabled(int enabled) { at::GradMode::set_enabled(enabled != 0); }

void natten_return_freed_memory(int64_t bytes) {
#ifdef __GLIBC__
  mallopt(M_MMAP_MAX, 65536);  // glibc's own, where the environment forbids it
  mallopt(M_MMAP_THRESHOLD, static_cast<int>(std::min<int64_t>(bytes, 1 << 25)));  // more is refused
#else
  (void)bytes;
#endif
}

char* natten_manual_seed(uint64_t seed) {
  return guard([&] { at::manual_seed(seed); });
}

int natten_deterministic(void) { return at::globalContext().deterministicAlgorithms(); }
char* natten_set_deterministic(int enabled) {
  return guard([&] { at::globalContext().setDeterministicAlgorithms(enabled != 0, /*warn_only=*/false); });
}

int natten_device_count(int device) {
  const auto type = static_cast<c10::DeviceType>(device);
  return c10::impl::hasDeviceGuardImpl(type) ? c10::impl::getDeviceGuardImpl(type)->deviceCount() : 0;
}
char* natten_set_device(int device, int index) {
  return guard([&] {
    const c10::Device chosen = natten::capi::device(device, index);
    c10::impl::VirtualGuardImpl(chosen.type()).setDevice(chosen);
  });
}

char* natten_generator_state(int device, int index, natten_tensor* state) {
  return guard([&] {
    auto generator = generator_of(device, index);
    std::lock_guard<std::mutex> lock(generator.mutex());
    *state = new at::Tensor(generator.get_state());
  });
}

char* natten_set_generator_state(int device, int index, natten_tensor state) {
  return guard([&] {
    auto generator = generator_of(device, index);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(tensor(state));
  });
}

const char* natten_cpu_instruction_set(void) { return natten::cpu::instruction_set(); }

const char* natten_libtorch_version(void) { return TORCH_VERSION; }

char* natten_allow_tf32(int allowed, int* before) {
  return guard([&] {
    *before = at::globalContext().allowTF32CuDNN();
    at::globalContext().setAllowTF32CuDNN(allowed != 0);
  });
}

int natten_has_cuda(void) {
  const auto op = c10::Dispatcher::singleton().findSchema({"natten::na", ""});
  return op.has_value() && op->hasKernelForDispatchKey(c10::DispatchKey::CUDA);
}
