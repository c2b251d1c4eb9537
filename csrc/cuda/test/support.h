// What the tests of the CUDA programs share: problems with tensors drawn for them, comparison, a count of failures.
#pragma once

#include <algorithm>
#include <cstdio>
#include <initializer_list>
#include <random>
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

// Within `tolerance` of the largest number wanted. Where all are nearly zero (with one key there is nothing to learn
// for the queries) they are differences of numbers that are not.
template <class T>
void expect_near(const Problem& p, unsigned seed, const char* name, const std::vector<T>& got,
                 const std::vector<double>& want, double tolerance, double least = 1e-3) {
  double scale = least, worst = 0;
  for (double x : want) scale = std::max(scale, std::abs(x));
  for (size_t i = 0; i < want.size(); i++) {
    const double error = std::abs(static_cast<double>(got[i]) - want[i]) / scale;
    if (!(error <= worst)) worst = std::isnan(error) ? 1e30 : error;
  }
  if (worst > tolerance) {
    fail("seed " + std::to_string(seed) + ": " + name + " off by " + std::to_string(worst) + ": " + describe(p));
  }
}

inline int64_t pick(std::mt19937& random, std::initializer_list<int64_t> values) {
  return *(values.begin() + random() % values.size());
}

// A problem's tensors: inputs drawn, outputs empty, and what the definition makes of them. T is their element, V what
// it is summed in; bias and statistics are V. Queries are `spread` times as large as the rest.
template <class T, class V>
struct Drawn {
  const Problem p;
  const bool with_bias;
  Reference r;
  Dense<T> q, k, v, out, dout, dq, dk, dv;
  Dense<V> lse, mean;
  std::vector<V> rpb;

  Drawn(const Problem& problem, bool bias, std::mt19937& random, double spread = 1)
      : p(problem),
        with_bias(bias),
        q(p, p.heads, p.dim),
        k(p, p.kv_heads, p.dim),
        v(p, p.kv_heads, p.value_dim),
        out(p, p.heads, p.value_dim),
        dout(p, p.heads, p.value_dim),
        dq(p, p.heads, p.dim),
        dk(p, p.kv_heads, p.dim),
        dv(p, p.kv_heads, p.value_dim),
        lse(p, p.heads, 1),
        mean(p, p.heads, 1) {
    std::normal_distribution<double> normal;
    const auto draw = [&](std::vector<double>& to, size_t count, double factor) {
      to.resize(count);
      for (double& x : to) x = static_cast<double>(static_cast<T>(factor * normal(random)));
    };
    draw(r.q, q.values.size(), spread);
    draw(r.k, k.values.size(), 1);
    draw(r.v, v.values.size(), 1);
    draw(r.dout, dout.values.size(), 1);
    if (with_bias) draw(r.rpb, p.heads * p.bias_entries(), 1);
    compute(p, r);
    q.set(r.q), k.set(r.k), v.set(r.v), dout.set(r.dout);
    rpb.assign(r.rpb.begin(), r.rpb.end());
  }
  Drawn(const Drawn&) = delete;

  // `least` for gradients that come from the scores'. In windows of one key those are differences of equal numbers:
  // zero but for what rounding leaves of each query's.
  double least_slope() const { return p.slots() == 1 ? static_cast<double>(p.batch * p.tokens()) : 1e-3; }

  // The tensors, as a call has them.
  template <class Call>
  void give(Call& call) {
    call.p = p;
    call.q = q.view, call.k = k.view, call.v = v.view, call.out = out.view, call.lse = lse.view;
    call.dout = dout.view, call.dq = dq.view, call.dk = dk.view, call.dv = dv.view, call.mean = mean.view;
    call.rpb = with_bias ? rpb.data() : nullptr;
    call.entries = static_cast<int>(p.bias_entries());
  }
};

// Workers' sums of the bias gradient, `count` numbers each, as one.
template <class V>
std::vector<double> sum_parts(const std::vector<V>& partial, size_t count) {
  std::vector<double> sums(count);
  for (size_t i = 0; i < partial.size(); i++) sums[i % count] += partial[i];
  return sums;
}

}  // namespace natten::cuda::test
