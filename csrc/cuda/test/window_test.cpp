// The window program with the host primitives, in the CUDA kernels' shapes, against the definition in double.
#include "window_test.h"

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstring>
#include <random>

#include "../window_host.h"
#include "../window_shape.h"
#include "support.h"

namespace natten::cuda::test {
namespace {

template <class T, int kDim, bool kBias>
void run(WindowCall& call, bool with_small_groups, int most, int widest, T* without_lse) {
  const Problem& p = call.p;
  const auto each_block = [&](const auto& f) {
    for (int64_t head = 0; head < p.heads; head++) {
      for (int part = 0; part < call.parts; part++) {
        for (int place = 0; place < call.patching.places; place++) f(head, place, part);
      }
    }
  };
  call.patching = patching_of(p, most, widest, true);
  call.groups = groups_of(p, call.patching, true);
  const auto queries = [&](auto groups) {
    using Machine = WindowHost<T, kDim, decltype(groups)::value, false>;
    const auto lay = [&](WindowPass pass) { call.layout = layout_of(call, pass, sizeof(T)); };
    lay(WindowPass::kForward);
    Machine forward(call);
    const auto attend = [&] {
      each_block([&](int64_t head, int place, int part) { window_forward(forward, call, head, place, part); });
    };
    // Without a gradient nobody asks for the log-sum-exp.
    const View out = call.out, lse = call.lse;
    call.out.data = without_lse, call.lse = View();
    attend();
    call.out = out, call.lse = lse;
    attend();
    lay(WindowPass::kQueryGradient);
    Machine dq(call);
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
  call.groups = groups_of(p, call.patching, false);
  call.layout = layout_of(call, WindowPass::kKeyGradient, sizeof(T));
  WindowHost<T, kDim, 2, true> dkv(call);
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
  std::vector<T> without_lse(d.out.values.size());
  with_bias ? run<T, kDim, true>(call, small, most, widest, without_lse.data())
            : run<T, kDim, false>(call, small, most, widest, without_lse.data());
  if (std::memcmp(without_lse.data(), d.out.values.data(), without_lse.size() * sizeof(T)) != 0)
    fail("window out depends on lse: " + describe(p));
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

// What blocks, patches and their classes say of one axis, against the windows of problem.h.
void check_axis(const Axis& axis, int patches) {
  Problem p;
  p.rank = 2;
  p.axis[1] = axis;
  const auto wrong = [&](const char* what) {
    fail(std::string("window geometry: ") + what + ", " + std::to_string(patches) + " patches: " + describe(p));
  };
  const int64_t largest = group_size(axis, 0), blocks = (largest + patches * kPatch - 1) / (patches * kPatch);
  for (int64_t residue = 0; residue < axis.dilation; residue++) {
    const int64_t group = group_size(axis, residue);
    for (int64_t number = 0; number < blocks; number++) {
      const PatchAxis a = patch_axis(axis, static_cast<int>(residue), static_cast<int>(number), patches, true);
      if (a.size == 0) continue;
      const PatchClasses classes = classes_of(a, patches);
      std::vector<std::vector<int64_t>> seen(
          classes.count);  // of a class: what its first patch sees, from its first row
      for (int i = 0; i < patches; i++) {
        const Span keys = a.keys(i);
        int64_t first = group, last = -1;
        std::vector<int64_t> sight;
        for (int row = 0; row < kPatch; row++) {
          const int place = a.clamped(a.row(i, row));
          const Window w = group_window(axis, group, place);
          first = std::min(first, w.first), last = std::max(last, w.first + w.count - 1);
          const Span span = a.window(place);
          if (span.first != w.first || span.last != w.first + w.count - 1) wrong("a window");
          sight.insert(sight.end(), {w.first - keys.first, w.count, keys.first - place});
        }
        if (keys.first != first || keys.last != last) wrong("a patch's keys");
        if (keys.first < a.first || keys.last >= a.first + a.size) wrong("a block's box");
        const int rank = classes.rank(i);
        if (rank < 0 || rank >= classes.count || (seen[rank].empty() != classes.leads(i))) return wrong("a class");
        if (seen[rank].empty()) seen[rank] = sight;
        if (seen[rank] != sight) wrong("a patch of another class");
      }
    }
  }
}

// Every key of a box has a column of its own, within the groups; other columns lie outside of the box.
void check_columns(const Columns& columns) {
  int keys = 0;
  bool right = columns.groups() <= kKeyGroups;
  for (int column = 0; column < kKeyGroups * 8; column++) {
    int y, x;
    columns.place(column, &y, &x);
    if (y >= columns.down || x >= columns.across) continue;
    keys++;
    right = right && column < columns.groups() * 8 && columns.at(y, x) == column;
  }
  if (!right || keys != columns.down * columns.across) {
    fail("window columns of a box of " + std::to_string(columns.down) + "x" + std::to_string(columns.across));
  }
}

void check_geometry() {
  for (int down = 1; down <= kKeySide; down++) {
    for (int across = 1; across <= kKeySide; across++) check_columns({down, across});
  }
  Axis axis;
  for (axis.kernel = 1; axis.kernel <= kWindowLimit; axis.kernel++) {
    for (axis.dilation = 1; axis.dilation <= 3; axis.dilation++) {
      for (int causal = 0; causal < 2; causal++) {
        axis.causal = causal != 0;
        for (int more = 0; more < 34; more++) {
          axis.length = axis.kernel * axis.dilation + more;
          for (const int patches : {1, 2, 3, 7}) check_axis(axis, patches);
        }
      }
    }
  }
  for (const int64_t by : {1, 2, 3, 5, 7, 12, 100, 1023, 65537, 2000000011}) {
    for (const int64_t at :
         {int64_t{0}, by - 1, by, 7 * by - 1, (int64_t{1} << 31) / by * by - 1, (int64_t{1} << 31) - 1}) {
      if (at < int64_t{1} << 31 && Divisor(by).quotient(static_cast<int>(at)) != at / by) fail("Divisor");
    }
  }
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

// Blocks are of what their kernel is compiled for, and their patches meet no more columns than it holds.
void check_shape(const Problem& p, unsigned seed) {
  WindowCall call{};
  call.p = p;
  call.entries = static_cast<int>(p.bias_entries());
  for (const WindowPass pass : {WindowPass::kForward, WindowPass::kQueryGradient, WindowPass::kKeyGradient}) {
    window::shape(&call, pass, 227 << 10);
    const bool queries = pass != WindowPass::kKeyGradient;
    if (call.patching.warps() > window::most_warps(queries ? call.groups : 2)) {
      fail("window shape: more warps than the kernel is compiled for, seed " + std::to_string(seed) + ": " +
           describe(p));
    }
    if (call.patching.groups > call.groups) {
      fail("window shape: more columns than the kernel holds, seed " + std::to_string(seed) + ": " + describe(p));
    }
  }
}

}  // namespace

int check_windows(int configurations, unsigned seed) {
  const int before = failures;
  check_geometry();
  for (int i = 0; i < configurations; i++) {
    std::mt19937 random(seed + i);
    bool bias = false;
    const Problem p = random_problem(random, &bias);
    check_shape(p, seed + i);
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
