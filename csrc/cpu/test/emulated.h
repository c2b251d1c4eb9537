// The primitives of a machine with AVX-512 and AMX, in plain C++: sixteen lanes, pairs of bfloat16 and products of
// matrices for tests on machines that have none of them. Slow.
#pragma once

#include <c10/util/BFloat16.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "../registers.h"

namespace natten::cpu {
namespace NATTEN_ISA {

template <class E>
struct Simd;
template <class S>
struct Single;

template <>
struct Simd<float> : Registers32 {
  static constexpr int kLanes = 16;
  static constexpr int kPickedOffsets = 4;
  static constexpr bool kNearPicks = false;
  struct Vector {
    float at[kLanes];
  };
  struct Index {
    int32_t at[kLanes];
  };

  template <class Of>
  static Vector each(const Of& of) {
    Vector v;
    for (int l = 0; l < kLanes; ++l) v.at[l] = of(l);
    return v;
  }
  static Vector zero() { return set(0); }
  static Vector set(float x) {
    return each([&](int) { return x; });
  }
  static Vector load(const float* p) {
    return each([&](int l) { return p[l]; });
  }
  static void store(float* p, Vector x) { std::memcpy(p, x.at, sizeof x.at); }
  static Index load_index(const int32_t* p) {
    Index i;
    std::memcpy(i.at, p, sizeof i.at);
    return i;
  }
  static Index add(Index a, int32_t b) {
    for (int32_t& i : a.at) i += b;
    return a;
  }
  static Vector add(Vector a, Vector b) {
    return each([&](int l) { return a.at[l] + b.at[l]; });
  }
  static Vector sub(Vector a, Vector b) {
    return each([&](int l) { return a.at[l] - b.at[l]; });
  }
  static Vector mul(Vector a, Vector b) {
    return each([&](int l) { return a.at[l] * b.at[l]; });
  }
  static Vector div(Vector a, Vector b) {
    return each([&](int l) { return a.at[l] / b.at[l]; });
  }
  static Vector fma(Vector a, Vector b, Vector c) {
    return each([&](int l) { return std::fma(a.at[l], b.at[l], c.at[l]); });
  }
  static Vector max(Vector a, Vector b) {
    return each([&](int l) { return a.at[l] > b.at[l] ? a.at[l] : b.at[l]; });
  }
  static Vector pick(Vector low, Index index, Vector high) {
    return each([&](int l) {
      const int i = index.at[l] & (2 * kLanes - 1);
      return i < kLanes ? low.at[i] : high.at[i - kLanes];
    });
  }
  static Vector pinned(Vector x) { return x; }
  static Vector exp2(Vector x) {
    return each([&](int l) { return std::exp2(x.at[l]); });
  }
  static Vector log2(Vector x) {
    return each([&](int l) { return std::log2(x.at[l]); });
  }
  template <class T>
  static Vector load_as(const T* p, int n) {
    return each([&](int l) { return l < n ? static_cast<float>(p[l]) : 0.0f; });
  }
  template <class T>
  static void store_as(T* p, Vector x, int n) {
    for (int l = 0; l < n; ++l) p[l] = static_cast<T>(x.at[l]);
  }
  static void transpose(Vector (&r)[kLanes]) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < i; ++j) std::swap(r[i].at[j], r[j].at[i]);
    }
  }
};

struct Matrices {
  using S = Simd<float>;
  using Sums = Single<S>;
  static constexpr int kWidth = 2;
  static constexpr bool kMatrices = true;

  struct Register {
    uint16_t at[16][32];
  };
  // A thread's registers; they hold nothing between sessions.
  struct State {
    bool in_use = false;
    Register registers[8];
  };
  static State& state() {
    static thread_local State state;
    return state;
  }
  struct Session {
    Session() {
      state().in_use = true;
      std::memset(state().registers, 0xff, sizeof state().registers);
    }
    ~Session() { state().in_use = false; }
  };
  static Register& reg(int i) {
    if (!state().in_use) std::abort();
    return state().registers[i];
  }

  static S::Vector load(const c10::BFloat16* p, int64_t n) {
    S::Vector v = S::zero();
    std::memcpy(v.at, p, sizeof(c10::BFloat16) * (n < 32 ? n : 32));
    return v;
  }
  template <int Register>
  static void zero() {
    std::memset(reg(Register).at, 0, sizeof reg(Register).at);
  }
  template <int Register>
  static void load(const float* from, int64_t stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(reg(Register).at[r], from + r * stride, 64);
  }
  template <int Register>
  static void store(float* to, int64_t stride) {
    for (int r = 0; r < 16; ++r) std::memcpy(to + r * stride, reg(Register).at[r], 64);
  }
  template <int Sum, int Keys, int Queries>
  static void multiply() {
    float sums[16][16];
    std::memcpy(sums, reg(Sum).at, sizeof sums);
    for (int position = 0; position < 16; ++position) {
      for (int d = 0; d < 32; ++d) {
        const float key = wide(reg(Keys).at[position][d]);
        for (int l = 0; l < 16; ++l) sums[position][l] += key * wide(reg(Queries).at[d / 2][2 * l + d % 2]);
      }
    }
    std::memcpy(reg(Sum).at, sums, sizeof sums);
  }

  using Lanes = uint32_t;
  static Lanes lanes_with(S::Index index, int32_t bit) {
    Lanes lanes = 0;
    for (int l = 0; l < 16; ++l) lanes |= static_cast<Lanes>((index.at[l] & bit) != 0) << l;
    return lanes;
  }
  static S::Vector blend(Lanes lanes, S::Vector others, S::Vector those) {
    return S::each([&](int l) { return lanes >> l & 1 ? those.at[l] : others.at[l]; });
  }

 private:
  static float wide(uint16_t bits) { return c10::BFloat16(bits, c10::BFloat16::from_bits()); }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
