// NEON primitives of 64-bit ARM: four floats.
#pragma once

#include <arm_neon.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>

#include "registers.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
struct Simd;

template <>
struct Simd<float> : Registers32 {
  using Vector = float32x4_t;
  using Index = uint32x4_t;
  static constexpr int kLanes = 4;
  static constexpr int kPickedOffsets = 4;
  static constexpr bool kNearPicks = false;

  static Vector zero() { return vdupq_n_f32(0); }
  static Vector set(float x) { return vdupq_n_f32(x); }
  static Vector load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Vector x) { vst1q_f32(p, x); }
  static Index load_index(const int32_t* p) { return vld1q_u32(reinterpret_cast<const uint32_t*>(p)); }
  static Index add(Index a, int32_t b) { return vaddq_u32(a, vdupq_n_u32(static_cast<uint32_t>(b))); }
  static Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
  static Vector sub(Vector a, Vector b) { return vsubq_f32(a, b); }
  static Vector mul(Vector a, Vector b) { return vmulq_f32(a, b); }
  static Vector div(Vector a, Vector b) { return vdivq_f32(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
  // NaN when either is NaN.
  static Vector max(Vector a, Vector b) { return vmaxq_f32(a, b); }
  // Lane l: the entry index[l] (0 .. 2 kLanes - 1) of low followed by high.
  static Vector pick(Vector low, Index index, Vector high) {
    // Entry i is bytes 4 i .. 4 i + 3.
    const uint32x4_t bytes = vaddq_u32(vmulq_n_u32(index, 0x04040404u), vdupq_n_u32(0x03020100u));
    const uint8x16x2_t table = {{vreinterpretq_u8_f32(low), vreinterpretq_u8_f32(high)}};
    return vreinterpretq_f32_u8(vqtbl2q_u8(table, vreinterpretq_u8_u32(bytes)));
  }
  static Vector pinned(Vector x) { return x; }

  // 2^x for x <= about 100; 0 below -126; NaN stays. Relative error 9e-8 and rounding.
  static Vector exp2(Vector x) {
    x = vmaxq_f32(vdupq_n_f32(-127.0f), x);
    const Vector whole = vrndnq_f32(x), f = vsubq_f32(x, whole);
    Vector y = vdupq_n_f32(1.32647271e-3f);
    y = vfmaq_f32(vdupq_n_f32(9.67151265e-3f), y, f);
    y = vfmaq_f32(vdupq_n_f32(5.55073374e-2f), y, f);
    y = vfmaq_f32(vdupq_n_f32(2.40222421e-1f), y, f);
    y = vfmaq_f32(vdupq_n_f32(6.93146978e-1f), y, f);
    y = vfmaq_f32(vdupq_n_f32(1.00000000f), y, f);
    // An exponent of -127 makes the power zero; a NaN in x stays one in y.
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(whole), vdupq_n_s32(127)), 23);
    return vmulq_f32(y, vreinterpretq_f32_s32(power));
  }

  // log2(x) of a positive normal x; 0, infinity and NaN give what std::log2 does.
  static Vector log2(Vector x) {
    const Vector one = vdupq_n_f32(1.0f);
    const int32x4_t bits = vreinterpretq_s32_f32(x);
    // Mantissa in [0.75, 1.5): those from 1.5 on are halved.
    const int32x4_t exponent = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(0x3f400000)), 23);
    const Vector m = vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(exponent, 23)));
    const Vector t = vdivq_f32(vsubq_f32(m, one), vaddq_f32(m, one)), t2 = vmulq_f32(t, t);
    Vector y = vdupq_n_f32(3.20598897e-1f);  // 2 / (9 ln 2), then 7, 5, 3, 1
    y = vfmaq_f32(vdupq_n_f32(4.12198583e-1f), y, t2);
    y = vfmaq_f32(vdupq_n_f32(5.77078016e-1f), y, t2);
    y = vfmaq_f32(vdupq_n_f32(9.61796694e-1f), y, t2);
    y = vfmaq_f32(vdupq_n_f32(2.88539008f), y, t2);
    y = vfmaq_f32(vcvtq_f32_s32(exponent), y, t);
    const uint32x4_t finite = vcltq_f32(x, vdupq_n_f32(__builtin_inff()));
    y = vbslq_f32(finite, y, x);
    return vbslq_f32(vceqzq_f32(x), vdupq_n_f32(-__builtin_inff()), y);
  }

  // The first n (1 .. kLanes) elements as floats, the rest zero.
  static Vector load_as(const float* p, int n) {
    if (n == kLanes) return vld1q_f32(p);
    float part[kLanes] = {};
    std::memcpy(part, p, sizeof(float) * n);
    return vld1q_f32(part);
  }
  static Vector load_as(const c10::BFloat16* p, int n) {
    return vreinterpretq_f32_u32(vshll_n_u16(load_half(p, n), 16));
  }
  static Vector load_as(const c10::Half* p, int n) { return vcvt_f32_f16(vreinterpret_f16_u16(load_half(p, n))); }
  static void store_as(float* p, Vector x, int n) {
    if (n == kLanes) return vst1q_f32(p, x);
    float part[kLanes];
    vst1q_f32(part, x);
    std::memcpy(p, part, sizeof(float) * n);
  }
  static void store_as(c10::BFloat16* p, Vector x, int n) {
    // Round to nearest even; NaN keeps its top bits and is made quiet.
    const uint32x4_t bits = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    store_half(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16), n);
  }
  static void store_as(c10::Half* p, Vector x, int n) { store_half(p, vreinterpret_u16_f16(vcvt_f16_f32(x)), n); }

  // Rows become columns.
  static void transpose(Vector (&r)[4]) {
    const float64x2_t a = vreinterpretq_f64_f32(vtrn1q_f32(r[0], r[1])),
                      b = vreinterpretq_f64_f32(vtrn2q_f32(r[0], r[1]));
    const float64x2_t c = vreinterpretq_f64_f32(vtrn1q_f32(r[2], r[3])),
                      d = vreinterpretq_f64_f32(vtrn2q_f32(r[2], r[3]));
    r[0] = vreinterpretq_f32_f64(vtrn1q_f64(a, c));
    r[1] = vreinterpretq_f32_f64(vtrn1q_f64(b, d));
    r[2] = vreinterpretq_f32_f64(vtrn2q_f64(a, c));
    r[3] = vreinterpretq_f32_f64(vtrn2q_f64(b, d));
  }

 private:
  static uint16x4_t load_half(const void* p, int n) {
    uint16_t part[kLanes] = {};
    std::memcpy(part, p, 2 * n);
    return vld1_u16(part);
  }
  static void store_half(void* p, uint16x4_t x, int n) {
    uint16_t part[kLanes];
    vst1_u16(part, x);
    std::memcpy(p, part, 2 * n);
  }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
