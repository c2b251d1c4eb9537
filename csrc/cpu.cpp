// Registers the operators for CPU tensors.
#include "backend.h"
#include "cpu/kernels.h"
#include "cpu/pool.h"

namespace natten {
namespace {

struct CPUKernels {
  struct Guard {
    explicit Guard(c10::Device) {}
  };
  static constexpr int64_t kPiece = 1;
  static constexpr auto empty = &cpu::empty_result;
  static constexpr auto na_forward = &cpu::na_forward;
  static constexpr auto na_backward = &cpu::na_backward;
  static constexpr auto qk_forward = &cpu::qk_forward;
  static constexpr auto qk_backward = &cpu::qk_backward;
  static constexpr auto av_forward = &cpu::av_forward;
  static constexpr auto av_backward = &cpu::av_backward;
};

}  // namespace

TORCH_LIBRARY_IMPL(natten, CPU, m) { backend::Operators<CPUKernels>::register_with(m); }

}  // namespace natten
