// Window tables of a problem: what every driver asks for each token, worked out
// once per call. O(axis length) memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../problem.h"

namespace natten::cpu {

// The queries that see one key on one axis: tokens first, first + dilation, ...
struct Seers {
  int64_t first = 0;
  int64_t count = 0;
};

struct AxisTable {
  std::vector<Window> window;  // of query token i
  std::vector<Seers> seers;    // of key token i

  explicit AxisTable(const Axis& axis) : window(axis.length), seers(axis.length) {
    for (int64_t query = 0; query < axis.length; ++query) {
      window[query] = window_of(axis, query);
      // Both ends of a window move forward with the query, so the queries of a key are neighbours in its group.
      for (int64_t t = 0; t < window[query].count; ++t) {
        Seers& seen = seers[window[query].first + t * axis.dilation];
        if (seen.count++ == 0) seen.first = query;
      }
    }
  }
};

struct WindowTables {
  AxisTable axis[kAxes];
  explicit WindowTables(const Problem& p) : axis{AxisTable(p.axis[0]), AxisTable(p.axis[1]), AxisTable(p.axis[2])} {}
};

// A token's place on the three axes.
struct Token {
  int64_t at[kAxes];
};

inline Token token_at(const Problem& p, int64_t index) {
  const int64_t n2 = p.axis[2].length, n1 = p.axis[1].length;
  return {{index / (n1 * n2), index / n2 % n1, index % n2}};
}

inline int64_t offset_of(const View& view, int64_t batch, const Token& token, int64_t head) {
  return batch * view.batch + token.at[0] * view.axis[0] + token.at[1] * view.axis[1] + token.at[2] * view.axis[2] +
         head * view.head;
}

}  // namespace natten::cpu
