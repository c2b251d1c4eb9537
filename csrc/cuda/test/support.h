// What the tests of the CUDA programs share: dense tensors, comparison, and a count of failures.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "../../cpu/test/reference.h"

namespace natten::cuda::test {

using natten::cpu::test::Reference;

inline int failures = 0;

inline void fail(const std::string& what) {
  failures++;
  std::printf("%s\n", what.c_str());
}

inline std::string describe(const Problem& p) {
  std::string text = "b" + std::to_string(p.batch) + " h" + std::to_string(p.heads) + "/" + std::to_string(p.kv_heads) +
                     " d" + std::to_string(p.dim) + "/" + std::to_string(p.value_dim);
  for (const Axis& axis : p.axis) {
    text += " [n" + std::to_string(axis.length) + " k" + std::to_string(axis.kernel) + " d" +
            std::to_string(axis.dilation) + " s" + std::to_string(axis.stride) + (axis.causal ? " causal]" : "]");
  }
  return text;
}

// A dense [batch, head, token, dim] tensor.
template <class T>
struct Dense {
  std::vector<T> values;
  View view;
  Dense(const Problem& p, int64_t heads, int64_t dim) : values(p.batch * heads * p.tokens() * dim) {
    view.data = values.data();
    view.axis[2] = dim;
    view.axis[1] = view.axis[2] * p.axis[2].length;
    view.axis[0] = view.axis[1] * p.axis[1].length;
    view.head = view.axis[0] * p.axis[0].length;
    view.batch = view.head * heads;
  }
  void set(const std::vector<double>& from) {
    for (size_t i = 0; i < from.size(); i++) values[i] = static_cast<T>(from[i]);
  }
};

template <class T>
void expect_near(const Problem& p, unsigned seed, const char* name, const std::vector<T>& got,
                 const std::vector<double>& want, double tolerance) {
  double scale = 1e-3, worst = 0;
  for (double x : want) scale = std::max(scale, std::abs(x));
  for (size_t i = 0; i < want.size(); i++) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]) / scale;
    if (!(error <= worst)) worst = std::isnan(error) ? 1e30 : error;
  }
  if (worst > tolerance) {
    fail("seed " + std::to_string(seed) + ": " + name + " off by " + std::to_string(worst) + ": " + describe(p));
  }
}

}  // namespace natten::cuda::test
