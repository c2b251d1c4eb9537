// Turns exceptions into the C interface's error strings.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>

#include "../natten.h"

namespace natten::capi {

inline char* message(const char* text) noexcept {
  char* copy = strdup(text);
  if (copy == nullptr) std::abort();  // not even memory for a message: nothing sane is left to do
  return copy;
}

// Gives this system thread the process's number of threads inside an operator (threads.cpp).
void adopt_threads() noexcept;

// Runs `body`; NULL when it returns, else what it threw.
template <typename Body>
char* guard(Body&& body) noexcept {
  try {
    adopt_threads();
    body();
    return nullptr;
  } catch (const c10::Error& e) {
    return message(e.what_without_backtrace());
  } catch (const std::exception& e) {
    return message(e.what());
  } catch (...) {
    return message("unknown exception");
  }
}

// A device by kind and index, which is -1 for the current one. libtorch's own index has eight bits.
inline c10::Device device(int64_t kind, int64_t index) {
  constexpr int kLast = std::numeric_limits<c10::DeviceIndex>::max();
  TORCH_CHECK(index >= -1 && index <= kLast, "device index is ", index, ", want 0 to ", kLast);
  return c10::Device(static_cast<c10::DeviceType>(kind), static_cast<c10::DeviceIndex>(index));
}

// The tensor behind a handle; a null handle is an error, not a crash.
inline at::Tensor& tensor(natten_tensor handle) {
  TORCH_CHECK(handle != nullptr, "null tensor handle");
  return *static_cast<at::Tensor*>(handle);
}

}  // namespace natten::capi
