// Bad input through the C interface: every operator, called with arguments that were valid before one to three of them
// were damaged, gives a message or a result, and the next valid call works. Nothing here may end the process; built
// with SANITIZE=address,undefined (make test-sanitize) nothing may touch memory that is not its own.
//
//   contract-test [bad calls = 4000] [seed = from the clock] [-v: print each call and its message]
//
// Prints the seed, and each finding with the call's number; exit status 1 when there is one.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include "../natten.h"
#include "arguments.h"

namespace natten::test {
namespace {

using at::Tensor;
using c10::IValue;

int64_t bits(double value) {
  int64_t word;
  std::memcpy(&word, &value, sizeof word);
  return word;
}

// The flat form that natten.h describes. The tensors that it points to live in `kept`.
std::vector<int64_t> words_of(const Call& call, std::vector<std::unique_ptr<Tensor>>& kept) {
  std::vector<int64_t> words;
  const auto handle = [&kept](const Tensor& t) -> int64_t {
    if (!t.defined()) return 0;
    kept.push_back(std::make_unique<Tensor>(t));
    return reinterpret_cast<int64_t>(kept.back().get());
  };
  const auto list = [&words](int64_t tag, const auto& values) {
    words.push_back(tag);
    words.push_back(static_cast<int64_t>(values.size()));
    for (const auto& value : values) words.push_back(static_cast<int64_t>(value));
  };
  for (const IValue& value : call.arguments) {
    if (value.isTensor()) {
      words.insert(words.end(), {NATTEN_TENSOR, handle(value.toTensor())});
    } else if (value.isTensorList()) {
      std::vector<int64_t> handles;
      for (const Tensor& t : value.toTensorVector()) handles.push_back(handle(t));
      list(NATTEN_TENSOR_LIST, handles);
    } else if (value.isIntList()) {
      list(NATTEN_INT_LIST, value.toIntVector());
    } else if (value.isBoolList()) {
      std::vector<bool> switches;
      for (const bool on : value.toBoolList()) switches.push_back(on);
      list(NATTEN_BOOL_LIST, switches);
    } else if (value.isDouble()) {
      words.insert(words.end(), {NATTEN_DOUBLE, bits(value.toDouble())});
    } else if (value.isBool()) {
      words.insert(words.end(), {NATTEN_BOOL, value.toBool()});
    } else if (value.isInt()) {
      words.insert(words.end(), {NATTEN_INT, value.toInt()});
    } else {
      words.push_back(NATTEN_NONE);
    }
  }
  return words;
}

// Calls it; the message, or "" and the results' tensors in `results`.
std::string run(natten_operator op, const std::vector<int64_t>& words, std::vector<Tensor>* results) {
  int64_t out[64], written = 0;
  char* message = natten_call(op, words.data(), static_cast<int64_t>(words.size()), out, 64, &written);
  if (message != nullptr) {
    std::string text = message;
    natten_free(message);
    return text.empty() ? "(an empty message)" : text;
  }
  for (int64_t i = 0; i < written; i += 2) {
    if (out[i] != NATTEN_TENSOR || out[i + 1] == 0) continue;
    auto* t = reinterpret_cast<Tensor*>(out[i + 1]);
    if (results != nullptr) results->push_back(*t);
    natten_tensor_free(t);
  }
  return "";
}

struct Suite {
  std::map<std::string, natten_operator> handles;
  int findings = 0;

  Suite() {
    for (const std::string& name : operators()) {
      char* message = natten_operator_find(name.c_str(), "", &handles[name]);
      if (message == nullptr) continue;
      found(0, name + ": " + message);
      natten_free(message);
    }
  }
  void found(int number, const std::string& what) {
    std::printf("call %d: %s\n", number, what.c_str());
    findings++;
  }
  const c10::FunctionSchema& schema(const std::string& op) {
    return static_cast<const c10::OperatorHandle*>(handles[op])->schema();
  }

