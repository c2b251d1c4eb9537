// Autocast regions: libtorch's thread-local switch, per device type.
#include <ATen/autocast_mode.h>
#include <torch/version.h>

#include "guard.h"

using natten::capi::guard;

namespace {

natten_autocast state_of(c10::DeviceType device) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 4
  return {at::autocast::is_autocast_enabled(device), static_cast<int>(at::autocast::get_autocast_dtype(device))};
#else
  if (device == c10::DeviceType::CPU) {
    return {at::autocast::is_cpu_enabled(), static_cast<int>(at::autocast::get_autocast_cpu_dtype())};
  }
  return {at::autocast::is_enabled(), static_cast<int>(at::autocast::get_autocast_gpu_dtype())};
#endif
}

void set_enabled(c10::DeviceType device, bool enabled) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 4
  at::autocast::set_autocast_enabled(device, enabled);
#else
  device == c10::DeviceType::CPU ? at::autocast::set_cpu_enabled(enabled) : at::autocast::set_enabled(enabled);
#endif
}

void set_dtype(c10::DeviceType device, at::ScalarType dtype) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 4
  at::autocast::set_autocast_dtype(device, dtype);
#else
  device == c10::DeviceType::CPU ? at::autocast::set_autocast_cpu_dtype(dtype)
                                 : at::autocast::set_autocast_gpu_dtype(dtype);
#endif
}

// The cache of cast weights knows tensors, not dtypes.
void change(c10::DeviceType device, at::ScalarType dtype, const natten_autocast& now) {
  if (static_cast<int>(dtype) != now.dtype) at::autocast::clear_cache();
  set_dtype(device, dtype);
}

c10::DeviceType checked(int device) {
  TORCH_CHECK(device == 0 || device == 1, "autocast: device type is ", device, ", want 0 (CPU) or 1 (CUDA)");
  return static_cast<c10::DeviceType>(device);
}

}  // namespace

char* natten_autocast_enter(int device, int dtype, natten_autocast* before) {
  return guard([&] {
    const auto type = static_cast<at::ScalarType>(dtype);
    TORCH_CHECK(type == at::kHalf || type == at::kBFloat16, "autocast: dtype is ", type, ", want float16 or bfloat16");
    const c10::DeviceType where = checked(device);
    *before = state_of(where);
    change(where, type, *before);
    at::autocast::increment_nesting();
    set_enabled(where, true);
  });
}

char* natten_autocast_leave(int device, natten_autocast before) {
  return guard([&] {
    const c10::DeviceType where = checked(device);
    change(where, static_cast<at::ScalarType>(before.dtype), state_of(where));
    set_enabled(where, before.enabled != 0);
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  });
}
