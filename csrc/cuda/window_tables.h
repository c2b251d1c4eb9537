// What is made once for a block, whatever the image: the bias and mask of its patches in the order of the products, and
// where their columns lie.
#pragma once

#include <type_traits>

#include "window_call.h"

namespace natten::cuda {

// What a row sees of the keys of its patch along one axis, the first key being number 0: where in the bias, in bytes,
// entries lie `apart`, and keys it does not see in `unseen`. A row that does not exist is like the last that does.
struct Sight {
  int low, count, first, apart, unseen;
  NATTEN_HD int of(int key) const {
    return static_cast<unsigned>(key - low) < static_cast<unsigned>(count) ? first + key * apart : unseen;
  }
};
NATTEN_HD int first_entry(const PatchAxis& a, int row, int first_key) { return first_key - row + a.axis.kernel - 1; }
NATTEN_HD Sight sight_of(const PatchAxis& a, int row, int first_key, int apart) {
  const int place = a.clamped(row);
  const Span seen = a.window(place);
  return {seen.first - first_key, seen.last - seen.first + 1, first_entry(a, place, first_key) * apart, apart,
          (kBiasPitch - 1) * apart};
}

// The head's bias, for make_tables.
template <class M>
NATTEN_HD void load_bias(M& m, const WindowCall& call, const Block& block, int64_t head) {
  const float* const rpb = call.rpb == nullptr ? nullptr : call.rpb + head * call.entries;
  const int down = 2 * block.y.axis.kernel - 1, across = 2 * block.x.axis.kernel - 1;
  m.each(kBiasValues, [&](int i) {
    const int y = i / kBiasPitch, x = i % kBiasPitch;
    const bool exists = y < down && x < across;
    float* const to = m.memory().bias() + i;
    if (exists && rpb != nullptr) {
      m.copy_value(to, rpb + y * across + x);
    } else {
      *to = exists ? 0.0f : M::minus_infinity();
    }
  });
}

// What is added to the scores before they are scaled: bias / scale where a query sees a key, else minus infinity; one
// table for each class of patches. Wants the bias before, and a sync after it.
template <bool kClasses, class M>
NATTEN_HD void make_tables(M& m, const WindowCall& call, const Block& block) {
  auto& memory = m.memory();
  const float inverse = M::reciprocal(static_cast<float>(call.p.scale));
  const PatchClasses ys = classes_of(block.y, call.patching.patches[0]),
                     xs = classes_of(block.x, call.patching.patches[1]);
  const auto rank = [&](int patch) {
    const PatchPlace at = place_of(call, patch);
    return ys.rank(at.y) * xs.count + xs.rank(at.x);
  };
  m.tables(rank);
  m.each_lane([&](int patch, int lane) {
    const PatchPlace at = place_of(call, patch);
    if (!ys.leads(at.y) || !xs.leads(at.x)) return;
    const Keys keys = keys_of(call, block, patch);
    const Columns columns = keys.columns();
    // What a thread of the products holds of eight columns: two of them, of two rows that are two lines apart.
    const int row = lane / 4, pair = lane % 4 * 2;
    constexpr int kEntry = sizeof(float);
    const int place_y = block.y.row(at.y, row / kPatch), place_x = block.x.row(at.x, row % kPatch);
    const Sight x = sight_of(block.x, place_x, keys.x.first, kEntry);
    const Sight y[2] = {sight_of(block.y, place_y, keys.y.first, kBiasPitch * kEntry),
                        sight_of(block.y, place_y + 2, keys.y.first, kBiasPitch * kEntry)};
    if (kClasses && lane == 0) {
      memory.classes()[rank(patch)] = {columns.down, columns.across, first_entry(block.y, place_y, keys.y.first),
                                       first_entry(block.x, place_x, keys.x.first)};
    }
    float* to = memory.tables() + rank(patch) * (M::kGroups * kGroupValues) + lane * 4;
    const auto fill = [&](auto one_line, int groups, int log, int first_x) {
      // In a group's lines, two neighbours lie in places that the next group has too.
      const int mask = (1 << log) - 1;
      const char* const bias = reinterpret_cast<const char*>(memory.bias());
      const char* const at_x[2] = {bias + x.of(first_x + (pair & mask)), bias + x.of(first_x + ((pair + 1) & mask))};
      for (int column = pair; column < groups * 8; column += 8, to += kGroupValues) {
        Quad values;
        NATTEN_UNROLL
        for (int j = 0; j < 4; j++) {
          const int line = (decltype(one_line)::value ? column : column + j % 2) >> log;
          values.at[j] = *reinterpret_cast<const float*>(at_x[j % 2] + y[j / 2].of(line)) * inverse;
        }
        *reinterpret_cast<Quad*>(to) = values;
      }
    };
    // Padding is seen by no row, and so is what the last step has more.
    const int lines = columns.line_groups();
    int all = 2 * Steps<M>::of(columns);
    if (all > M::kGroups) all = M::kGroups;
    fill(std::true_type(), columns.across > 8 ? lines : all, columns.log(), 0);
    if (columns.across > 8) fill(std::false_type(), all - lines, columns.rest_log(), 8);
  });
}

// Where the columns of each patch lie, and how many steps it takes.
template <class M>
NATTEN_HD void find_columns(M& m, const WindowCall& call, const Block& block) {
  m.columns(
      [&](int patch) {
        const Keys keys = keys_of(call, block, patch);
        return block.pane_row(keys.y.first, keys.x.first);
      },
      [&](int patch, int column) {
        // Of padding, the last key of a line.
        const Columns columns = keys_of(call, block, patch).columns();
        int ky, kx;
        columns.place(column, &ky, &kx);
        return (ky < columns.down ? ky : columns.down - 1) * block.pitch +
               (kx < columns.across ? kx : columns.across - 1);
      });
  m.steps([&](int patch) { return Steps<M>::of(keys_of(call, block, patch).columns()); });
}

}  // namespace natten::cuda
