// The kernels against reference files: operator inputs and results in
// safetensors, laid out heads first (q, k, v, dout, rpb, logits, out, dq, ...).
//
//   cpu-golden <folder> [instruction set ...]
//
// Prints each result that is off by more than 1e-5 of its largest value (1e-12 for float64 files).
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>
#include <vector>

#include "../kernels.h"
#include "../table.h"

namespace natten::cpu::test {
namespace {

struct File {
  std::string header;
  std::vector<char> data;

  explicit File(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    uint64_t size = 0;
    in.read(reinterpret_cast<char*>(&size), sizeof size);
    header.resize(size);
    in.read(header.data(), static_cast<std::streamsize>(size));
    data.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::string meta(const std::string& name) const {
    std::smatch match;
    std::regex_search(header, match, std::regex("\"" + name + "\":\"([^\"]*)\""));
    return match[1];
  }
  std::vector<std::string> list(const std::string& name) const {
    const std::string text = meta(name);
    const std::regex word("[a-z0-9]+");
    std::vector<std::string> words;
    for (std::sregex_iterator i(text.begin(), text.end(), word), end; i != end; ++i) words.push_back(i->str());
    return words;
  }
  // A tensor's bytes; null when there is none of that name.
  char* tensor(const std::string& name, int64_t* bytes) {
    std::smatch match;
    const std::regex entry("\"" + name +
                           "\":\\{\"dtype\":\"F[0-9]+\",\"shape\":\\[[0-9,]*\\],"
                           "\"data_offsets\":\\[([0-9]+),([0-9]+)\\]");
    if (!std::regex_search(header, match, entry)) return nullptr;
    *bytes = std::stoll(match[2]) - std::stoll(match[1]);
    return data.data() + std::stoll(match[1]);
  }
};

View heads_first(const Problem& p, void* data, int64_t dim) {
  View view;
  view.data = data;
  view.axis[2] = dim;
  view.axis[1] = dim * p.axis[2].length;
  view.axis[0] = view.axis[1] * p.axis[1].length;
  view.head = dim * p.tokens();
  view.batch = view.head * p.heads;
  return view;
}

template <class E>
int compare(const std::string& path, File& file, const std::string& name, const std::vector<E>& got) {
  int64_t bytes = 0;
  const E* const want = reinterpret_cast<const E*>(file.tensor(name, &bytes));
  if (want == nullptr) return 0;
  if (bytes != static_cast<int64_t>(got.size() * sizeof(E))) {
    std::printf("%s %s: %s has another size\n", instruction_set(), path.c_str(), name.c_str());
    return 1;
  }
  double largest = 0, worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == want[i]) continue;
    if (std::isfinite(want[i])) largest = std::max<double>(largest, std::abs(want[i]));
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]);
    worst = std::isnan(difference) ? HUGE_VAL : std::max(worst, difference);
  }
  if (worst <= largest * (sizeof(E) == 8 ? 1e-12 : 1e-5)) return 0;
  std::printf("%s %s: %s off by %.3g of %.3g\n", instruction_set(), path.c_str(), name.c_str(), worst, largest);
  return 1;
}

template <class E>
int run(const std::string& path, File& file, c10::ScalarType type) {
  Problem p;
  p.rank = std::stoi(file.meta("rank"));
  p.batch = std::stoll(file.meta("batch"));
  p.heads = p.kv_heads = std::stoll(file.meta("heads"));
  p.dim = p.value_dim = std::stoll(file.meta("head_dim"));
  p.scale = std::stod(file.meta("scale"));
  const auto length = file.list("shape"), kernel = file.list("kernel_size"), dilation = file.list("dilation"),
             causal = file.list("is_causal");
  for (int i = 0; i < p.rank; ++i) {
    Axis& axis = p.axis[kAxes - p.rank + i];
    axis.length = std::stoll(length[i]);
    axis.kernel = std::stoll(kernel[i]);
    axis.dilation = std::stoll(dilation[i]);
    axis.causal = causal[i] == "true";
  }
  int64_t bytes;
  const auto input = [&](const char* name) { return heads_first(p, file.tensor(name, &bytes), p.dim); };
  const View q = input("q"), k = input("k"), v = input("v"), dout = input("dout");
  const void* const rpb = file.tensor("rpb", &bytes);
  const int64_t rows = p.batch * p.heads * p.tokens();
  std::vector<E> out(rows * p.dim), lse(rows), dq(out), dk(out), dv(out), drpb(p.heads * p.bias_entries()),
      logits(rows * p.slots());
  const auto output = [&](std::vector<E>& values) {
    return heads_first(p, values.data(), static_cast<int64_t>(values.size()) / rows);
  };
  na_forward(p, type, q, k, v, rpb, output(out), output(lse));
  na_backward(p, type, q, k, v, rpb, output(out), output(lse), dout, output(dq), output(dk), output(dv),
              rpb != nullptr ? drpb.data() : nullptr, false);
  qk_forward(p, type, q, k, rpb, output(logits));
  return compare(path, file, "out", out) + compare(path, file, "dq", dq) + compare(path, file, "dk", dk) +
         compare(path, file, "dv", dv) + compare(path, file, "drpb", drpb) + compare(path, file, "logits", logits);
}

}  // namespace
}  // namespace natten::cpu::test

int main(int argc, char** argv) {
  using namespace natten::cpu;
  if (argc < 2) return 2;
  std::vector<std::string> sets(argv + 2, argv + argc);
  if (sets.empty()) sets.push_back(instruction_set());
  int failures = 0, files = 0;
  for (const std::string& set : sets) {
    if (!use_instruction_set(set.c_str())) {
      std::printf("%s: not on this machine\n", set.c_str());
      return 1;
    }
    for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
      if (entry.path().extension() != ".safetensors") continue;
      test::File file(entry.path().string());
      const std::string name = entry.path().stem().string();
      ++files;
      failures += file.meta("dtype") == "F64" ? test::run<double>(name, file, c10::ScalarType::Double)
                                              : test::run<float>(name, file, c10::ScalarType::Float);
    }
  }
  std::printf("%d files, %d results off\n", files, failures);
  return failures == 0 && files > 0 ? 0 : 1;
}
