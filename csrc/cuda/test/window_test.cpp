// The window program with the host primitives, in the CUDA kernels' shapes, against the definition in double.
#include "window_test.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <random>

#include "../window_host.h"
#include "support.h"

namespace natten::cuda::test {
namespace {

template <class T, int kDim, bool kBias>
void run(WindowCall& call, bool with_small_groups, int most, int widest) {
  const Problem& p = call.p;
  const auto each_block = [&](const auto& f) {
    for (int64_t head = 0; head < p.heads; head++) {
      for (int part = 0; part < call.parts; part++) {
        for (int place = 0; place < call.patching.places; place++) f(head, place, part);
      }
    }
  };
  call.patching = patching_of(p, most, widest, true);
  call.groups = groups_of(call.patching, true);
  const auto queries = [&](auto groups) {
    using Machine = WindowHost<T, kDim, decltype(groups)::value, false>;
    Machine forward(WindowPass::kForward, call);
    each_block([&](int64_t head, int place, int part) { window_forward(forward, call, head, place, part); });
    Machine dq(WindowPass::kQueryGradient, call);
    each_block([&](int64_t head, int place, int part) { window_dq<kBias>(dq, call, head, place, part); });
  };
  if (call.groups == kSmallGroups && with_small_groups) {
    queries(std::integral_constant<int, kSmallGroups>());
  } else {
    call.groups = kKeyGroups;
    queries(std::integral_constant<int, kKeyGroups>());
  }
  if (p.heads != p.kv_heads) return;
  call.patching = patching_of(p, most, widest, false);
  call.groups = groups_of(call.patching, false);
  WindowHost<T, kDim, 2, true> dkv(WindowPass::kKeyGradient, call);
  each_block([&](int64_t head, int place, int part) { window_dkv(dkv, call, head, place, part); });
}

template <class T, int kDim>
void check(const Problem& p, bool with_bias, std::mt19937& random, unsigned seed, double tolerance) {
  // Now and then scores so far apart that a few of them say nothing of the largest.
  Drawn<T, float> d(p, with_bias, random, random() % 3 == 0 ? 8 : 1);
  const natten::cpu::test::Reference& r = d.r;
  WindowCall call{};
  d.give(call);
  call.parts = 1 + static_cast<int>(random() % p.batch);
  call.stages = 1 + static_cast<int>(random() % 4);
  const int most = 1 + static_cast<int>(random() % kPatchesLimit), widest = 1 + static_cast<int>(random() % most);
  const int64_t rows = patching_of(p, most, widest, true).places * call.parts;
  std::vector<float> partial(rows * p.heads * call.entries, -7.0f);
  call.drpb = partial.data();
  const bool small = random() % 2 == 0;
  with_bias ? run<T, kDim, true>(call, small, most, widest) : run<T, kDim, false>(call, small, most, widest);
  expect_near(p, seed, "window lse", d.lse.values, r.lse, 1e-5);
  expect_near(p, seed, "window out", d.out.values, r.out, tolerance);
  expect_near(p, seed, "window dq", d.dq.values, r.dq, 2 * tolerance, d.least_slope());
  if (with_bias)
    expect_near(p, seed, "window drpb", sum_parts(partial, p.heads * call.entries), r.drpb, 2 * tolerance,
                d.least_slope());
  if (p.heads != p.kv_heads) return;
  expect_near(p, seed, "window dk", d.dk.values, r.dk, 2 * tolerance, d.least_slope());
  expect_near(p, seed, "window dv", d.dv.values, r.dv, 2 * tolerance);
}

Problem random_problem(std::mt19937& random, bool* bias) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return test::pick(random, values); };
  Problem p;
  p.rank = 2;
  p.batch = pick({1, 1, 2, 3});
  p.kv_heads = pick({1, 2});
  p.heads = p.kv_heads * pick({1, 1, 1, 2});
  p.dim = p.value_dim = pick({32, 32, 64});
  *bias = random() % 4 != 0;
  for (int a = 1; a < kAxes; a++) {
    Axis& axis = p.axis[a];
    axis.kernel = pick({7, 7, 7, 1, 2, 3, 4, 5, 6});
    axis.dilation = pick({1, 1, 1, 2, 3});
    axis.causal = !*bias && random() % 3 == 0;
    axis.length = axis.kernel * axis.dilation + static_cast<int64_t>(random() % (axis.dilation == 1 ? 26 : 14));
  }
  p.scale = 1.0 / std::sqrt(static_cast<double>(p.dim));
  return p;
}

}  // namespace

int check_windows(int configurations, unsigned seed) {
  const int before = failures;
  for (int i = 0; i < configurations; i++) {
    std::mt19937 random(seed + i);
    bool bias = false;
    const Problem p = random_problem(random, &bias);
    const auto with = [&](auto element, double tolerance) {
      using T = decltype(element);
      if (p.dim == 32) {
        check<T, 32>(p, bias, random, seed + i, tolerance);
      } else {
        check<T, 64>(p, bias, random, seed + i, tolerance);
      }
    };
    switch (i % 3) {
      case 0:
        with(0.0f, 2e-5);
        break;
      case 1:
        with(c10::Half(), 4e-3);
        break;
      default:
        with(c10::BFloat16(), 3e-2);
    }
  }
  std::printf("window program: %d configurations from seed %u, %d failures\n", configurations, seed, failures - before);
  return failures - before;
}

}  // namespace natten::cuda::test
