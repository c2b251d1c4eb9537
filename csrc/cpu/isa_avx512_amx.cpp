// AVX-512, and AMX for the scores of the fused operator in bfloat16.
#define NATTEN_ISA avx512_amx
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "simd_amx.h"
#define NATTEN_BFLOAT16_PRODUCTS Matrices
#include "matrix_table.h"

namespace natten::cpu {
namespace avx512_amx {
namespace {

// As measured (docs/cpu-kernels.md): with long windows, which see most of the positions of a product, and with many
// channels.
bool pays(const Problem& p, int64_t products) {
  constexpr int64_t channels = 32;  // fewer leave a part of every product empty
  const int64_t kernel = p.axis[2].kernel;
  return (p.dim < channels ? 0 : products * p.dim * kernel * kernel) >= least_matrix_work;
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
  static const Table table = avx512_amx::MatrixTable<kAvx512Table, avx512_amx::pays>::named("avx512_amx");
  return permitted ? &table : nullptr;
}

}  // namespace natten::cpu
