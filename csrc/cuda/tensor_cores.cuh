// Products of one warp on its tensor cores, and the loads that bring their operands.
//
// Sums are fragments of 16 x 8: thread t holds rows t/4 and t/4 + 8, of the eight columns the two from 2 (t%4).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "element.h"

namespace natten::cuda {

template <class T>
__device__ __forceinline__ uint32_t pack_pair(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack_pair<__half>(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t pack_pair<__nv_bfloat16>(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// d += a b for 16 x 16 times 16 x 8.
template <class T>
__device__ __forceinline__ void mma(float* d, const uint32_t* a, uint32_t b0, uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#elif __CUDA_ARCH__ >= 750
  if constexpr (std::is_same_v<T, __half>) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b0));
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[2]), "r"(a[3]), "r"(b1));
  }
#endif
}

// Of elements of four and eight bytes a product is 16 x 8 times 8 x 8. An operand, ready to multiply:
// left      rows t/4 and t/4 + 8 at place t%4 of the eight that are summed, then both at place t%4 + 4
// right     places t%4 and t%4 + 4 of column t/4
template <class T>
struct Factor;
template <>
struct Factor<Tf32> {
  uint32_t bits;
  __device__ __forceinline__ Factor() {}
  __device__ __forceinline__ explicit Factor(float x) : bits(bits_of(x) + 0x1000u) {}
};
template <>
struct Factor<float> {
  uint32_t high, low;
  __device__ __forceinline__ Factor() {}
  __device__ __forceinline__ explicit Factor(float x) {
    const Split parts = split(x);
    high = bits_of(parts.high);
    low = bits_of(parts.low);
  }
};
template <>
struct Factor<double> {
  double value;
  __device__ __forceinline__ Factor() {}
  __device__ __forceinline__ explicit Factor(double x) : value(x) {}
};

__device__ __forceinline__ void mma_tf32(float* d, uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                         uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}
__device__ __forceinline__ void mma(float* d, const Factor<Tf32>* a, Factor<Tf32> b0, Factor<Tf32> b1) {
  mma_tf32(d, a[0].bits, a[1].bits, a[2].bits, a[3].bits, b0.bits, b1.bits);
}
// The small products first.
__device__ __forceinline__ void mma(float* d, const Factor<float>* a, Factor<float> b0, Factor<float> b1) {
  mma_tf32(d, a[0].low, a[1].low, a[2].low, a[3].low, b0.high, b1.high);
  mma_tf32(d, a[0].high, a[1].high, a[2].high, a[3].high, b0.low, b1.low);
  mma_tf32(d, a[0].high, a[1].high, a[2].high, a[3].high, b0.high, b1.high);
}
__device__ __forceinline__ void mma(double* d, const Factor<double>* a, Factor<double> b0, Factor<double> b1) {
#if __CUDA_ARCH__ >= 900
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+d"(d[0]), "+d"(d[1]), "+d"(d[2]), "+d"(d[3])
               : "d"(a[0].value), "d"(a[1].value), "d"(a[2].value), "d"(a[3].value), "d"(b0.value), "d"(b1.value));
#elif __CUDA_ARCH__ >= 800
#pragma unroll
  for (int half = 0; half < 2; half++) {
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(d[2 * half]), "+d"(d[2 * half + 1])
                 : "d"(a[half].value), "d"(b0.value));
    asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0,%1}, {%2}, {%3}, {%0,%1};"
                 : "+d"(d[2 * half]), "+d"(d[2 * half + 1])
                 : "d"(a[2 + half].value), "d"(b1.value));
  }
#endif
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void load_matrices(uint32_t* r, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void load_matrices_transposed(uint32_t* r, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

}  // namespace natten::cuda
