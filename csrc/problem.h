// The shape of one neighborhood attention call, as every backend sees it.
//
// Ranks 1 and 2 are written as rank 3 with leading axes of one token, kernel 1
// and dilation 1, so a backend has one code path. The functions here hold the
// whole index mathematics; they compile for host and device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define NATTEN_HD __host__ __device__ __forceinline__
#else
#define NATTEN_HD inline
#endif

namespace natten {

constexpr int kAxes = 3;

// One spatial axis: `kernel` keys, `dilation` tokens apart, out of `length`.
// `stride` queries share the window of their leader (1: every query its own).
struct Axis {
  int64_t length = 1;
  int64_t kernel = 1;
  int64_t dilation = 1;
  int64_t stride = 1;
  bool causal = false;
};

// The keys of one query on one axis: slot t (0 <= t < count) is the token
// first + t * dilation and reads the rpb entry bias + t.
struct Window {
  int64_t first;
  int64_t count;
  int64_t bias;
};

// The tokens of one dilation group: first, first + dilation, ... `count` of them.
NATTEN_HD int64_t group_size(const Axis& axis, int64_t residue) {
  return (axis.length - 1 - residue) / axis.dilation + 1;
}

// The window of the query at place `place` in the group of `residue`, counted
// in places of that group. An even kernel looks one key further back than
// ahead. Groups of `stride` queries take the window of their middle query
// (causal: of their last one) and a causal query still sees no key after itself.
NATTEN_HD Window group_window(const Axis& axis, int64_t group, int64_t place) {
  const int64_t block = place / axis.stride * axis.stride;
  Window window;
  if (axis.causal) {
    const int64_t last = block + axis.stride - 1;
    const int64_t leader = last < group - 1 ? last : group - 1;
    window.first = leader - axis.kernel + 1 > 0 ? leader - axis.kernel + 1 : 0;
    window.count = place - window.first + 1;
    if (window.count > axis.kernel) window.count = axis.kernel;
  } else {
    const int64_t middle = block + axis.stride / 2;
    const int64_t leader = middle < group - 1 ? middle : group - 1;
    const int64_t wanted = leader - axis.kernel / 2;
    const int64_t highest = group - axis.kernel;
    window.first = wanted < 0 ? 0 : (wanted > highest ? highest : wanted);
    window.count = axis.kernel;
  }
  window.bias = window.first - place + axis.kernel - 1;
  return window;
}

// The window of token `query`, counted in tokens of the axis.
NATTEN_HD Window window_of(const Axis& axis, int64_t query) {
  const int64_t residue = query % axis.dilation;
  Window window = group_window(axis, group_size(axis, residue), query / axis.dilation);
  window.first = window.first * axis.dilation + residue;
  return window;
}

struct Problem {
  int rank = 1;
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;   // heads % kv_heads == 0; query head h reads key head h / (heads / kv_heads)
  int64_t dim = 0;        // of queries and keys
  int64_t value_dim = 0;  // of values and outputs
  Axis axis[kAxes];       // slowest first; unused leading axes have length 1
  double scale = 1.0;     // multiplies q . k, not the bias
  // Backward: a query's delta is dout . out even where that is not the weights' mean of dout . v (backend.h says why).
  bool delta_of_out = false;

  NATTEN_HD int64_t tokens() const { return axis[0].length * axis[1].length * axis[2].length; }
  NATTEN_HD int64_t slots() const { return axis[0].kernel * axis[1].kernel * axis[2].kernel; }
  // Entries of one head's relative positional bias, (2K-1) per axis.
  NATTEN_HD int64_t bias_entries() const {
    return (2 * axis[0].kernel - 1) * (2 * axis[1].kernel - 1) * (2 * axis[2].kernel - 1);
  }
};

// A tensor [batch, axis0, axis1, axis2, head, dim] in any memory order whose
// last dimension is contiguous. Strides count elements.
struct View {
  void* data = nullptr;
  int64_t batch = 0;
  int64_t axis[kAxes] = {0, 0, 0};
  int64_t head = 0;
};

}  // namespace natten
