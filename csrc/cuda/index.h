// Index mathematics of the CUDA kernels beyond problem.h: tokens from numbers,
// rows of views, and the inverse of a window. Host and device alike; 64 bits
// throughout. check_index in test/tile_test.cpp runs it at sizes that no memory holds.
#pragma once

#include "../problem.h"

namespace natten::cuda {

struct Token {
  int64_t at[kAxes];
};

NATTEN_HD Token token_at(const Problem& p, int64_t number) {
  Token token;
  token.at[2] = number % p.axis[2].length;
  number /= p.axis[2].length;
  token.at[1] = number % p.axis[1].length;
  token.at[0] = number / p.axis[1].length;
  return token;
}

// Where the row of (batch, token, head) starts, in elements.
NATTEN_HD int64_t row_of(const View& view, int64_t batch, const Token& token, int64_t head) {
  return batch * view.batch + token.at[0] * view.axis[0] + token.at[1] * view.axis[1] + token.at[2] * view.axis[2] +
         head * view.head;
}

// Places of a dilation group, both ends included; empty when last < first.
struct Range {
  int64_t first;
  int64_t last;
  NATTEN_HD int64_t count() const { return last < first ? 0 : last - first + 1; }
};

NATTEN_HD Range keys_of(const Axis& axis, int64_t group, int64_t place) {
  const Window window = group_window(axis, group, place);
  return {window.first, window.first + window.count - 1};
}

// Queries whose windows hold any of the places `keys`. Both ends of a window
// never move back as the query moves on, so these are one range, and each end
// is found by bisection.
NATTEN_HD Range queries_of(const Axis& axis, int64_t group, const Range& keys) {
  int64_t low = 0, high = group;  // the first query whose window ends at keys.first or later
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (keys_of(axis, group, middle).last >= keys.first) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const int64_t first = low;
  high = group;  // the first query whose window starts behind keys.last
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (keys_of(axis, group, middle).first > keys.last) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return {first, low - 1};
}

// The window of a token on every axis, in tokens.
struct Neighborhood {
  Window axis[kAxes];
};

NATTEN_HD Neighborhood neighborhood_of(const Problem& p, const Token& query) {
  Neighborhood n;
  for (int a = 0; a < kAxes; a++) n.axis[a] = window_of(p.axis[a], query.at[a]);
  return n;
}

// The queries that see one key: on each axis every dilation-th token of a range.
struct Audience {
  Token first;
  int64_t count[kAxes];
};

NATTEN_HD Audience audience_of(const Problem& p, const Token& key) {
  Audience audience;
  for (int a = 0; a < kAxes; a++) {
    const Axis& axis = p.axis[a];
    const int64_t residue = key.at[a] % axis.dilation, place = key.at[a] / axis.dilation;
    const Range queries = queries_of(axis, group_size(axis, residue), {place, place});
    audience.first.at[a] = queries.first * axis.dilation + residue;
    audience.count[a] = queries.count();
  }
  return audience;
}

// The slot in a query's window that holds `key`, and the bias entry it reads.
struct Slot {
  int64_t slot;
  int64_t bias;
};

NATTEN_HD Slot slot_of(const Problem& p, const Token& query, const Token& key) {
  Slot s{0, 0};
  for (int a = 0; a < kAxes; a++) {
    const Axis& axis = p.axis[a];
    const Window window = window_of(axis, query.at[a]);
    const int64_t t = (key.at[a] - window.first) / axis.dilation;
    s.slot = s.slot * axis.kernel + t;
    s.bias = s.bias * (2 * axis.kernel - 1) + window.bias + t;
  }
  return s;
}

}  // namespace natten::cuda