  // A valid call gives finite results of the expected number, or what does is reported.
  void expect_works(int number, const std::string& op, Random& random) {
    std::vector<std::unique_ptr<Tensor>> kept;
    std::vector<Tensor> results;
    const std::string message = run(handles[op], words_of(valid_call(op, random), kept), &results);
    if (!message.empty()) return found(number, op + " refuses a valid call: " + message);
    if (results.size() != schema(op).returns().size()) return found(number, op + " gives too few results");
    if (op == "natten::na_qk") return;  // causal slots without a key are -inf
    for (const Tensor& t : results) {
      if (op != "natten::_na_backward" && !t.isfinite().all().item<bool>()) found(number, op + " gives infinities");
    }
  }

  // What a message must be: one that says who speaks, and is not an assertion of somebody's own.
  void judge(int number, const std::string& what, const std::string& message) {
    if (message.find("INTERNAL ASSERT") != std::string::npos ||
        message.find("unknown exception") != std::string::npos) {
      found(number, what + "\n  got an unclear message: " + message);
    }
  }
};

// Words that are no argument list: lengths beyond the end, unknown tags, wrong types. Pointers stay valid.
std::string damage_words(std::vector<int64_t>& words, Random& random) {
  switch (random() % 3) {
    case 0:
      words.resize(random() % (words.size() + 1));
      return "cut off";
    case 1:
      words.insert(words.end(), {NATTEN_INT, 3});
      return "an argument too many";
    default:  // an integer list of a wrong length where the first tensor was
      words.erase(words.begin(), words.begin() + 2);
      words.insert(words.begin(), {NATTEN_INT_LIST, static_cast<int64_t>(random() % 7 == 0 ? -1 : random() % 100)});
      return "a list instead of a tensor";
  }
}

}  // namespace
}  // namespace natten::test

int main(int argc, char** argv) {
  using namespace natten::test;
  const bool verbose = argc > 1 && std::strcmp(argv[argc - 1], "-v") == 0;
  const int calls = argc > 1 && std::atoi(argv[1]) > 0 ? std::atoi(argv[1]) : 4000;
  const uint64_t seed = argc > 2 && std::isdigit(argv[2][0])
                            ? std::strtoull(argv[2], nullptr, 10)
                            : std::chrono::steady_clock::now().time_since_epoch().count() % 1000000;
  std::printf("contract-test: %d bad calls, seed %llu\n", calls, static_cast<unsigned long long>(seed));
  Suite suite;
  Random random(seed);
  at::manual_seed(seed);
  std::map<std::string, int> errors;
  int refused = 0;
  for (int number = 1; number <= calls; number++) {
    const std::string op = operators()[number % operators().size()];
    Call call = valid_call(op, random);
    std::string what = op;
    for (uint64_t changes = 1 + random() % 3; changes > 0; changes--) {
      what += ", " + damage(call, suite.schema(op), random);
    }
    std::vector<std::unique_ptr<at::Tensor>> kept;
    std::vector<int64_t> words = words_of(call, kept);
    if (random() % 20 == 0) what += ", " + damage_words(words, random);
    if (verbose) std::printf("%d: %s\n", number, what.c_str()), std::fflush(stdout);
    const std::string message = run(suite.handles[op], words, nullptr);
    if (verbose) std::printf("   %s\n", message.empty() ? "(accepted)" : message.substr(0, 200).c_str());
    suite.judge(number, what, message);
    if (!message.empty()) {
      refused++;
      errors[op]++;
    }
    suite.expect_works(number, op, random);
  }
  for (const std::string& op : operators()) {
    std::printf("  %-26s %5d refused\n", op.c_str(), errors[op]);
    if (errors[op] < calls / 40) suite.found(0, op + " refused too few calls for this to be a test");
  }
  std::printf("contract-test: %d of %d calls refused, %d findings\n", refused, calls, suite.findings);
  return suite.findings > 0;
}
