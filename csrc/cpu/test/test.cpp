// Random configurations of every kernel against the definition in double.
//
//   cpu-test [configurations = 100] [seed = 1] [instruction set ...]
//
// Without a set: all that this machine has. "emulated" is a set too: the drivers of AMX on any machine, in bfloat16.
// Prints each failure with the seed that repeats it; exit status 1 when there is one.
#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../kernels.h"
#include "../table.h"
#include "emulated_table.h"
#include "reference.h"

namespace natten::cpu::test {
namespace {

using c10::ScalarType;

// A tensor in a random memory order with guard values around each row; the guards must survive.
template <class T>
struct Tensor {
  View view;
  std::vector<T> memory;
  int64_t rows[5];  // batch, axes, head
  int64_t dim = 0;
  static constexpr float kGuard = 12345.0f;

  Tensor(const Problem& p, int64_t heads, int64_t dim_, std::mt19937& random) : dim(dim_) {
    rows[0] = p.batch;
    for (int a = 0; a < kAxes; ++a) rows[1 + a] = p.axis[a].length;
    rows[4] = heads;
    int order[5] = {0, 1, 2, 3, 4};
    // Mostly the layouts of models ([B, axes, head, d] or [B, head, axes, d]), sometimes any.
    switch (random() % 4) {
      case 0:
        std::shuffle(order, order + 5, random);
        break;
      case 1:
        std::rotate(order + 1, order + 4, order + 5);
        break;
      default:
        break;
    }
    const int64_t gap = random() % 2 == 0 ? 0 : random() % 37;  // between rows, as in a qkv projection
    int64_t stride = dim + gap, strides[5];
    for (int i = 4; i >= 0; --i) {
      strides[order[i]] = stride;
      stride *= rows[order[i]];
    }
    memory.assign(stride + 1, static_cast<T>(kGuard));
    view.data = memory.data();
    view.batch = strides[0];
    for (int a = 0; a < kAxes; ++a) view.axis[a] = strides[1 + a];
    view.head = strides[4];
  }

  // The place of row `index` of the dense [batch, head, token] order.
  int64_t offset(int64_t index) const {
    const int64_t n2 = rows[3], n1 = rows[2], n0 = rows[1];
    const int64_t token = index % (n0 * n1 * n2), head = index / (n0 * n1 * n2) % rows[4];
    return index / (n0 * n1 * n2) / rows[4] * view.batch + head * view.head + token / (n1 * n2) * view.axis[0] +
           token / n2 % n1 * view.axis[1] + token % n2 * view.axis[2];
  }
  int64_t count() const { return rows[0] * rows[1] * rows[2] * rows[3] * rows[4]; }

  void set(const std::vector<double>& values) {
    for (int64_t i = 0; i < count(); ++i) {
      for (int64_t d = 0; d < dim; ++d) memory[offset(i) + d] = static_cast<T>(values[i * dim + d]);
    }
  }
  std::vector<double> get() const {
    std::vector<double> values(count() * dim);
    for (int64_t i = 0; i < count(); ++i) {
      for (int64_t d = 0; d < dim; ++d) values[i * dim + d] = static_cast<double>(memory[offset(i) + d]);
    }
    return values;
  }
  bool guards_hold() const {
    std::vector<bool> ours(memory.size(), false);
    for (int64_t i = 0; i < count(); ++i) {
      for (int64_t d = 0; d < dim; ++d) ours[offset(i) + d] = true;
    }
    for (size_t i = 0; i < memory.size(); ++i) {
      if (!ours[i] && static_cast<float>(memory[i]) != static_cast<float>(static_cast<T>(kGuard))) return false;
    }
    return true;
  }
};

std::string describe(const Problem& p, ScalarType type, bool bias) {
  std::string text = c10::toString(type);
  text += " b" + std::to_string(p.batch) + " h" + std::to_string(p.heads) + "/" + std::to_string(p.kv_heads) + " d" +
          std::to_string(p.dim) + "/" + std::to_string(p.value_dim) + (bias ? " rpb" : "");
  for (const Axis& axis : p.axis) {
    text += " [n" + std::to_string(axis.length) + " k" + std::to_string(axis.kernel) + " d" +
            std::to_string(axis.dilation) + " s" + std::to_string(axis.stride) + (axis.causal ? " causal]" : "]");
  }
  return text;
}

struct Failure {
  std::string what;
};

// The largest difference, relative to the largest magnitude of the reference, which counts as at least `floor`.
void expect_near(const char* name, const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                 double floor = 1e-30) {
  double scale = floor, worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i])) scale = std::max(scale, std::abs(want[i]));
  }
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == got[i]) continue;
    const double difference = std::abs(got[i] - want[i]) / scale;
    if (!(difference <= tolerance)) worst = std::max(worst, std::isnan(difference) ? 1e30 : difference);
  }
  if (worst > 0) {
    char text[200];
    std::snprintf(text, sizeof text, "%s off by %.3g of the largest value %.3g", name, worst, scale);
    throw Failure{text};
  }
}

