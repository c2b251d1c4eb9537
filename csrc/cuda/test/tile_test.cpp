// The tile program (and by window_test.cpp the window program) with the host primitives, in the CUDA tile shapes,
// against the definition in double; and the index mathematics where numbers exceed 31 bits. Needs neither nvcc nor a
// GPU.
//
//   tile-test [configurations = 60] [seed = 1]
//
// Prints each failure with the seed that repeats it; exit status 1 when there is one.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>

#include "../tile_host.h"
#include "support.h"
#include "window_test.h"

namespace natten::cuda::test {
namespace {

template <class T, int kDim, Pass kPass>
using Machine = HostMachine<T, kDim, columns_of(kPass, kDim, sizeof(T))>;

// Runs f(machine, head, worker) as the blocks of a launch would.
template <class T, int kDim, Pass kPass, class F>
void launch(const TileCall& call, bool bias, bool bias_gradient, const F& f) {
  Machine<T, kDim, kPass> machine(kPass, bias || bias_gradient ? call.entries : 0, bias_gradient);
  for (int64_t head = 0; head < (rows_are_keys(kPass) ? call.p.kv_heads : call.p.heads); head++) {
    for (int64_t worker = 0; worker < call.parts; worker++) f(machine, head, worker);
  }
}

// The unfused operators, from the reference's own weights and gradients of logits.
template <class T, int kDim>
void check_pair(const Problem& problem, const Reference& r, unsigned seed, int64_t parts, double tolerance) {
  using V = value_t<T>;
  Problem p = problem;
  const int64_t slots = p.slots(), group = p.heads / p.kv_heads, tokens = p.tokens();
  Dense<T> logits(p, p.heads, slots), weights(p, p.heads, slots), slopes(p, p.heads, slots), changes(p, p.heads, slots);
  Dense<T> q(p, p.heads, p.dim), k(p, p.kv_heads, p.dim), dq(p, p.heads, p.dim), dk(p, p.kv_heads, p.dim);
  Dense<T> v(p, p.kv_heads, p.value_dim), out(p, p.heads, p.value_dim), dout(p, p.heads, p.value_dim),
      dv(p, p.kv_heads, p.value_dim);
  q.set(r.q), k.set(r.k), v.set(r.v), dout.set(r.dout), weights.set(r.weights), slopes.set(r.dlogits);
  const std::vector<V> rpb(r.rpb.begin(), r.rpb.end());
  TileCall call{};
  call.tiling = tiling_of(p);
  call.entries = static_cast<int>(p.bias_entries());
  call.parts = parts;
  call.p = p;
  call.p.value_dim = p.dim;
  call.q = q.view, call.k = k.view, call.weights = logits.view, call.empty = -std::numeric_limits<double>::infinity();
  call.rpb = rpb.empty() ? nullptr : rpb.data();
  launch<T, kDim, Pass::kDots>(call, !rpb.empty(), false,
                               [&](auto& m, int64_t head, int64_t w) { dots_program(m, call, head, w); });
  std::vector<double> got, want;
  for (size_t i = 0; i < r.logits.size(); i++) {
    const double x = static_cast<double>(logits.values[i]);
    if (std::isinf(r.logits[i])) {
      if (x != r.logits[i]) return fail("seed " + std::to_string(seed) + ": an empty slot: " + describe(p));
      continue;
    }
    got.push_back(x), want.push_back(r.logits[i]);
  }
  expect_near(p, seed, "logits", got, want, tolerance);

  std::vector<V> partial(rpb.empty() ? 0 : parts * p.heads * call.entries, V(-7));
  call.weights = slopes.view, call.out = dq.view, call.rpb = nullptr;
  call.drpb = rpb.empty() ? nullptr : partial.data();
  launch<T, kDim, Pass::kGatherKeys>(call, false, !rpb.empty(),
                                     [&](auto& m, int64_t head, int64_t w) { gather_keys_program(m, call, head, w); });
  expect_near(p, seed, "unfused dq", dq.values, r.dq, 2 * tolerance);
  if (!rpb.empty()) {
    expect_near(p, seed, "unfused drpb", sum_parts(partial, p.heads * call.entries), r.drpb, 2 * tolerance);
  }
  call.drpb = nullptr, call.out = dk.view;
  const auto gather_queries = [&](auto& m, int64_t head, int64_t w) { gather_queries_program(m, call, head, w); };
  launch<T, kDim, Pass::kGatherQueries>(call, false, false, gather_queries);
  expect_near(p, seed, "unfused dk", dk.values, r.dk, 2 * tolerance);

  call.p.dim = call.p.value_dim = p.value_dim;
  call.p.scale = 1.0;
  call.k = v.view, call.weights = weights.view, call.out = out.view;
  launch<T, kDim, Pass::kGatherKeys>(call, false, false,
                                     [&](auto& m, int64_t head, int64_t w) { gather_keys_program(m, call, head, w); });
  expect_near(p, seed, "unfused out", out.values, r.out, tolerance);
  call.q = dout.view, call.out = dv.view;
  launch<T, kDim, Pass::kGatherQueries>(call, false, false, gather_queries);
  expect_near(p, seed, "unfused dv", dv.values, r.dv, 2 * tolerance);
  call.weights = changes.view, call.empty = 0.0;
  launch<T, kDim, Pass::kDots>(call, false, false,
                               [&](auto& m, int64_t head, int64_t w) { dots_program(m, call, head, w); });
  std::vector<double> dweights(r.weights.size(), 0.0);
  for (int64_t b = 0; b < p.batch * p.heads; b++) {
    const int64_t queries = b * tokens, keys = (b / p.heads * p.kv_heads + b % p.heads / group) * tokens;
    natten::cpu::test::for_each_pair(p, [&](int64_t i, int64_t j, int64_t slot, int64_t) {
      double sum = 0;
      for (int64_t d = 0; d < p.value_dim; d++) {
        sum += r.dout[(queries + i) * p.value_dim + d] * r.v[(keys + j) * p.value_dim + d];
      }
      dweights[(queries + i) * slots + slot] = sum;
    });
  }
  expect_near(p, seed, "unfused dweights", changes.values, dweights, tolerance);
}

template <class T, int kDim>
void check(const Problem& p, bool with_bias, unsigned seed, double tolerance) {
  using V = value_t<T>;
  std::mt19937 random(seed);
  Drawn<T, V> d(p, with_bias, random);
  const Reference& r = d.r;
  TileCall call{};
  d.give(call);
  call.tiling = tiling_of(p);
  call.parts = 1 + random() % call.tiling.items;
  std::vector<V> partial(call.parts * p.heads * call.entries, V(-7));

  launch<T, kDim, Pass::kForward>(call, with_bias, false,
                                  [&](auto& m, int64_t head, int64_t w) { forward_program(m, call, head, w); });
  call.drpb = with_bias ? partial.data() : nullptr;
  launch<T, kDim, Pass::kQueryGradient>(call, with_bias, with_bias,
                                        [&](auto& m, int64_t head, int64_t w) { dq_program(m, call, head, w); });
  launch<T, kDim, Pass::kKeyGradient>(call, with_bias, false,
                                      [&](auto& m, int64_t head, int64_t w) { dkv_program(m, call, head, w); });
  expect_near(p, seed, "lse", d.lse.values, r.lse, std::min(tolerance, std::is_same_v<T, Tf32> ? 2e-3 : 1e-5));
  expect_near(p, seed, "out", d.out.values, r.out, tolerance);
  expect_near(p, seed, "dq", d.dq.values, r.dq, 2 * tolerance, d.least_slope());
  expect_near(p, seed, "dk", d.dk.values, r.dk, 2 * tolerance, d.least_slope());
  expect_near(p, seed, "dv", d.dv.values, r.dv, 2 * tolerance);
  if (with_bias)
    expect_near(p, seed, "drpb", sum_parts(partial, p.heads * call.entries), r.drpb, 2 * tolerance, d.least_slope());
  check_pair<T, kDim>(p, r, seed, call.parts, tolerance);
}

Problem random_problem(std::mt19937& random, bool* bias) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return test::pick(random, values); };
  Problem p;
  p.rank = 1 + random() % 3;
  p.batch = pick({1, 1, 2});
  p.kv_heads = pick({1, 2});
  p.heads = p.kv_heads * pick({1, 1, 2});
  p.dim = pick({8, 16, 32, 32, 40});
  p.value_dim = random() % 3 == 0 ? pick({8, 24, 48}) : p.dim;
  *bias = random() % 2 == 0;
  for (int a = kAxes - p.rank; a < kAxes; a++) {
    Axis& axis = p.axis[a];
    axis.kernel = p.rank == 1   ? pick({1, 2, 7, 13, 33, 70})
                  : p.rank == 2 ? pick({1, 2, 3, 7, 7, 8})
                                : pick({1, 2, 3, 4});
    axis.dilation = pick({1, 1, 1, 2, 3});
    axis.stride = random() % 3 == 0 ? 1 + random() % axis.kernel : 1;
    axis.causal = !*bias && random() % 3 == 0;
    axis.length = axis.kernel * axis.dilation + random() % (p.rank == 1 ? 90 : p.rank == 2 ? 12 : 4);
  }
  while (p.tokens() > 500) {
    Axis& axis = p.axis[random() % kAxes];
    axis.length = std::max(axis.kernel * axis.dilation, axis.length * 3 / 4);
    if (axis.kernel > 3 && random() % 2 == 0) axis.kernel--, axis.stride = 1;
  }
  p.scale = 1.0 / std::sqrt(static_cast<double>(p.dim));
  return p;
}

