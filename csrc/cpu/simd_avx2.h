// AVX2 primitives: eight floats. FMA and F16C are assumed.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "registers.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
struct Simd;

template <>
struct Simd<float> : Registers16 {
  using Vector = __m256;
  using Index = __m256i;
  static constexpr int kLanes = 8;
  // A load and a permute for each offset cost less than a choice out of two vectors.
  static constexpr bool kNearPicks = true;

  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector set(float x) { return _mm256_set1_ps(x); }
  static Vector load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
  static Index load_index(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  // The second when either is NaN.
  static Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  // Lane l: the entry index[l] (0 .. kLanes - 1).
  static Vector pick(Vector x, Index index) { return _mm256_permutevar8x32_ps(x, index); }
  // In a register of its own: keeps the compiler from folding the load into each of its uses.
  static Vector pinned(Vector x) {
    asm("" : "+x"(x));
    return x;
  }

  // 2^x for x <= about 100; 0 below -126; NaN stays. Relative error 2e-8 and rounding.
  static Vector exp2(Vector x) {
    const Vector low = _mm256_set1_ps(-127.0f);
    x = _mm256_max_ps(low, x);
    const Vector whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const Vector f = _mm256_sub_ps(x, whole);
    Vector y = _mm256_set1_ps(1.53533620e-4f);
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.33988739e-3f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(9.61843692e-3f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(5.55033237e-2f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(2.40226477e-1f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(6.93147182e-1f));
    y = _mm256_fmadd_ps(y, f, _mm256_set1_ps(1.00000000f));
    // An exponent of -127 makes the power zero; a NaN in x stays one in y, whatever it is multiplied by.
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(whole), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(y, _mm256_castsi256_ps(power));
  }

  // log2(x) of a positive normal x; 0, infinity and NaN give what std::log2 does.
  static Vector log2(Vector x) {
    const Vector one = _mm256_set1_ps(1.0f);
    const __m256i bits = _mm256_castps_si256(x);
    // Mantissa in [0.75, 1.5): those from 1.5 on are halved.
    const __m256i offset = _mm256_set1_epi32(0x3f400000);
    const __m256i exponent = _mm256_srai_epi32(_mm256_sub_epi32(bits, offset), 23);
    const Vector m = _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(exponent, 23)));
    const Vector t = _mm256_div_ps(_mm256_sub_ps(m, one), _mm256_add_ps(m, one)), t2 = _mm256_mul_ps(t, t);
    Vector y = _mm256_set1_ps(3.20598897e-1f);  // 2 / (9 ln 2), then 7, 5, 3, 1
    y = _mm256_fmadd_ps(y, t2, _mm256_set1_ps(4.12198583e-1f));
    y = _mm256_fmadd_ps(y, t2, _mm256_set1_ps(5.77078016e-1f));
    y = _mm256_fmadd_ps(y, t2, _mm256_set1_ps(9.61796694e-1f));
    y = _mm256_fmadd_ps(y, t2, _mm256_set1_ps(2.88539008f));
    y = _mm256_fmadd_ps(y, t, _mm256_cvtepi32_ps(exponent));
    const Vector infinity = _mm256_set1_ps(__builtin_inff());
    const Vector special = _mm256_cmp_ps(x, infinity, _CMP_NLT_UQ);  // infinity and NaN
    y = _mm256_blendv_ps(y, x, special);
    return _mm256_blendv_ps(y, _mm256_set1_ps(-__builtin_inff()), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_EQ_OQ));
  }

  // The first n (1 .. kLanes) elements as floats, the rest zero.
  static Vector load_as(const float* p, int n) {
    return n == kLanes ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first(n));
  }
  static Vector load_as(const c10::BFloat16* p, int n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load_half(p, n)), 16));
  }
  static Vector load_as(const c10::Half* p, int n) { return _mm256_cvtph_ps(load_half(p, n)); }
  static void store_as(float* p, Vector x, int n) {
    if (n == kLanes) {
      _mm256_storeu_ps(p, x);
    } else {
      _mm256_maskstore_ps(p, first(n), x);
    }
  }
  static void store_as(c10::BFloat16* p, Vector x, int n) {
    // Round to nearest even; NaN keeps its top bits and is made quiet.
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i top = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
    store_half(p, _mm_packus_epi32(_mm256_castsi256_si128(top), _mm256_extracti128_si256(top, 1)), n);
  }
  static void store_as(c10::Half* p, Vector x, int n) {
    store_half(p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), n);
  }

  // Rows become columns.
  static void transpose(Vector (&r)[8]) {
    Vector a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
      a[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      a[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
      b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
      b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
      b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
  }

 private:
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static __m128i load_half(const void* p, int n) {
    if (n == kLanes) return _mm_loadu_si128(static_cast<const __m128i*>(p));
    alignas(16) uint16_t part[8] = {};
    std::memcpy(part, p, 2 * n);
    return _mm_load_si128(reinterpret_cast<const __m128i*>(part));
  }
  static void store_half(void* p, __m128i x, int n) {
    if (n == kLanes) {
      _mm_storeu_si128(static_cast<__m128i*>(p), x);
    } else {
      alignas(16) uint16_t part[8];
      _mm_store_si128(reinterpret_cast<__m128i*>(part), x);
      std::memcpy(p, part, 2 * n);
    }
  }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