template <class T>
double tolerance_of() {
  if (std::is_same_v<T, double>) return 1e-12;
  if (std::is_same_v<T, float>) return 1e-5;
  return std::is_same_v<T, c10::Half> ? 4e-3 : 3e-2;
}

// NaN where a causal query has no key: nobody may read that.
std::vector<double> without_missing(const Reference& r, std::vector<double> values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isinf(r.logits[i])) values[i] = std::numeric_limits<double>::quiet_NaN();
  }
  return values;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// A key, or a query, whose row is no number: that reaches those that see it, or that it sees, and changes nothing else.
template <class T>
class Poison {
 public:
  Poison(const Problem& p, std::mt19937& random)
      : p_(p),
        batch_(random() % p.batch),
        head_(random() % p.kv_heads),
        key_(random() % p.tokens()),
        query_(random() % p.tokens()),
        member_(random() % (p.heads / p.kv_heads)) {
    by_key_.assign(p.tokens(), false), by_query_.assign(p.tokens(), false);
    for_each_pair(p, [&](int64_t i, int64_t j, int64_t, int64_t) {
      if (j == key_) by_key_[i] = true;
      if (i == query_) by_query_[j] = true;
    });
  }
  void key(Tensor<T>& t) const { spoil(t, (batch_ * p_.kv_heads + head_) * p_.tokens() + key_); }
  void query(Tensor<T>& t) const { spoil(t, (batch_ * p_.heads + query_head()) * p_.tokens() + query_); }

  // Of queries, after a key was spoilt; of keys, after a query was.
  void expect_queries(const char* name, const std::vector<double>& before, const Tensor<T>& after) const {
    const int64_t group = p_.heads / p_.kv_heads;
    expect(name, before, after, p_.heads, [&](int64_t batch, int64_t head, int64_t token) {
      return batch == batch_ && head / group == head_ && by_key_[token];
    });
  }
  void expect_keys(const char* name, const std::vector<double>& before, const Tensor<T>& after) const {
    expect(name, before, after, p_.kv_heads, [&](int64_t batch, int64_t head, int64_t token) {
      return batch == batch_ && head == head_ && by_query_[token];
    });
  }
  void expect_other_queries(const char* name, const std::vector<double>& before, const Tensor<T>& after) const {
    expect(name, before, after, p_.heads, [&](int64_t batch, int64_t head, int64_t token) {
      return batch == batch_ && head == query_head() && token == query_;
    });
  }

 private:
  int64_t query_head() const { return head_ * (p_.heads / p_.kv_heads) + member_; }

  static void spoil(Tensor<T>& t, int64_t index) {
    const T nan = std::numeric_limits<T>::quiet_NaN();
    std::fill_n(t.memory.begin() + t.offset(index), t.dim, nan);
  }

  template <class Reached>
  void expect(const char* name, const std::vector<double>& before, const Tensor<T>& after, int64_t heads,
              const Reached& reached) const {
    const std::vector<double> values = after.get();
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / after.dim, token = row % p_.tokens();
      const int64_t head = row / p_.tokens() % heads, batch = row / p_.tokens() / heads;
      if (values[i] != before[i] && !reached(batch, head, token)) {
        throw Failure{std::string("what is not seen reaches ") + name};
      }
    }
  }

  const Problem& p_;
  const int64_t batch_, head_, key_, query_, member_;
  std::vector<bool> by_key_, by_query_;  // queries that see the key, keys that the query sees
};

