// The primitives in double precision, of whichever set simd_*.h was included
// for: eight (AVX-512), four (AVX2) or two (NEON) lanes. See there for what each does.
#pragma once

#include <cmath>

#include "registers.h"

namespace natten::cpu {
namespace NATTEN_ISA {

// 2^f for |f| <= 1/2, to 4e-18 and rounding: Chebyshev interpolation of degree 11.
template <class S>
inline typename S::Vector exp2_of_fraction(typename S::Vector f) {
  typename S::Vector y = S::set(4.4558179083360645e-10);
  y = S::fma(y, f, S::set(7.074194297288521e-09));
  y = S::fma(y, f, S::set(1.0178057087733941e-07));
  y = S::fma(y, f, S::set(1.3215432535912375e-06));
  y = S::fma(y, f, S::set(1.5252733841556773e-05));
  y = S::fma(y, f, S::set(1.5403530463724353e-04));
  y = S::fma(y, f, S::set(1.333355814640647e-03));
  y = S::fma(y, f, S::set(9.618129107587256e-03));
  y = S::fma(y, f, S::set(5.5504108664821625e-02));
  y = S::fma(y, f, S::set(2.4022650695910158e-01));
  y = S::fma(y, f, S::set(6.931471805599453e-01));
  return S::fma(y, f, S::set(1.0));
}

// Once per query: one lane after the other.
template <class S>
inline typename S::Vector log2_by_lane(typename S::Vector x) {
  double lanes[S::kLanes];
  S::store(lanes, x);
  for (double& lane : lanes) lane = std::log2(lane);
  return S::load(lanes);
}

#if defined(__AVX512F__)

template <>
struct Simd<double> : Registers32 {
  using Vector = __m512d;
  using Index = __m512i;
  static constexpr int kLanes = 8;
  static constexpr int kPickedOffsets = 4;
  static constexpr bool kNearPicks = false;

  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector set(double x) { return _mm512_set1_pd(x); }
  static Vector load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, Vector x) { _mm512_storeu_pd(p, x); }
  static Index load_index(const int32_t* p) {
    // With a mask: gcc 12 warns of the other form.
    return _mm512_maskz_cvtepi32_epi64(0xff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Index add(Index a, int32_t b) { return _mm512_add_epi64(a, _mm512_set1_epi64(b)); }
  static Vector add(Vector a, Vector b) { return _mm512_add_pd(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_pd(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm512_mul_pd(a, b); }
  static Vector div(Vector a, Vector b) { return _mm512_div_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm512_max_pd(a, b); }
  static Vector pick(Vector low, Index index, Vector high) { return _mm512_permutex2var_pd(low, index, high); }
  static Vector pinned(Vector x) {
    asm("" : "+v"(x));
    return x;
  }

  // 0 below -1022: lanes whose result would be denormal are masked, see simd_avx512.h.
  static Vector exp2(Vector x) {
    const __mmask8 normal = _mm512_cmp_pd_mask(x, _mm512_set1_pd(-1022.0), _CMP_NLT_UQ);
    const Vector whole = _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_maskz_scalef_pd(normal, exp2_of_fraction<Simd>(_mm512_sub_pd(x, whole)), whole);
  }
  static Vector log2(Vector x) { return log2_by_lane<Simd>(x); }

  static Vector load_as(const double* p, int n) { return _mm512_maskz_loadu_pd(first(n), p); }
  static void store_as(double* p, Vector x, int n) { _mm512_mask_storeu_pd(p, first(n), x); }

  static void transpose(Vector (&r)[8]) {
    Vector a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
      a[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
      a[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      b[i] = _mm512_shuffle_f64x2(a[i], a[i + 2], 0x88);
      b[i + 2] = _mm512_shuffle_f64x2(a[i], a[i + 2], 0xdd);
      b[i + 4] = _mm512_shuffle_f64x2(a[i + 4], a[i + 6], 0x88);
      b[i + 6] = _mm512_shuffle_f64x2(a[i + 4], a[i + 6], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f64x2(b[i], b[i + 4], 0x88);
      r[i + 4] = _mm512_shuffle_f64x2(b[i], b[i + 4], 0xdd);
    }
  }

 private:
  static __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1); }
};

#elif defined(__AVX2__)

template <>
struct Simd<double> : Registers16 {
  using Vector = __m256d;
  using Index = __m256i;  // of the halves of each lane, as 32-bit permutes have it
  static constexpr int kLanes = 4;
  static constexpr bool kNearPicks = true;

  static Vector zero() { return _mm256_setzero_pd(); }
  static Vector set(double x) { return _mm256_set1_pd(x); }
  static Vector load(const double* p) { return _mm256_loadu_pd(p); }
  static void store(double* p, Vector x) { _mm256_storeu_pd(p, x); }
  static Index load_index(const int32_t* p) {
    const __m256i wide = _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i low = _mm256_slli_epi64(wide, 1), high = _mm256_add_epi64(low, _mm256_set1_epi64x(1));
    return _mm256_or_si256(low, _mm256_slli_epi64(high, 32));
  }
  static Vector add(Vector a, Vector b) { return _mm256_add_pd(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_pd(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm256_mul_pd(a, b); }
  static Vector div(Vector a, Vector b) { return _mm256_div_pd(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
  static Vector max(Vector a, Vector b) { return _mm256_max_pd(a, b); }
  static Vector pick(Vector x, Index index) { return _mm256_castps_pd(Simd<float>::pick(_mm256_castpd_ps(x), index)); }
  static Vector pinned(Vector x) {
    asm("" : "+x"(x));
    return x;
  }

  // 0 below -1023: that exponent makes the power zero; a NaN in x stays one in y.
  static Vector exp2(Vector x) {
    x = _mm256_max_pd(_mm256_set1_pd(-1023.0), x);
    const Vector whole = _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256i exponent = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(whole));
    const __m256i power = _mm256_slli_epi64(_mm256_add_epi64(exponent, _mm256_set1_epi64x(1023)), 52);
    return _mm256_mul_pd(exp2_of_fraction<Simd>(_mm256_sub_pd(x, whole)), _mm256_castsi256_pd(power));
  }
  static Vector log2(Vector x) { return log2_by_lane<Simd>(x); }

  static Vector load_as(const double* p, int n) {
    return n == kLanes ? _mm256_loadu_pd(p) : _mm256_maskload_pd(p, first(n));
  }
  static void store_as(double* p, Vector x, int n) {
    if (n == kLanes) {
      _mm256_storeu_pd(p, x);
    } else {
      _mm256_maskstore_pd(p, first(n), x);
    }
  }

  static void transpose(Vector (&r)[4]) {
    const Vector a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const Vector c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
  }

 private:
  static __m256i first(int n) { return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)); }
};

#else

template <>
struct Simd<double> : Registers32 {
  using Vector = float64x2_t;
  using Index = uint32x4_t;  // of the halves of each lane
  static constexpr int kLanes = 2;
  static constexpr int kPickedOffsets = 2;  // two vectors hold no more
  static constexpr bool kNearPicks = false;

  static Vector zero() { return vdupq_n_f64(0); }
  static Vector set(double x) { return vdupq_n_f64(x); }
  static Vector load(const double* p) { return vld1q_f64(p); }
  static void store(double* p, Vector x) { vst1q_f64(p, x); }
  static Index load_index(const int32_t* p) {
    const uint32x2_t twice = vshl_n_u32(vreinterpret_u32_s32(vld1_s32(p)), 1), next = vadd_u32(twice, vdup_n_u32(1));
    return vcombine_u32(vzip1_u32(twice, next), vzip2_u32(twice, next));
  }
  static Index add(Index a, int32_t b) { return vaddq_u32(a, vdupq_n_u32(static_cast<uint32_t>(2 * b))); }
  static Vector add(Vector a, Vector b) { return vaddq_f64(a, b); }
  static Vector sub(Vector a, Vector b) { return vsubq_f64(a, b); }
  static Vector mul(Vector a, Vector b) { return vmulq_f64(a, b); }
  static Vector div(Vector a, Vector b) { return vdivq_f64(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f64(c, a, b); }
  static Vector max(Vector a, Vector b) { return vmaxq_f64(a, b); }
  static Vector pick(Vector low, Index index, Vector high) {
    return vreinterpretq_f64_f32(Simd<float>::pick(vreinterpretq_f32_f64(low), index, vreinterpretq_f32_f64(high)));
  }
  static Vector pinned(Vector x) { return x; }

  // 0 below -1023: that exponent makes the power zero; a NaN in x stays one in y.
  static Vector exp2(Vector x) {
    x = vmaxq_f64(vdupq_n_f64(-1023.0), x);
    const Vector whole = vrndnq_f64(x);
    const int64x2_t power = vshlq_n_s64(vaddq_s64(vcvtq_s64_f64(whole), vdupq_n_s64(1023)), 52);
    return vmulq_f64(exp2_of_fraction<Simd>(vsubq_f64(x, whole)), vreinterpretq_f64_s64(power));
  }
  static Vector log2(Vector x) { return log2_by_lane<Simd>(x); }

  static Vector load_as(const double* p, int n) {
    return n == kLanes ? vld1q_f64(p) : vsetq_lane_f64(*p, vdupq_n_f64(0), 0);
  }
  static void store_as(double* p, Vector x, int n) {
    if (n == kLanes) {
      vst1q_f64(p, x);
    } else {
      *p = vgetq_lane_f64(x, 0);
    }
  }

  static void transpose(Vector (&r)[2]) {
    const Vector low = vtrn1q_f64(r[0], r[1]);
    r[1] = vtrn2q_f64(r[0], r[1]);
    r[0] = low;
  }
};

#endif

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
