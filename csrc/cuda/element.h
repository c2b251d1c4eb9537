// Element types of the tile program: what their products are summed in, and float32 as tensor cores multiply it.
//
// TF32 has float32's range and ten bits of its fraction. float32 itself is multiplied as sums of two such numbers
// each: high + low has 22 bits or more, and of the four products the one of both lows is below float32's roundoff.
#pragma once

#include <cstring>
#include <type_traits>

#include "../problem.h"

namespace natten::cuda {

constexpr double kLog2OfE = 1.4426950408889634, kLogOf2 = 0.6931471805599453;

// float32 in memory whose products may be rounded to TF32.
struct Tf32 {
  float value;
  Tf32() = default;
  NATTEN_HD explicit Tf32(float x) : value(x) {}
  NATTEN_HD operator float() const { return value; }
};

template <class T>
using value_t = std::conditional_t<std::is_same_v<T, double>, double, float>;

NATTEN_HD uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
NATTEN_HD float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// The nearest number of TF32, ties away from zero.
NATTEN_HD float tf32_of(float x) { return float_of((bits_of(x) + 0x1000u) & 0xffffe000u); }

// x as the sum of two. Tensor cores leave out what of `low` is beyond TF32: 2^-23 of x at most.
struct Split {
  float high, low;
};
NATTEN_HD Split split(float x) {
  const float high = tf32_of(x);
  return {high, x - high};
}

}  // namespace natten::cuda
