// What the CUDA library offers to the operators: one table of functions, found
// by name when libnatten.so opens it. They are those of cpu/kernels.h, on
// device memory and the current stream of the current device. A launch that
// fails throws c10::Error; nothing waits for the device.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>

#include "../cpu/kernels.h"

namespace natten::cuda {

// Of what both libraries must have alike: a sum of the headers that say it (csrc/Makefile).
#ifdef NATTEN_TABLE_VERSION
constexpr uint64_t kTableVersion = NATTEN_TABLE_VERSION;
#endif

struct Table {
  uint64_t version;
  decltype(&cpu::na_forward) na_forward;
  decltype(&cpu::na_backward) na_backward;
  decltype(&cpu::qk_forward) qk_forward;
  decltype(&cpu::qk_backward) qk_backward;
  decltype(&cpu::av_forward) av_forward;
  decltype(&cpu::av_backward) av_backward;
  int (*capability)(int device);  // major * 10 + minor
  // Forces a kernel class for this thread's forward calls; "" chooses again.
  void (*force)(const char* name);
  // One line for each class: whether it takes the call on that device, memory laid out as new tensors are.
  // operation: 0 the fused forward, 1 its backward, 2 the unfused operators.
  std::string (*why)(const Problem& p, c10::ScalarType type, bool bias, int operation, int device);
};

}  // namespace natten::cuda

extern "C" __attribute__((visibility("default"))) const natten::cuda::Table* natten_cuda_table();
