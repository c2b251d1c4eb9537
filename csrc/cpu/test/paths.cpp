// Every path of the kernels against the fused float32 one, in one process, interleaved.
//
//   cpu-paths [repetitions = 11] [threads = 2]
//
// First the unfused pair at the shapes of models: its time over the fused operator's. Then what leaves the shapes of
// models: head dims, strides, long kernels, causal axes, float64, large bias tables; its rate of useful operations
// (forward 4 and backward 10 per query, key and channel) under the rate of a plain problem of its size.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "../kernels.h"
#include "../table.h"

namespace natten::cpu::test {
namespace {

using at::ScalarType;

double seconds(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Rows [batch, tokens, heads, dim].
View view_of(const Problem& p, const at::Tensor& tensor) {
  View view;
  view.data = tensor.data_ptr();
  view.head = tensor.size(3);
  view.axis[2] = tensor.size(2) * view.head;
  view.axis[1] = view.axis[2] * p.axis[2].length;
  view.axis[0] = view.axis[1] * p.axis[1].length;
  view.batch = view.axis[0] * p.axis[0].length;
  return view;
}

// All that the operators read and write.
struct Data {
  Problem p;
  ScalarType type;
  at::Tensor q, k, v, dout, out, dq, dk, dv, lse, rpb, drpb, logits, weights;

  Data(const Problem& problem, ScalarType type_) : p(problem), type(type_) {
    const auto acc = type == at::kDouble ? at::kDouble : at::kFloat;
    const auto rows = [&](int64_t heads, int64_t dim) { return at::randn({p.batch, p.tokens(), heads, dim}).to(type); };
    q = rows(p.heads, p.dim), k = rows(p.kv_heads, p.dim), v = rows(p.kv_heads, p.value_dim);
    dout = rows(p.heads, p.value_dim), out = at::empty_like(dout);
    dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    lse = at::empty({p.batch, p.tokens(), p.heads, 1}, acc);
    rpb = at::randn({p.heads, p.bias_entries()}, acc), drpb = at::empty_like(rpb);
  }
  View operator()(const at::Tensor& tensor) const { return view_of(p, tensor); }

  double forward() const {
    return seconds([&] {
      na_forward(p, type, (*this)(q), (*this)(k), (*this)(v), rpb.data_ptr(), (*this)(out), (*this)(lse), false);
    });
  }
  double backward() const {
    return seconds([&] {
      na_backward(p, type, (*this)(q), (*this)(k), (*this)(v), rpb.data_ptr(), (*this)(out), (*this)(lse),
                  (*this)(dout), (*this)(dq), (*this)(dk), (*this)(dv), drpb.data_ptr(), false);
    });
  }
  void make_logits() {
    logits = at::empty({p.batch, p.tokens(), p.heads, p.slots()}, q.options());
    weights = at::rand_like(logits);
  }
  double qk() const {
    return seconds([&] { qk_forward(p, type, (*this)(q), (*this)(k), rpb.data_ptr(), (*this)(logits), false); });
  }
  double av() const {
    return seconds([&] { av_forward(p, type, (*this)(weights), (*this)(v), (*this)(out), false); });
  }
  double qk_gradient() const {
    return seconds([&] {
      qk_backward(p, type, (*this)(q), (*this)(k), (*this)(weights), (*this)(dq), (*this)(dk), drpb.data_ptr(), false);
    });
  }
  double av_gradient() const {
    return seconds([&] {
      av_backward(p, type, (*this)(weights), (*this)(v), (*this)(dout), (*this)(logits), (*this)(dv), false);
    });
  }
};

Problem problem_of(int64_t batch, int64_t heads, int64_t dim, const Axis& a0, const Axis& a1, const Axis& a2) {
  Problem p;
  p.rank = 3;
  p.batch = batch;
  p.heads = p.kv_heads = heads;
  p.dim = p.value_dim = dim;
  p.scale = 0.17;
  p.axis[0] = a0, p.axis[1] = a1, p.axis[2] = a2;
  return p;
}

const Axis kOne;

Axis axis(int64_t length, int64_t kernel, int64_t dilation = 1, int64_t stride = 1, bool causal = false) {
  return {length, kernel, dilation, stride, causal};
}

void compare_unfused(int repetitions) {
  const struct {
    const char* name;
    Problem p;
  } shapes[] = {
      {"8,2 56x56 d32 7x7", problem_of(8, 2, 32, kOne, axis(56, 7), axis(56, 7))},
      {"8,4 28x28 d32 7x7/4", problem_of(8, 4, 32, kOne, axis(28, 7, 4), axis(28, 7, 4))},
      {"8,8 14x14 d32 7x7/2", problem_of(8, 8, 32, kOne, axis(14, 7, 2), axis(14, 7, 2))},
      {"8,16 7x7 d32 7x7", problem_of(8, 16, 32, kOne, axis(7, 7), axis(7, 7))},
      {"1,4 56x56 d64 13x13", problem_of(1, 4, 64, kOne, axis(56, 13), axis(56, 13))},
      {"8,4 1024 d32 63", problem_of(8, 4, 32, kOne, kOne, axis(1024, 63))},
      {"1,4 8x28x28 d32 3x7x7", problem_of(1, 4, 32, axis(8, 3), axis(28, 7), axis(28, 7))},
  };
  std::printf("%-24s %-8s %8s %8s %8s %7s | %8s %8s %8s %7s\n", "unfused: ms", "", "fused", "qk", "av", "times",
              "backward", "qk", "av", "times");
  for (const ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto& shape : shapes) {
      Data data(shape.p, type);
      data.make_logits();
      std::vector<double> times[6];
      for (int i = 0; i < repetitions + 2; ++i) {
        const double once[6] = {data.forward(),  data.qk(),          data.av(),
                                data.backward(), data.qk_gradient(), data.av_gradient()};
        for (int j = 0; j < 6 && i >= 2; ++j) times[j].push_back(once[j]);
      }
      double ms[6];
      for (int j = 0; j < 6; ++j) ms[j] = 1e3 * median(times[j]);
      std::printf("%-24s %-8s %8.3f %8.3f %8.3f %7.2f | %8.3f %8.3f %8.3f %7.2f\n", shape.name, c10::toString(type),
                  ms[0], ms[1], ms[2], (ms[1] + ms[2]) / ms[0], ms[3], ms[4], ms[5], (ms[4] + ms[5]) / ms[3]);
      std::fflush(stdout);
    }
  }
}

void compare_general(int repetitions) {
  const Axis plain = axis(56, 7);
  const auto d = [&](int64_t dim) { return problem_of(2, 2, dim, kOne, plain, plain); };
  const struct {
    const char* name;
    Problem p;
    ScalarType type = at::kFloat;
    bool by_tile = false;
  } cases[] = {
      {"d32", d(32)},
      {"d64", d(64)},
      {"d17", d(17)},
      {"d40", d(40)},
      {"d80", d(80)},
      {"d160", d(160)},
      {"d256", d(256)},
      {"d32 stride 2", problem_of(2, 2, 32, kOne, axis(56, 7, 1, 2), axis(56, 7, 1, 2))},
      {"d32 stride 7", problem_of(2, 2, 32, kOne, axis(56, 7, 1, 7), axis(56, 7, 1, 7))},
      {"d32 causal", problem_of(2, 2, 32, kOne, axis(56, 7, 1, 1, true), axis(56, 7, 1, 1, true))},
      {"d32 8x8", problem_of(2, 2, 32, kOne, axis(56, 8), axis(56, 8))},
      {"d32 31x31", problem_of(1, 2, 32, kOne, axis(56, 31), axis(56, 31))},
      {"d32 55x55", problem_of(1, 1, 32, kOne, axis(56, 55), axis(56, 55))},
      {"d32 3x3", problem_of(2, 2, 32, kOne, axis(56, 3), axis(56, 3))},
      {"d32 13x13x13", problem_of(1, 2, 32, axis(16, 13), axis(16, 13), axis(16, 13))},
      {"d32, bias by tile", d(32), at::kFloat, true},
      {"d32 2048 k1023", problem_of(1, 2, 32, kOne, kOne, axis(2048, 1023))},
      {"double d32", d(32), at::kDouble},
      {"double d64", d(64), at::kDouble},
      {"double d17", d(17), at::kDouble},
      {"double d32 13x13", problem_of(2, 2, 32, kOne, axis(56, 13), axis(56, 13)), at::kDouble},
      {"double 1024 k63", problem_of(2, 2, 32, kOne, kOne, axis(1024, 63)), at::kDouble},
  };
  const Data plain_data(d(32), at::kFloat);
  std::printf("%-24s %8s %8s %8s | %8s %8s %8s\n", "general: ms", "forward", "GFLOP/s", "slower", "backward", "GFLOP/s",
              "slower");
  for (const auto& c : cases) {
    const Data data(c.p, c.type);
    std::vector<double> times[4];
    for (int i = 0; i < repetitions + 1; ++i) {
      const double limit = most_bias_bytes;
      if (c.by_tile) most_bias_bytes = 0;
      const double forward = data.forward(), backward = data.backward();
      most_bias_bytes = limit;
      const double once[4] = {forward, backward, plain_data.forward(), plain_data.backward()};
      for (int j = 0; j < 4 && i >= 1; ++j) times[j].push_back(once[j]);
    }
    const auto pairs = [](const Problem& p) { return 1e-9 * p.batch * p.heads * p.tokens() * p.slots() * p.dim; };
    const double forward = 4 * pairs(data.p) / median(times[0]), backward = 10 * pairs(data.p) / median(times[1]);
    const double plain_forward = 4 * pairs(plain_data.p) / median(times[2]);
    const double plain_backward = 10 * pairs(plain_data.p) / median(times[3]);
    std::printf("%-24s %8.3f %8.1f %8.2f | %8.3f %8.1f %8.2f\n", c.name, 1e3 * median(times[0]), forward,
                plain_forward / forward, 1e3 * median(times[1]), backward, plain_backward / backward);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace natten::cpu::test

int main(int argc, char** argv) {
  at::set_num_threads(argc > 2 ? std::atoi(argv[2]) : 2);
  const int repetitions = argc > 1 ? std::atoi(argv[1]) : 11;
  std::printf("%s, %d threads, medians of %d\n", natten::cpu::instruction_set(), at::get_num_threads(), repetitions);
  natten::cpu::test::compare_unfused(repetitions);
  natten::cpu::test::compare_general(std::max(3, repetitions / 4));
  return 0;
}