// Tensors whose batches lie 2^32 elements apart, in memory that is only promised: the addresses of the tile program.
void check_far_apart() {
  Problem p;
  p.rank = 1;
  p.batch = 3;
  p.heads = p.kv_heads = 1;
  p.dim = p.value_dim = 32;
  p.axis[2] = {96, 5, 1, 1, false};
  p.scale = 0.2;
  const int64_t apart = int64_t{1} << 32;
  const size_t bytes = sizeof(c10::Half) * (apart * 2 + 96 * 32);
  std::vector<c10::Half*> memory;
  for (int i = 0; i < 4; i++) {
    void* const at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
      std::printf("far apart: not run, the system promises no 17 GB\n");
      return;
    }
    memory.push_back(static_cast<c10::Half*>(at));
  }
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int i = 0; i < 3; i++) {
    for (int64_t b = 0; b < 3; b++) {
      for (int j = 0; j < 96 * 32; j++) memory[i][b * apart + j] = normal(random);
    }
  }
  TileCall call{};
  call.p = p;
  call.tiling = tiling_of(p);
  View* const views[] = {&call.q, &call.k, &call.v, &call.out};
  for (int i = 0; i < 4; i++) {
    views[i]->data = memory[i];
    views[i]->batch = apart;
    views[i]->axis[2] = 32;
  }
  call.parts = 1;
  HostMachine<c10::Half, 32, 64> machine(Pass::kForward, 0, false);
  forward_program(machine, call, 0, 0);
  for (int64_t b = 0; b < 3; b++) {
    for (int i = 0; i < 96; i++) {
      double weights[5], total = 0, error = 0;
      const int first = std::clamp(i - 2, 0, 91);
      for (int t = 0; t < 5; t++) {
        double logit = 0;
        for (int d = 0; d < 32; d++) {
          logit += static_cast<double>(memory[0][b * apart + i * 32 + d]) * memory[1][b * apart + (first + t) * 32 + d];
        }
        total += weights[t] = std::exp(0.2 * logit);
      }
      for (int d = 0; d < 32; d++) {
        double want = 0;
        for (int t = 0; t < 5; t++) want += weights[t] / total * memory[2][b * apart + (first + t) * 32 + d];
        error = std::max(error, std::abs(want - memory[3][b * apart + i * 32 + d]));
      }
      if (!(error < 5e-3)) fail("far apart: batch " + std::to_string(b) + " query " + std::to_string(i) + " off");
    }
  }
  for (c10::Half* at : memory) munmap(at, bytes);
}