// sharp: scores are so many times as large as usual.
template <class T>
void check(const Problem& p, ScalarType type, bool with_bias, bool deterministic, double sharp, std::mt19937& random) {
  using Acc = std::conditional_t<std::is_same_v<T, double>, double, float>;
  const int64_t tokens = p.tokens(), slots = p.slots();
  std::normal_distribution<double> normal;
  const auto fill = [&](int64_t count, double size = 1) {
    std::vector<double> values(count);
    for (double& value : values) value = static_cast<double>(static_cast<T>(size * normal(random)));
    return values;
  };
  Reference r;
  r.q = fill(p.batch * p.heads * tokens * p.dim, sharp);
  r.k = fill(p.batch * p.kv_heads * tokens * p.dim);
  r.v = fill(p.batch * p.kv_heads * tokens * p.value_dim);
  r.dout = fill(p.batch * p.heads * tokens * p.value_dim);
  if (with_bias) {
    r.rpb = fill(p.heads * p.bias_entries());
    for (double& value : r.rpb) value = static_cast<float>(value);
  }
  compute(p, r);
  const std::vector<Acc> bias(r.rpb.begin(), r.rpb.end());
  const void* const rpb = with_bias ? bias.data() : nullptr;
  // Scores are rounded at their size, and weights follow their differences.
  const double tolerance = tolerance_of<T>() * std::max(1.0, sharp / 10);

  Tensor<T> q(p, p.heads, p.dim, random), k(p, p.kv_heads, p.dim, random), v(p, p.kv_heads, p.value_dim, random),
      dout(p, p.heads, p.value_dim, random), out(p, p.heads, p.value_dim, random), dq(p, p.heads, p.dim, random),
      dk(p, p.kv_heads, p.dim, random), dv(p, p.kv_heads, p.value_dim, random);
  Tensor<Acc> lse(p, p.heads, 1, random);
  q.set(r.q), k.set(r.k), v.set(r.v), dout.set(r.dout);
  const std::vector<T> inputs[4] = {q.memory, k.memory, v.memory, dout.memory};
  const bool with_lse = random() % 4 != 0;
  const auto forward = [&] {
    na_forward(p, type, q.view, k.view, v.view, rpb, out.view, with_lse ? lse.view : View(), deterministic);
  };
  forward();
  if (with_lse) {
    expect_near("lse", lse.get(), r.lse, std::is_same_v<T, double> ? 1e-12 : 1e-5);
  } else {
    lse.set(r.lse);
  }
  expect_near("out", out.get(), r.out, tolerance);

  std::vector<Acc> drpb(r.drpb.size(), Acc(777));
  const auto drpb_values = [&] { return std::vector<double>(drpb.begin(), drpb.end()); };
  const auto backward = [&] {
    na_backward(p, type, q.view, k.view, v.view, rpb, out.view, lse.view, dout.view, dq.view, dk.view, dv.view,
                with_bias ? drpb.data() : nullptr, deterministic);
  };
  backward();
  // A single key has no gradient but the rounding of products of this size.
  const double floor = slots == 1 ? 4 * std::sqrt(p.value_dim) : sharp > 1 ? 1 : 1e-30;
  expect_near("dq", dq.get(), r.dq, 2 * tolerance, floor);
  expect_near("dk", dk.get(), r.dk, 2 * tolerance, floor);
  expect_near("dv", dv.get(), r.dv, 2 * tolerance);
  if (with_bias) expect_near("drpb", drpb_values(), r.drpb, 2 * tolerance, floor);

  Tensor<T> logits(p, p.heads, slots, random), weights(p, p.heads, slots, random), dweights(p, p.heads, slots, random),
      dlogits(p, p.heads, slots, random), sums(p, p.heads, p.value_dim, random);
  weights.set(without_missing(r, r.weights)), dlogits.set(without_missing(r, r.dlogits));
  const auto unfused = [&] {
    qk_forward(p, type, q.view, k.view, rpb, logits.view, deterministic);
    av_forward(p, type, weights.view, v.view, sums.view, deterministic);
  };
  unfused();

  // The same threads, the same bits; if deterministic, the same bits on other threads.
  {
    const std::vector<T> once[6] = {out.memory, dq.memory, dk.memory, dv.memory, logits.memory, sums.memory};
    const std::vector<Acc> drpb_once = drpb, lse_once = lse.memory;
    const int threads = at::get_num_threads();
    if (deterministic) at::set_num_threads(random() % 2 == 0 ? threads % 3 + 1 : 4 + random() % 40);
    forward(), backward(), unfused();
    at::set_num_threads(threads);
    const std::vector<T>* const twice[6] = {&out.memory, &dq.memory,     &dk.memory,
                                            &dv.memory,  &logits.memory, &sums.memory};
    for (int i = 0; i < 6; ++i) {
      if (!same_bits(once[i], *twice[i])) {
        throw Failure{i == 0  ? "the forward pass is not repeatable"
                      : i < 4 ? "the backward pass is not repeatable"
                              : "the unfused pair is not repeatable"};
      }
    }
    if (!same_bits(drpb_once, drpb)) throw Failure{"drpb is not repeatable"};
    if (!same_bits(lse_once, lse.memory)) throw Failure{"lse is not repeatable"};
  }

  expect_near("logits", logits.get(), r.logits, tolerance);
  expect_near("unfused out", sums.get(), r.out, tolerance);
  const std::vector<double> outputs[4] = {out.get(), dq.get(), dk.get(), dv.get()};
  if (sharp == 1) {
    qk_backward(p, type, q.view, k.view, dlogits.view, dq.view, dk.view, with_bias ? drpb.data() : nullptr,
                deterministic);
    expect_near("unfused dq", dq.get(), r.dq, 2 * tolerance);
    expect_near("unfused dk", dk.get(), r.dk, 2 * tolerance);
    if (with_bias) expect_near("unfused drpb", drpb_values(), r.drpb, 2 * tolerance);
    av_backward(p, type, weights.view, v.view, dout.view, dweights.view, dv.view, deterministic);
    expect_near("dweights", dweights.get(), r.dweights, tolerance);
    expect_near("unfused dv", dv.get(), r.dv, 2 * tolerance);
  }
  for (const Tensor<T>* t : {&out, &dq, &dk, &dv, &logits, &dweights, &sums}) {
    if (!t->guards_hold()) throw Failure{"a result wrote outside its rows"};
  }
  if (!lse.guards_hold()) throw Failure{"lse wrote outside its entries"};
  const std::vector<T>* const now[4] = {&q.memory, &k.memory, &v.memory, &dout.memory};
  for (int i = 0; i < 4; ++i) {
    if (!same_bits(inputs[i], *now[i])) throw Failure{"an input has changed"};
  }

  // A causal fast axis weighs what it lacks with zero, as dense attention does under a mask.
  if (p.batch == 0 || p.axis[2].causal) return;
  const Poison<T> poison(p, random);
  const std::vector<Acc> sums_of_weights = lse.memory;
  poison.key(v);
  forward();
  poison.expect_queries("out from v", outputs[0], out);
  poison.key(k);
  forward();
  poison.expect_queries("out from k", outputs[0], out);
  backward();
  poison.expect_queries("dq from k and v", outputs[1], dq);
  q.memory = inputs[0], k.memory = inputs[1], v.memory = inputs[2];
  out.set(outputs[0]), lse.memory = sums_of_weights;
  poison.query(dout);
  backward();
  poison.expect_other_queries("dq from dout", outputs[1], dq);
  poison.expect_keys("dk from dout", outputs[2], dk);
  poison.expect_keys("dv from dout", outputs[3], dv);
}

