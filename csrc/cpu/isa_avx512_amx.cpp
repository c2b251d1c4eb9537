// AVX-512, and AMX for the scores of the fused operator in bfloat16.
#define NATTEN_ISA avx512_amx
#define NATTEN_BFLOAT16_PRODUCTS Matrices
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simd_amx.h"
#include "table.h"
#include "tiled.h"

namespace natten::cpu {
namespace avx512_amx {
namespace {

// Whether matrices are faster, as measured (docs/cpu-kernels.md): with long windows, which see most of the positions of
// a product, and with many channels. `products`: of queries and keys that a pass forms.
bool pays(const Problem& p, int64_t products) {
  constexpr int64_t channels = 32;  // fewer leave a part of every product empty
  const int64_t kernel = p.axis[2].kernel;
  return (p.dim < channels ? 0 : products * p.dim * kernel * kernel) >= least_matrix_work;
}

void forward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
             const View& out, const View& lse) {
  if (type == c10::ScalarType::BFloat16 && pays(p, 1) && tiled_forward<c10::BFloat16>(p, q, k, v, rpb, out, lse)) {
    return;
  }
  kAvx512Table->forward(p, type, q, k, v, rpb, out, lse);
}

void backward(const Problem& p, c10::ScalarType type, const View& q, const View& k, const View& v, const void* rpb,
              const View& out, const View& lse, const View& dout, const View& dq, const View& dk, const View& dv,
              void* drpb, bool deterministic) {
  const BackwardViews views{q, k, v, out, lse, dout, dq, dk, dv};
  if (type == c10::ScalarType::BFloat16 && pays(p, 2) &&
      tiled_backward<c10::BFloat16>(p, views, rpb, drpb, deterministic)) {
    return;
  }
  kAvx512Table->backward(p, type, q, k, v, rpb, out, lse, dout, dq, dk, dv, drpb, deterministic);
}

// Linux gives a process the matrix unit when it asks for it (Documentation/arch/x86/xstate.rst).
bool permitted() {
#ifdef SYS_arch_prctl
  constexpr int request_permission = 0x1023, tile_data = 18;
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  unsigned eax, ebx, ecx, edx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  if ((edx & amx_bf16) == 0 || (edx & amx_tile) == 0) return false;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace
}  // namespace avx512_amx

const Table* avx512_amx_table() {
  static const bool permitted = avx512_amx::permitted();
  static const Table table = [] {
    Table made = *kAvx512Table;
    made.name = "avx512_amx";
    made.forward = &avx512_amx::forward;
    made.backward = &avx512_amx::backward;
    return made;
  }();
  return permitted ? &table : nullptr;
}

}  // namespace natten::cpu