// index.h at sizes beyond 31 bits: numbers of tokens and rows there and back, the audience against the windows.
void check_index() {
  Problem p;
  p.rank = 3;
  p.batch = 7;
  p.heads = p.kv_heads = 3;
  p.axis[0] = {3000, 7, 3, 1, false};
  p.axis[1] = {2000, 13, 7, 5, false};
  p.axis[2] = {5'000'000'011, 33, 1'000'003, 4, true};
  View view;
  view.axis[2] = 3 * 32;
  view.axis[1] = view.axis[2] * p.axis[2].length;
  view.axis[0] = view.axis[1] * p.axis[1].length;
  std::mt19937_64 random(9);
  for (int i = 0; i < 20000; i++) {
    const int64_t number = static_cast<int64_t>(random() % static_cast<uint64_t>(p.tokens()));
    const Token key = token_at(p, number);
    if (row_of(view, 0, key, 0) != number * 96) return fail("index: token " + std::to_string(number) + " is misplaced");
    const Audience audience = audience_of(p, key);
    for (int a = 0; a < kAxes; a++) {
      const Axis& axis = p.axis[a];
      const auto sees = [&](int64_t query) {
        if (query < 0 || query >= axis.length) return false;
        const Window w = window_of(axis, query);
        return w.first <= key.at[a] && key.at[a] <= w.first + (w.count - 1) * axis.dilation;
      };
      const int64_t first = audience.first.at[a], last = first + (audience.count[a] - 1) * axis.dilation;
      const bool right = audience.count[a] == 0 || (sees(first) && sees(last));
      if (!right || sees(first - axis.dilation) || sees(last + axis.dilation)) {
        return fail("index: the queries of key " + std::to_string(key.at[a]) + " on axis " + std::to_string(a));
      }
    }
  }
}

// Box::coordinates divides by way of floats: every number of boxes of many shapes.
void check_box() {
  for (const auto& size : {std::array<int, 3>{1, 1, 1 << 20},
                           {1, 1023, 1025},
                           {101, 101, 101},
                           {7, 3, 333},
                           {1, 87, 87},
                           {64, 128, 128},
                           {1000, 1000, 1},
                           {3, 349525, 1}}) {
    const Span spans[kAxes] = {{0, size[0] - 1}, {0, size[1] - 1}, {0, size[2] - 1}};
    const Box box = box_of(spans);
    for (int i = 0; i < box.count(); i++) {
      int at[kAxes];
      box.coordinates(i, at);
      const bool right = at[2] == i % size[2] && at[1] == i / size[2] % size[1] && at[0] == i / size[2] / size[1];
      if (!right) return fail("box: number " + std::to_string(i) + " of " + std::to_string(box.count()));
    }
  }
}

}  // namespace
}  // namespace natten::cuda::test

