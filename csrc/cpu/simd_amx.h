// The matrix unit of Intel's AMX, beside the AVX-512 primitives: products of bfloat16 pairs summed in float (Intel 64
// and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18).
#pragma once

#include "simd_avx512.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class S>
struct Single;

// Scores as products of sixteen keys with sixteen queries; the weighted sums are single products.
//
// A tile register has sixteen rows of 64 bytes: sums of 16 positions x 16 lanes, keys of 16 positions x 32 channels,
// queries of 16 pairs of channels x 16 lanes. Loads do not overtake products, and products do not overlap with stores
// of what they wait for: the order in which matrix_scores.h asks for them matters.
struct Matrices : Pairs {
  using Sums = Single<S>;
  static constexpr bool kMatrices = true;

  // The thread's registers, while it forms products.
  struct Session {
    Session() {
      struct {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
      } const shape;
      static_assert(sizeof shape == 64);
      asm volatile("ldtilecfg %0" : : "m"(shape));
    }
    ~Session() { asm volatile("tilerelease"); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;
  };

  template <int Register>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(Register));
  }
  // stride: floats from row to row.
  template <int Register>
  static void load(const float* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(4 * stride), "i"(Register) : "memory");
  }
  using Pairs::load;
  template <int Register>
  static void store(float* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(4 * stride), "i"(Register) : "memory");
  }
  // sum[position][lane] += keys[position][2 d] queries[d][lane].low + keys[position][2 d + 1] queries[d][lane].high
  template <int Sum, int Keys, int Queries>
  static void multiply() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sum), "i"(Keys), "i"(Queries));
  }

  // The lanes whose index has this bit.
  using Lanes = __mmask16;
  static Lanes lanes_with(__m512i index, int32_t bit) { return _mm512_test_epi32_mask(index, _mm512_set1_epi32(bit)); }
  static __m512 blend(Lanes lanes, __m512 others, __m512 those) { return _mm512_mask_mov_ps(others, lanes, those); }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
