// What the inner loops hold at a time, by how many vector registers a set has. Eight sums at least keep two multipliers
// of four cycles busy.
#pragma once

namespace natten::cpu {
namespace NATTEN_ISA {

struct Registers16 {
  static constexpr int kAccumulators = 8;  // vectors of sums beside values and weights
  // Scores: window offsets of so many query rows.
  static constexpr int offsets(int rows) { return rows == 1 ? 8 : rows == 4 ? 3 : 4; }
  // Sums: rows that share a value, with so many vectors of channels.
  static constexpr int sum_rows(int rows, int vectors) { return rows == 4 && vectors == 4 ? 2 : rows; }
  // Gradients of keys: vectors of channels of four rows; keys that all columns see, with so many vectors of channels.
  static constexpr int kScatterVectors = 2;
  static constexpr int scatter_keys(int vectors) { return vectors == 1 ? 8 : 12 / vectors; }
};

struct Registers32 {
  static constexpr int kAccumulators = 16;
  static constexpr int offsets(int rows) { return rows == 4 ? 5 : rows == 3 ? 7 : 8; }
  static constexpr int sum_rows(int rows, int) { return rows == 1 ? 1 : 4; }
  static constexpr int kScatterVectors = 4;
  static constexpr int scatter_keys(int vectors) { return vectors == 4 ? 6 : 8; }
};

}  // namespace NATTEN_ISA
}  // namespace natten::cpu