int main(int argc, char** argv) {
  using namespace natten::cuda::test;
  const int configurations = argc > 1 ? std::atoi(argv[1]) : 60;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  check_box();
  check_index();
  check_far_apart();
  for (int i = 0; i < configurations; i++) {
    std::mt19937 random(seed + i);
    bool bias = false;
    const natten::Problem p = random_problem(random, &bias);
    const bool wide = std::max(p.dim, p.value_dim) > 32;
    switch (i % 5) {
      case 0:
        wide ? check<float, 64>(p, bias, seed + i, 2e-6) : check<float, 32>(p, bias, seed + i, 2e-6);
        break;
      case 1:
        wide ? check<c10::Half, 128>(p, bias, seed + i, 4e-3) : check<c10::Half, 32>(p, bias, seed + i, 4e-3);
        break;
      case 2:
        wide ? check<double, 64>(p, bias, seed + i, 1e-13) : check<double, 32>(p, bias, seed + i, 1e-13);
        break;
      case 3:
        wide ? check<natten::cuda::Tf32, 128>(p, bias, seed + i, 4e-3)
             : check<natten::cuda::Tf32, 32>(p, bias, seed + i, 4e-3);
        break;
      default:
        wide ? check<c10::BFloat16, 64>(p, bias, seed + i, 3e-2) : check<c10::BFloat16, 32>(p, bias, seed + i, 3e-2);
    }
  }
  std::printf("tile program: %d configurations from seed %u, %d failures\n", configurations, seed, failures);
  check_windows(configurations, seed);
  return failures == 0 ? 0 : 1;
}