// Windows of several chunks, of whose last (or first) some rows of a block see nothing.
const std::vector<std::vector<int64_t>> kLongWindows = {{141},   {219},   {23, 23},    {27, 27},  {11, 23},
                                                        {9, 27}, {2, 40}, {5, 10, 10}, {5, 3, 17}};

Problem random_problem(std::mt19937& random) {
  const auto pick = [&](std::initializer_list<int64_t> values) { return *(values.begin() + random() % values.size()); };
  Problem p;
  const std::vector<int64_t>* const window =
      random() % 8 == 0 ? &kLongWindows[random() % kLongWindows.size()] : nullptr;
  p.rank = window != nullptr ? static_cast<int64_t>(window->size()) : 1 + random() % 3;
  p.batch = random() % 12 == 0 ? 0 : pick({1, 1, 1, 2, 3});
  const int64_t group = pick({1, 1, 1, 1, 2, 3});
  p.kv_heads = pick({1, 1, 2, 3});
  p.heads = p.kv_heads * group;
  p.dim = pick({1, 3, 8, 15, 16, 16, 17, 24, 32, 32, 32, 33, 40, 48, 64, 64, 72, 96, 128});
  p.value_dim = random() % 4 != 0 ? p.dim : pick({1, 5, 16, 20, 32, 48, 64, 80});
  const bool any_causal = random() % 3 == 0, any_stride = random() % 4 == 0;
  // Of long rows only a stretch is at hand (room_of in blocks.h).
  const int64_t budget = p.rank == 1 ? pick({160, 800}) : p.rank == 2 ? 40 : 14;
  for (int a = kAxes - p.rank; a < kAxes; ++a) {
    Axis& axis = p.axis[a];
    axis.dilation = random() % 2 == 0 ? 1 : 1 + random() % (p.rank == 1 ? 8 : 4);
    const int64_t most = std::max<int64_t>(1, budget / axis.dilation);
    axis.kernel = std::min(most, p.rank == 1   ? pick({1, 2, 3, 5, 7, 7, 13, 16, 17, 17, 31, 63})
                                 : p.rank == 2 ? pick({1, 2, 3, 3, 5, 7, 7, 7, 8, 9, 13, 17})
                                               : pick({1, 2, 3, 3, 3, 5, 7}));
    const int64_t shortest = axis.kernel * axis.dilation;
    axis.length = shortest + random() % std::max<int64_t>(1, budget - shortest + 1);
    if (window != nullptr) {
      axis.dilation = 1;
      axis.kernel = (*window)[a - (kAxes - p.rank)];
      axis.length = axis.kernel + 2 + random() % (p.rank == 1 ? 160 : 5);
    }
    axis.causal = any_causal && random() % 2 == 0;
    axis.stride = any_stride ? 1 + random() % axis.kernel : 1;
  }
  // The definition costs tokens squared.
  while (p.tokens() > 900) {
    Axis& axis = *std::max_element(p.axis, p.axis + kAxes, [](const Axis& a, const Axis& b) {
      return a.length - a.kernel * a.dilation < b.length - b.kernel * b.dilation;
    });
    const int64_t shortest = axis.kernel * axis.dilation;
    if (axis.length == shortest) break;
    axis.length = std::max(shortest, axis.length * 3 / 4);
  }
  if (window != nullptr && random() % 2 == 0) p.dim = p.value_dim = pick({16, 32, 64});  // whole vectors
  p.scale = random() % 4 == 0 ? 0.3 : std::pow(p.dim, -0.5);
  return p;
}

