// The kernels against the clock, and against sgemm in the same process.
//
//   cpu-bench [rounds = 7] [threads = 2] [shapes whose name contains this]
//
// Useful operations count: forward 4 and backward 10 per (query, key, channel).
// Results come from the operators' pool, as an operator's do. A round is one untimed
// call and then 20 ms of them; figures are medians over rounds.
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
#include "../pool.h"

namespace natten::cpu::test {
namespace {

// Of one call, in a block of them.
double seconds(const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  run();
  int calls = 0;
  double passed = 0;
  for (const auto start = Clock::now(); passed < 0.02; ++calls) {
    run();
    passed = std::chrono::duration<double>(Clock::now() - start).count();
  }
  return passed / calls;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

struct Shape {
  int64_t batch, heads, dim;
  Axis axis[kAxes];
};

// [batch, axes, head, dim] in a tensor [batch, tokens, heads * parts, dim], part `part`.
View view_of(const Problem& p, const at::Tensor& tensor, int64_t part, int64_t parts) {
  View view;
  const int64_t dim = tensor.size(-1), row = parts * p.heads * dim;
  view.data = static_cast<char*>(tensor.data_ptr()) + part * p.heads * dim * tensor.element_size();
  view.head = dim;
  view.axis[2] = row;
  view.axis[1] = row * p.axis[2].length;
  view.axis[0] = view.axis[1] * p.axis[1].length;
  view.batch = view.axis[0] * p.axis[0].length;
  return view;
}

struct Times {
  double forward, backward;
};

Times time_round(const Problem& p, at::ScalarType type, const at::Tensor& qkv, const at::Tensor& dout,
                 const at::Tensor& rpb) {
  const auto options = qkv.options();
  const View q = view_of(p, qkv, 0, 3), k = view_of(p, qkv, 1, 3), v = view_of(p, qkv, 2, 3);
  const View slope = view_of(p, dout, 0, 1);
  at::Tensor out, lse, dqkv, drpb;
  View out_view, lse_view;
  Times times;
  times.forward = seconds([&] {
    out = empty_result({p.batch, p.tokens(), p.heads, p.dim}, options);
    lse = empty_result({p.batch, p.tokens(), p.heads, 1}, rpb.options());
    out_view = view_of(p, out, 0, 1);
    lse_view = view_of(p, lse, 0, 1);
    na_forward(p, type, q, k, v, rpb.data_ptr(), out_view, lse_view, false);
  });
  times.backward = seconds([&] {
    const auto sizes = out.sizes();
    at::Tensor dq = empty_result(sizes, options), dk = empty_result(sizes, options), dv = empty_result(sizes, options);
    drpb = at::empty_like(rpb);
    na_backward(p, type, q, k, v, rpb.data_ptr(), out_view, lse_view, slope, view_of(p, dq, 0, 1), view_of(p, dk, 0, 1),
                view_of(p, dv, 0, 1), drpb.data_ptr(), false);
  });
  return times;
}

void run(int rounds, const char* match) {
  const auto d2 = [](int64_t n, int64_t k, int64_t d) { return Axis{n, k, d, 1, false}; };
  const Axis one;
  const Shape shapes[] = {
      {8, 2, 32, {one, d2(56, 7, 1), d2(56, 7, 1)}},
      {8, 4, 32, {one, d2(28, 7, 4), d2(28, 7, 4)}},
      {8, 8, 32, {one, d2(14, 7, 2), d2(14, 7, 2)}},
      {8, 16, 32, {one, d2(7, 7, 1), d2(7, 7, 1)}},
      {1, 4, 64, {one, d2(56, 13, 1), d2(56, 13, 1)}},
      {8, 2, 32, {one, d2(56, 7, 8), d2(56, 7, 8)}},
      {8, 4, 32, {one, d2(28, 7, 1), d2(28, 7, 1)}},
      {8, 2, 32, {one, d2(56, 3, 1), d2(56, 3, 1)}},
      {8, 2, 40, {one, d2(56, 7, 1), d2(56, 7, 1)}},
      {1, 1, 32, {one, d2(56, 7, 1), d2(56, 7, 1)}},
      {8, 4, 32, {one, one, d2(4096, 63, 1)}},
      {8, 4, 32, {one, one, d2(4096, 63, 8)}},
      {1, 4, 32, {d2(16, 3, 1), d2(28, 7, 1), d2(28, 7, 1)}},
      {1, 4, 32, {d2(16, 3, 2), d2(28, 7, 2), d2(28, 7, 2)}},
  };
  std::printf("%s, %d threads, medians of %d\n", instruction_set(), at::get_num_threads(), rounds);
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    std::printf("%s\n%-44s %9s %8s %6s %9s %8s %6s  sgemm\n", c10::toString(type), "shape", "fwd ms", "GFLOP/s",
                "share", "bwd ms", "GFLOP/s", "share");
    for (const Shape& shape : shapes) {
      std::string name =
          std::to_string(shape.batch) + "," + std::to_string(shape.heads) + " d" + std::to_string(shape.dim);
      for (const Axis& axis : shape.axis) {
        if (axis.length > 1) {
          name += " " + std::to_string(axis.length) + "k" + std::to_string(axis.kernel) + "d" +
                  std::to_string(axis.dilation);
        }
      }
      if (name.find(match) == std::string::npos) continue;
      Problem p;
      p.batch = shape.batch;
      p.heads = p.kv_heads = shape.heads;
      p.dim = p.value_dim = shape.dim;
      p.scale = 0.17;
      std::copy(shape.axis, shape.axis + kAxes, p.axis);
      const at::Tensor qkv = at::randn({p.batch, p.tokens(), 3 * p.heads, p.dim}).to(type);
      const at::Tensor dout = at::randn({p.batch, p.tokens(), p.heads, p.dim}).to(type);
      const at::Tensor rpb = at::randn({p.heads, p.bias_entries()});
      const at::Tensor a = at::randn({1024, 1024}), b = at::randn({1024, 1024});
      at::Tensor c = at::empty({1024, 1024});
      std::vector<double> forward, backward, gemm;
      for (int i = 0; i < rounds; ++i) {
        gemm.push_back(seconds([&] { at::mm_out(c, a, b); }));
        const Times times = time_round(p, type, qkv, dout, rpb);
        forward.push_back(times.forward);
        backward.push_back(times.backward);
      }
      const double pairs = 1e-9 * p.batch * p.heads * p.tokens() * p.slots() * p.dim;
      const double sgemm = 2e-9 * 1024 * 1024 * 1024 / median(gemm);
      const double f = median(forward), g = median(backward);
      std::printf("%-44s %9.3f %8.1f %5.0f%% %9.3f %8.1f %5.0f%%  %5.0f\n", name.c_str(), f * 1e3, 4 * pairs / f,
                  400 * pairs / f / sgemm, g * 1e3, 10 * pairs / g, 1000 * pairs / g / sgemm, sgemm);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace natten::cpu::test

int main(int argc, char** argv) {
  at::set_num_threads(argc > 2 ? std::atoi(argv[2]) : 2);
  natten::cpu::test::run(argc > 1 ? std::atoi(argv[1]) : 7, argc > 3 ? argv[3] : "");
  return 0;
}
