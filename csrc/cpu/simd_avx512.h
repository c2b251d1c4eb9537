// AVX-512 primitives: sixteen floats. F, BW, VL and DQ are assumed.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <immintrin.h>

#include <cstdint>

#include "registers.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
struct Simd;

template <>
struct Simd<float> : Registers32 {
  using Vector = __m512;
  using Index = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kPickedOffsets = 4;   // window offsets at a time where lanes pick their keys
  static constexpr bool kNearPicks = false;  // one instruction picks out of two vectors

  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector set(float x) { return _mm512_set1_ps(x); }
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
  static Index load_index(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Index add(Index a, int32_t b) { return _mm512_add_epi32(a, _mm512_set1_epi32(b)); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  // The second when either is NaN.
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  // Lane l: the entry index[l] (0 .. 2 kLanes - 1) of low followed by high.
  static Vector pick(Vector low, Index index, Vector high) { return _mm512_permutex2var_ps(low, index, high); }
  // In a register of its own: keeps the compiler from folding the load into each of its uses.
  static Vector pinned(Vector x) {
    asm("" : "+v"(x));
    return x;
  }

  // 2^x for x <= about 100; 0 below -126; NaN stays. Relative error 2e-8 and rounding.
  static Vector exp2(Vector x) {
    return exp2_by(x, {2.16129163e-4f, 1.24678458e-3f, 9.67545155e-3f, 5.54852821e-2f, 2.40229309e-1f, 6.93147063e-1f,
                       1.00000000f});
  }
  // 2^x by a polynomial for fractions from 0 to 1, the highest power's coefficient first.
  // Lanes whose result would be denormal are masked: on Intel's cores one of them costs hundreds of cycles.
  template <int N>
  static Vector exp2_by(Vector x, const float (&coefficients)[N]) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    const Vector f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    Vector y = _mm512_set1_ps(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N; ++i) y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(coefficients[i]));
    return _mm512_maskz_scalef_ps(normal, y, x);
  }

  // log2(x) of a positive x; 0, infinity and NaN give what std::log2 does.
  static Vector log2(Vector x) {
    const Vector one = _mm512_set1_ps(1.0f);
    const Vector m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_src);
    const Vector e = _mm512_getexp_ps(x);
    const Vector exponent = _mm512_mask_add_ps(e, _mm512_cmp_ps_mask(m, one, _CMP_LT_OQ), e, one);
    const Vector t = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), t2 = _mm512_mul_ps(t, t);
    Vector y = _mm512_set1_ps(3.20598897e-1f);  // 2 / (9 ln 2), then 7, 5, 3, 1
    y = _mm512_fmadd_ps(y, t2, _mm512_set1_ps(4.12198583e-1f));
    y = _mm512_fmadd_ps(y, t2, _mm512_set1_ps(5.77078016e-1f));
    y = _mm512_fmadd_ps(y, t2, _mm512_set1_ps(9.61796694e-1f));
    y = _mm512_fmadd_ps(y, t2, _mm512_set1_ps(2.88539008f));
    return _mm512_fmadd_ps(y, t, exponent);
  }

  // The first n (1 .. kLanes) elements as floats, the rest zero.
  static Vector load_as(const float* p, int n) { return _mm512_maskz_loadu_ps(first(n), p); }
  static Vector load_as(const c10::BFloat16* p, int n) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static Vector load_as(const c10::Half* p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }
  static void store_as(float* p, Vector x, int n) { _mm512_mask_storeu_ps(p, first(n), x); }
  static void store_as(c10::BFloat16* p, Vector x, int n) {
#ifdef __AVX512BF16__
    const __m256bh rounded = _mm512_cvtneps_pbh(x);
    __m256i bits;
    __builtin_memcpy(&bits, &rounded, sizeof bits);
    _mm256_mask_storeu_epi16(p, first(n), bits);
#else
    // Round to nearest even; NaN keeps its top bits and is made quiet.
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
    _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
#endif
  }
  static void store_as(c10::Half* p, Vector x, int n) {
    _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // Rows become columns.
  static void transpose(Vector (&r)[16]) {
    Vector a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
      a[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      a[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      b[i] = pair_low(a[i], a[i + 2]);
      b[i + 1] = pair_high(a[i], a[i + 2]);
      b[i + 2] = pair_low(a[i + 1], a[i + 3]);
      b[i + 3] = pair_high(a[i + 1], a[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
      a[i] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
      a[i + 4] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
      a[i + 8] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
      a[i + 12] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd);
      r[i + 12] = _mm512_shuffle_f32x4(a[i + 4], a[i + 12], 0xdd);
    }
  }

 private:
  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Vector pair_low(Vector a, Vector b) {
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
  static Vector pair_high(Vector a, Vector b) {
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
  }
};

#ifdef __AVX512BF16__
// Products of bfloat16 two at a time, summed in float: each 32-bit lane of a vector holds a pair.
struct Pairs {
  using S = Simd<float>;
  using Sums = Pairs;
  struct Session {
    Session() {}
  };
  static constexpr int kWidth = 2;
  static constexpr bool kMatrices = false;

  static __m512 fma(__m512 a, __m512 b, __m512 sum) { return _mm512_dpbf16_ps(sum, pairs(a), pairs(b)); }
  // The first n (1 .. 32) elements as they are, the rest zero.
  static __m512 load(const c10::BFloat16* p, int64_t n) {
    const __mmask32 mask = n >= 32 ? ~0u : (1u << n) - 1;
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(mask, p));
  }
  // The first of each pair at p, and zeros.
  static __m512 load_first(const float* p) {
    return _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(static_cast<__mmask32>(~kOdd), p));
  }
  // Of 32 elements each, as load gives them: lane l of `first` is (low[l], high[l]), of `second` (low[l + 16], ...).
  static void interleave(__m512 low, __m512 high, __m512& first, __m512& second) {
    const __m512i a = _mm512_castps_si512(low), b = _mm512_castps_si512(high), from = ascending();
    first = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, from, b));
    second = _mm512_castsi512_ps(_mm512_permutex2var_epi16(a, _mm512_add_epi16(from, _mm512_set1_epi16(16)), b));
  }
  // Lane l: (low[l], high[l]) rounded.
  static __m512 round(__m512 low, __m512 high) {
    const __m512bh both = _mm512_cvtne2ps_pbh(high, low);  // all of low, then all of high
    __m512i x;
    __builtin_memcpy(&x, &both, sizeof x);
    const __m512i halves = _mm512_sub_epi16(ascending(), _mm512_maskz_set1_epi16(kOdd, 16));
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(halves, x));
  }
  // 2^x as S::exp2 has it, with an error of 3e-6: weights are rounded to eight bits.
  static __m512 exp2(__m512 x) {
    return S::exp2_by(x, {1.34266857e-2f, 5.22424728e-2f, 2.41280213e-1f, 6.93044841e-1f, 1.0f});
  }

 private:
  static constexpr __mmask32 kOdd = 0xaaaaaaaa;
  // Words 0, 32, 1, 33, ...: of two vectors side by side, the first ones' pairs.
  static __m512i ascending() {
    const __m512i place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_or_si512(place, _mm512_slli_epi32(_mm512_add_epi32(place, _mm512_set1_epi32(32)), 16));
  }
  static __m512bh pairs(__m512 x) {
    __m512bh y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
  }
};
#endif

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