int run(int configurations, unsigned seed, const char* set) {
  const bool emulated = std::strcmp(set, "emulated") == 0;
  if (emulated) {
    use_table(emulated_table());
  } else if (!use_instruction_set(set)) {
    std::printf("%s: not on this machine\n", set);
    return 1;
  }
  int failures = 0;
  for (int i = 0; i < configurations; ++i) {
    std::mt19937 random(seed + i);
    const Problem p = random_problem(random);
    const bool bias = random() % 2 == 0, deterministic = random() % 2 == 0, sharp = random() % 8 == 0;
    const ScalarType types[] = {ScalarType::Float,    ScalarType::Float,    ScalarType::Float, ScalarType::Double,
                                ScalarType::BFloat16, ScalarType::BFloat16, ScalarType::Half};
    const ScalarType drawn = types[random() % 7], type = emulated ? ScalarType::BFloat16 : drawn;
    at::set_num_threads(1 + random() % 3);
    most_bias_bytes = random() % 4 == 0 ? 1e4 : 16e6;  // a tile's bias at a time
    least_matrix_work = random() % 4 == 0 ? 2500 : 0;
    least_memory_bytes = random() % 2 == 0 ? 0 : 10e6;
    try {
      switch (type) {
        case ScalarType::Float:
          check<float>(p, type, bias, deterministic, sharp ? 100 : 1, random);
          break;
        case ScalarType::Double:
          check<double>(p, type, bias, deterministic, sharp ? 100 : 1, random);
          break;
        case ScalarType::Half:
          check<c10::Half>(p, type, bias, deterministic, 1, random);
          break;
        default:
          check<c10::BFloat16>(p, type, bias, deterministic, 1, random);
      }
    } catch (const Failure& failure) {
      ++failures;
      std::printf("%s seed %u: %s: %s (%d threads)\n", set, seed + i, describe(p, type, bias).c_str(),
                  failure.what.c_str(), at::get_num_threads());
    }
  }
  std::printf("%s: %d configurations from seed %u, %d failures\n", set, configurations, seed, failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace natten::cpu::test

int main(int argc, char** argv) {
  const int configurations = argc > 1 ? std::atoi(argv[1]) : 100;
  const unsigned seed = argc > 2 ? std::atoi(argv[2]) : 1;
  int status = 0;
  for (int i = 3; i < argc; ++i) status |= natten::cpu::test::run(configurations, seed, argv[i]);
  for (const char* set : {"avx512_amx", "avx512_bf16", "avx512", "avx2", "neon", "scalar"}) {
    if (argc <= 3 && natten::cpu::use_instruction_set(set)) status |= natten::cpu::test::run(configurations, seed, set);
  }
  return status;
}
